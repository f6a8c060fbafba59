"""Processor packages, in folders laid out as the kernel's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tandem.energy.counter import NotMeasured
from tandem.energy.cpu_time import CpuTime, cpu_time
from tandem.energy.powercap import Packages
from tandem.energy.rapl import WINDOW_SECONDS, RaplCounter
from tests.support.energy import RANGE, PowercapTree


@pytest.fixture
def tree(tmp_path: Path) -> PowercapTree:
    return PowercapTree(tmp_path / "powercap")


def test_packages_are_added_up_and_nothing_else(tree: PowercapTree) -> None:
    tree.zone("intel-rapl:0", "package-0", 5_000_000)
    tree.zone("intel-rapl:1", "package-1", 7)
    tree.zone("intel-rapl:2", "psys", 0)
    tree.zone("intel-rapl:0:0", "core", 0)
    tree.zone("intel-rapl:0:1", "dram", 0)
    tree.zone("intel-rapl-mmio:0", "package-0", 0)
    packages = Packages(tree.root)
    assert packages.joules() == 0
    for zone in ("intel-rapl:2", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl-mmio:0"):
        tree.set(zone, 900_000_000)
    assert packages.joules() == 0
    tree.set("intel-rapl:0", 6_500_000)
    tree.set("intel-rapl:1", 250_007)
    assert packages.joules() == 1.75


def test_a_counter_that_starts_again_is_followed(tree: PowercapTree) -> None:
    tree.zone("intel-rapl:0", "package-0", RANGE - 1_000_000)
    packages = Packages(tree.root)
    tree.set("intel-rapl:0", 2_000_000)
    assert packages.joules() == 3
    tree.set("intel-rapl:0", RANGE - 1)
    tree.set("intel-rapl:0", 1_000_000)
    assert packages.joules() == pytest.approx(3 + (RANGE - 1_000_000) / 1e6)


def test_no_package_is_no_counter(tree: PowercapTree, tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="no package"):
        Packages(tmp_path / "nowhere")
    tree.zone("intel-rapl:0", "psys", 0)
    with pytest.raises(NotMeasured, match="no package"):
        Packages(tree.root)


@pytest.mark.parametrize("missing", ["name", "energy_uj", "max_energy_range_uj"])
def test_one_package_that_cannot_be_read_is_no_counter(tree: PowercapTree, missing: str) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    (tree.zone("intel-rapl:1", "package-1", 0) / missing).unlink()
    with pytest.raises(NotMeasured, match=missing):
        Packages(tree.root)


def test_what_is_no_number_is_no_counter(tree: PowercapTree) -> None:
    folder = tree.zone("intel-rapl:0", "package-0", 0)
    packages = Packages(tree.root)
    (folder / "energy_uj").write_text("")
    with pytest.raises(NotMeasured, match="a number"):
        packages.joules()
    (folder / "max_energy_range_uj").write_text("0")
    with pytest.raises(NotMeasured, match="starts again"):
        Packages(tree.root)


def test_without_permission_there_is_no_counter_and_help() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # so that it is the file, not the way to it, that is closed
        tree = PowercapTree(Path(folder) / "powercap")
        (tree.zone("intel-rapl:0", "package-0", 0) / "energy_uj").chmod(0o400)
        with as_nobody(), pytest.raises(NotMeasured, match=r"may not be read.*docs/energy\.md"):
            Packages(tree.root)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root reads everything: for a while, be somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can take away from itself what only root may read")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# --------------------------------------------------------------------------------------------- this process's share


class Times:
    """Processor time by hand."""

    def __init__(self) -> None:
        self.value = CpuTime(0.0, 0.0, 0.0)

    def __call__(self) -> CpuTime:
        return self.value

    def pass_by(self, seconds: float, process: float, others: float) -> None:
        now = self.value
        self.value = CpuTime(now.at + seconds, now.process_seconds + process, now.busy_seconds + process + others)


def test_processes_share_what_the_packages_use_by_their_processor_time(tree: PowercapTree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    times, other_times = Times(), Times()
    draft, verify = RaplCounter(tree.root, times), RaplCounter(tree.root, other_times)
    used = 0
    for seconds, mine, others in ((0.3, 0.1, 0.3), (0.01, 0.01, 0.0), (0.5, 0.25, 0.25), (2.0, 0.0, 0.0)):
        used += 8_000_000
        tree.set("intel-rapl:0", used)
        times.pass_by(seconds, mine, others)
        other_times.pass_by(seconds, others, mine)
        total = draft.joules(), verify.joules()
    # A quarter of 8 J and 0.26 / 0.51 of 16 J; of what was used while all were idle, nothing.
    assert total[0] == pytest.approx(2 + 16 * 0.26 / 0.51)
    assert sum(total) == pytest.approx(used / 1e6 - 8)


def test_a_share_is_that_of_the_stretch_in_which_the_energy_was_used(tree: PowercapTree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    times = Times()
    counter = RaplCounter(tree.root, times)
    times.pass_by(10, 0.0, 10.0)  # others were busy for long
    tree.set("intel-rapl:0", 100_000_000)
    assert counter.joules() == 0
    times.pass_by(WINDOW_SECONDS, 0.1, 0.0)
    tree.set("intel-rapl:0", 110_000_000)
    assert counter.joules() == pytest.approx(10)
    times.pass_by(WINDOW_SECONDS / 4, 0.01, 0.03)
    tree.set("intel-rapl:0", 114_000_000)
    assert counter.joules() == pytest.approx(11)


def test_it_never_falls_when_a_tick_of_the_others_comes_late(tree: PowercapTree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    times = Times()
    counter = RaplCounter(tree.root, times)
    tree.set("intel-rapl:0", 4_000_000)
    times.pass_by(0.004, 0.004, 0.0)
    assert counter.joules() == 4
    tree.set("intel-rapl:0", 5_000_000)
    times.pass_by(0.001, 0.001, 0.015)
    assert counter.joules() == 4
    tree.set("intel-rapl:0", 40_000_000)
    times.pass_by(0.035, 0.005, 0.015)
    assert counter.joules() == pytest.approx(40 * 0.01 / 0.04)


def test_processor_time_of_a_kernel(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    hertz = os.sysconf("SC_CLK_TCK")
    stat.write_text(f"cpu  {hertz} {hertz} {hertz} 777 888 {hertz} {hertz} 999 555 0\ncpu0 1 2 3\n")
    assert cpu_time(stat, lambda: 2.0, lambda: 3.0) == CpuTime(3.0, 2.0, 5.0)
    for content in ("", "cpu0 1 2 3 4 5 6 7", "cpu 1 2 x 4 5 6 7", "cpu 1"):
        stat.write_text(content)
        with pytest.raises(NotMeasured, match="how busy"):
            cpu_time(stat)
    with pytest.raises(NotMeasured, match="how busy"):
        cpu_time(tmp_path / "nowhere")


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc")
def test_processor_time_of_this_kernel_moves_on() -> None:
    before = cpu_time()
    while cpu_time().process_seconds < before.process_seconds + 0.05:
        pass
    assert 0 < cpu_time().share_since(before) <= 1
