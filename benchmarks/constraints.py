"""What holding a text to a constraint costs: the same texts with one that forbids nothing they say, and without.

    python -m benchmarks.constraints [--repetitions 12] [--dtype bfloat16]

Both kinds take turns in one process, so that whatever else the machine does falls on both. A constraint that allows
every text changes no token: the ratio of times is the price of following it and of masking. Then texts under a real
schema, whose masks differ from token to token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from tandem.decoding.constraint import Constraint
from tandem.engine.masking import Mask
from tandem.engine.readout import top_candidates
from tandem.engine.tree_model import Row
from tandem.generation import Generation, Options
from tandem.local import LocalDecoder
from tandem.matching import Grammars
from tandem.models import shipped
from tandem.tokenization import tokenizer_definition

PROMPT = "Schema: items ( item_id , label , duration )\nQuestion: Return the label of each item?\nSQL:"
ANYTHING = r"(?s:.)*"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 24},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 4},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    }
)
LARGE_VOCABULARY, NUM_ROWS = 128_256, 20


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _ratio(plain: Callable[[], object], other: Callable[[], object], repetitions: int) -> tuple[float, float, float]:
    """Median ratio of other's time to plain's, run in turns, with its quartiles."""
    plain(), other()
    ratios = [_timed(other) / _timed(plain) for _ in range(repetitions)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, low, high


def _texts(decoder: LocalDecoder, count: int, options: Options) -> list[Generation]:
    return decoder.generate_all([PROMPT] * count, **options)


def _price_of_following(decoder: LocalDecoder, method: str, count: int, repetitions: int) -> None:
    options: Options = {"method": method, "seed": 1, "max_tokens": 48}
    held = options | Options(regex=ANYTHING)
    free = [made.token_ids for made in _texts(decoder, count, options)]
    assert [made.token_ids for made in _texts(decoder, count, held)] == free, "the constraint changed a text"
    run = partial(_texts, decoder, count)
    middle, low, high = _ratio(partial(run, options), partial(run, held), repetitions)
    print(f"{method:>14} {count:>3} at once: {middle:.2f} of the time without [{low:.2f}, {high:.2f}]")


def _price_of_a_mask(repetitions: int) -> None:
    grammars = Grammars(tokenizer_definition(shipped("target")), (0,))
    began = time.perf_counter()
    matcher = grammars.matcher(Constraint("json_schema", SCHEMA), (0,))
    compiled = time.perf_counter() - began
    nothing, root = np.empty(0, np.int64), np.array([-1])
    seconds, said = list[float](), list[int]()
    while len(said) < 60:
        began = time.perf_counter()
        matcher.follow(said)
        mask = matcher.allowed(nothing, nothing, root)
        seconds.append(time.perf_counter() - began)
        allowed = np.flatnonzero(np.unpackbits(mask[0], bitorder="little"))
        said.append(int(allowed[len(said) % len(allowed)]))
        if said[-1] == 0:
            said = []
            break
    half, most = (1e6 * value for value in (statistics.median(seconds), statistics.quantiles(seconds, n=10)[-1]))
    print(f"a schema is compiled in {1e3 * compiled:.1f} ms")
    print(f"a token's mask takes {half:.0f} µs (p50), {most:.0f} µs (p90)")

    logits = torch.randn((NUM_ROWS, LARGE_VOCABULARY), dtype=torch.bfloat16)
    bits = np.random.default_rng(1).integers(0, 256, (NUM_ROWS, LARGE_VOCABULARY // 8), dtype=np.uint8)
    places = np.arange(NUM_ROWS)
    row = Row(None, places, places - 1, places, None, bits)  # type: ignore[arg-type]
    plain = partial(top_candidates, logits, 10)
    middle, low, high = _ratio(plain, lambda: top_candidates(logits, 10, None, Mask.of([row])), repetitions)
    what = f"reading out {NUM_ROWS} rows of {LARGE_VOCABULARY} logits"
    print(f"{what}: {middle:.2f} of the time without [{low:.2f}, {high:.2f}]")


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    decoder = LocalDecoder(dtype=arguments.dtype)
    for method in ("autoregressive", "mtad", "mmtad"):
        for count in (1, 16):
            _price_of_following(decoder, method, count, arguments.repetitions)
    _price_of_a_mask(arguments.repetitions)


if __name__ == "__main__":
    main()
