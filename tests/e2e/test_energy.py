"""Joules from a processor's counter to the answer, through the whole stack; a folder stands in for the kernel's."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem import Client, LocalDecoder
from tests.e2e.running import Up, running
from tests.support.energy import RANGE, PowercapTree

PROMPT = "select name, age from people"
WATTS = 200.0
ROLES = ("draft", "verify")


class Measured:
    """A stack whose model services read a folder each."""

    def __init__(self, up: Up, trees: dict[str, PowercapTree]) -> None:
        self.up = up
        self.trees = trees

    def metric(self, role: str, name: str) -> float | None:
        [url] = [process["metrics"] for process in self.up.told["processes"] if process["role"] == role]
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = re.search(rf"^tandem:{name}(\{{.*\}})? (.*)$", answer.read().decode(), re.MULTILINE)
        return float(found[2]) if found else None


@pytest.fixture(scope="module")
def measured(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("measured")
    trees = {role: PowercapTree(folder / role) for role in ROLES}
    for tree in trees.values():
        tree.zone("intel-rapl:0", "package-0", RANGE - 10_000_000)
    with pytest.MonkeyPatch.context() as environment:
        for role, tree in trees.items():
            environment.setenv(f"TANDEM_{role.upper()}_POWERCAP_ROOT", str(tree.root))
            environment.setenv(f"TANDEM_{role.upper()}_DEVICE", "cpu")
        with running(folder, "--target", str(tiny_pair[0]), "--draft", str(tiny_pair[1])) as up:
            yield Measured(up, trees)


def test_a_text_tells_its_joules_and_then_that_they_are_no_longer_measured(measured: Measured) -> None:
    trees, start = measured.trees, RANGE - 10_000_000
    with (
        trees["draft"].running("intel-rapl:0", WATTS, start) as drafting,
        trees["verify"].running("intel-rapl:0", WATTS, start) as verifying,
        Client(measured.up.told["grpc"]) as client,
    ):
        made = client.generate(PROMPT, method="mmtad", max_tokens=200, ignore_eos=True)
        usage = made.usage
        assert usage.draft_joules is not None
        assert usage.verify_joules is not None
        assert usage.joules_per_token == (usage.draft_joules + usage.verify_joules) / 200
        assert 0 < usage.draft_joules <= drafting[0]
        assert 0 < usage.verify_joules <= verifying[0]

        alone = client.generate(PROMPT, method="autoregressive", max_tokens=100, ignore_eos=True).usage
        assert alone.draft_joules == 0
        assert alone.verify_joules is not None
        assert alone.joules_per_token == alone.verify_joules / 100 > 0

        for role, charged in (("draft", usage.draft_joules), ("verify", usage.verify_joules + alone.verify_joules)):
            whole, requests = (
                measured.metric(role, "energy_joules_total"),
                measured.metric(role, "request_energy_joules_total"),
            )
            assert whole is not None
            assert requests is not None
            assert charged * 0.999 <= requests <= whole

    # The draft's counter goes away: its figure does, no request fails, and the target's stays.
    (trees["draft"].root / "intel-rapl:0" / "energy_uj").unlink()
    with trees["verify"].running("intel-rapl:0", WATTS, start), Client(measured.up.told["grpc"]) as client:
        usage = client.generate(PROMPT, method="mtad", max_tokens=100, ignore_eos=True).usage
        assert usage.completion_tokens == 100
        assert usage.draft_joules is None
        assert usage.verify_joules is not None
        assert usage.joules_per_token is None
    assert measured.up.output.count("energy is no longer measured") == 1
    assert measured.metric("draft", "energy_joules_total") is None
    assert measured.metric("verify", "energy_joules_total") is not None


def test_one_process_measures_both_roles(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path / "powercap")
    tree.zone("intel-rapl:0", "package-0", 0)
    decoder = LocalDecoder(*tiny_pair, device="cpu", powercap_root=tree.root)
    with tree.running("intel-rapl:0", WATTS, 0) as counted:
        all_usage = [
            made.usage
            for made in decoder.generate_all([PROMPT] * 3, method="mtad", max_tokens=100, ignore_eos=True, seed=1)
        ]
        paid = 0.0
        for usage in all_usage:
            assert usage.draft_joules is not None
            assert usage.verify_joules is not None
            assert min(usage.draft_joules, usage.verify_joules) > 0
            paid += usage.draft_joules + usage.verify_joules
        assert paid <= counted[0]
        greedy = decoder.generate(PROMPT, method="autoregressive", max_tokens=50, ignore_eos=True).usage
        assert (greedy.draft_joules, greedy.joules_per_token is None) == (0.0, False)


def test_without_a_counter_one_process_says_so(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    decoder = LocalDecoder(*tiny_pair, device="cpu", powercap_root=tmp_path)
    usage = decoder.generate(PROMPT, max_tokens=8).usage
    assert (usage.draft_joules, usage.verify_joules, usage.joules_per_token) == (None, None, None)
