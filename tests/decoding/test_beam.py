"""Drawing without replacement, against the same drawn one after another with every outcome enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tandem.decoding.beam import Groups, Layer, draw_layer
from tandem.decoding.rng import Purpose, RoundKeys, base_keys, gumbel
from tandem.decoding.values import Floats
from tandem.decoding.warp import Support
from tests.support.enumeration import goodness_of_fit

PROBS = np.array([[0.5, 0.3, 0.2, 0.0], [0.6, 0.4, 0.0, 0.0]])  # [beams, width]
BEAMS = np.array([0.7, 0.3])  # joint probabilities of the beams themselves
IDS = np.array([[10, 11, 12, 13], [11, 10, 13, 12]])
Draw = tuple[tuple[int, int], ...]  # (beam, token), in the order drawn


def support_of(probs: Floats, ids: np.ndarray) -> Support:
    with np.errstate(divide="ignore"):
        return Support(ids, np.log(probs), np.count_nonzero(probs, axis=1))


def ordered_draws(layer: Layer, num_groups: int, beams_per_group: int) -> list[Draw]:
    draws: list[list[tuple[int, int]]] = [[] for _ in range(num_groups)]
    for beam, token in zip(layer.beams.tolist(), layer.token_ids.tolist(), strict=True):
        draws[beam // beams_per_group].append((beam % beams_per_group, token))
    return [tuple(draw) for draw in draws]


def sequential(weights: dict[tuple[int, int], float], count: int) -> dict[Draw, float]:
    """Probability of every ordered draw of ``count`` without replacement."""
    found: dict[Draw, float] = {}
    for order in itertools.permutations(weights, count):
        prob, left = 1.0, sum(weights.values())
        for place in order:
            prob *= weights[place] / left
            left -= weights[place]
        found[order] = prob
    return found


@pytest.mark.parametrize("count", [1, 2, 3])
def test_beams_of_one_text_are_drawn_together_by_joint_probability(count: int) -> None:
    num_groups = 60_000
    support = support_of(np.tile(PROBS, (num_groups, 1)), np.tile(IDS, (num_groups, 1)))
    keys = base_keys(np.arange(2 * num_groups, dtype=np.uint64), np.full(2 * num_groups, count))
    layer = draw_layer(
        support,
        np.log(np.tile(BEAMS, num_groups)),
        gumbel(keys, support.ids),
        Groups([2] * num_groups, [count] * num_groups),
    )
    weights = {
        (beam, int(IDS[beam, column])): float(BEAMS[beam] * PROBS[beam, column])
        for beam in range(2)
        for column in range(4)
        if PROBS[beam, column] > 0
    }
    assert goodness_of_fit(ordered_draws(layer, num_groups, 2), sequential(weights, count)) > 1e-3
    # Joint log-probabilities are the true ones, not renormalised.
    expected = [
        weights[beam % 2, token] for beam, token in zip(layer.beams.tolist(), layer.token_ids.tolist(), strict=True)
    ]
    assert np.exp(layer.joint_log_probs) == pytest.approx(expected)


def test_the_comparison_tells_drawing_with_replacement_apart() -> None:
    generator = np.random.default_rng(0)
    weights = {(0, 10): 0.5, (0, 11): 0.3, (0, 12): 0.2}
    places = list(weights)
    pairs = generator.choice(3, size=(20_000, 2), p=list(weights.values()))
    # Drawn with replacement, repeats thrown away: the second no longer has the right odds.
    drawn = [tuple(places[place] for place in pair) for pair in pairs.tolist() if pair[0] != pair[1]]
    assert goodness_of_fit(drawn, sequential(weights, 2)) < 1e-3  # type: ignore[arg-type]


def test_continuations_of_probability_zero_are_never_drawn_and_beams_become_fewer() -> None:
    layer = draw_layer(
        support_of(PROBS, IDS),
        np.log(BEAMS),
        np.random.default_rng(1).gumbel(size=(2, 4)),
        Groups([2], [8]),
    )
    drawn = set(zip(layer.beams.tolist(), layer.token_ids.tolist(), strict=True))
    assert drawn == {(0, 10), (0, 11), (0, 12), (1, 11), (1, 10)}
    assert len(layer.beams) == 5


def test_groups_of_different_sizes_do_not_compete() -> None:
    noise = np.random.default_rng(2).gumbel(size=(5, 4))
    probs, ids = np.concatenate([PROBS, PROBS, PROBS[:1]]), np.concatenate([IDS, IDS, IDS[:1]])
    joint = np.log([0.7, 0.3, 0.6, 0.2, 1.0])
    counts = [2, 3, 1]
    together = draw_layer(support_of(probs, ids), joint, noise, Groups([2, 1, 2], counts))
    start = 0
    for group, beams in enumerate(([0, 1], [2], [3, 4])):
        alone = draw_layer(
            support_of(probs[beams], ids[beams]), joint[beams], noise[beams], Groups([len(beams)], [counts[group]])
        )
        stop = start + len(alone.beams)
        assert (together.beams[start:stop] - beams[0]).tolist() == alone.beams.tolist()
        assert together.token_ids[start:stop].tolist() == alone.token_ids.tolist()
        assert together.joint_log_probs[start:stop].tolist() == alone.joint_log_probs.tolist()
        start = stop
    assert start == len(together.beams)


def test_without_noise_it_is_beam_search_with_ties_to_the_first() -> None:
    probs = np.array([[0.5, 0.25, 0.25, 0.0], [0.5, 0.5, 0.0, 0.0]])
    layer = draw_layer(support_of(probs, IDS), np.log([0.5, 0.25]), np.zeros((2, 4)), Groups([2], [4]))
    assert list(zip(layer.beams.tolist(), layer.token_ids.tolist(), strict=True)) == [
        (0, 10),
        (0, 11),
        (0, 12),
        (1, 11),
    ]


def test_greedy_rounds_have_no_noise() -> None:
    keys = RoundKeys.of([1, 2], [5, 5], [False, False], [True, False])
    noise = keys.noise(keys.places(np.zeros(2, int), np.zeros(2, int), Purpose.DRAFT), IDS)
    assert (noise[0] == 0).all()
    assert (noise[1] != 0).all()
