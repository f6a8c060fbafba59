"""GPUs, by a module that answers as pynvml does, and which counter goes with which hardware."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tandem.energy.counter import NotMeasured
from tandem.energy.hardware import Hardware, counter_for
from tandem.energy.nvml import Nvml, NvmlCounter
from tests.support.energy import PowercapTree


class FakeNvml:
    """Devices by UUID, each with its millijoules."""

    class NVMLError(Exception):
        pass

    def __init__(self, millijoules: dict[str, int], split: Sequence[str] = (), can_be_split: bool = True) -> None:
        self.millijoules = millijoules
        self.split = split
        self.can_be_split = can_be_split
        self.loaded = False
        self.read: list[str] = []
        self.error: Exception | None = None

    def nvmlInit(self) -> None:
        if self.error is not None:
            raise self.error
        self.loaded = True

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> tuple[str]:
        assert self.loaded
        if uuid not in self.millijoules:
            raise self.NVMLError("Not Found")
        return (uuid,)

    def nvmlDeviceGetMigMode(self, handle: tuple[str]) -> list[int]:
        if not self.can_be_split:
            raise self.NVMLError("Not Supported")
        return [int(handle[0] in self.split), 0]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: tuple[str]) -> int:
        if self.error is not None:
            raise self.error
        self.read.append(handle[0])
        return self.millijoules[handle[0]]


@pytest.mark.parametrize("can_be_split", [True, False])
def test_the_model_s_own_devices_are_read_and_no_others(can_be_split: bool) -> None:
    nvml = FakeNvml({"GPU-a": 1_000, "GPU-b": 2_000, "GPU-c": 3_000}, can_be_split=can_be_split)
    # Two visible devices of three: torch calls them 0 and 1, the driver 1 and 2.
    counter = NvmlCounter(("GPU-b", "GPU-c"), nvml)
    nvml.millijoules |= {"GPU-a": 900_000, "GPU-b": 2_500, "GPU-c": 4_000}
    assert counter.joules() == 1.5
    assert set(nvml.read) == {"GPU-b", "GPU-c"}
    assert counter.source == "nvml"


def test_a_device_without_a_counter_of_its_own_is_not_measured() -> None:
    nvml = FakeNvml({"GPU-a": 0, "GPU-b": 0}, split=("GPU-b",))
    with pytest.raises(NotMeasured, match="Not Found"):
        NvmlCounter(("GPU-a", "GPU-x"), nvml)
    with pytest.raises(NotMeasured, match="MIG"):
        NvmlCounter(("GPU-a", "GPU-b"), nvml)
    nvml.error = FakeNvml.NVMLError("Driver Not Loaded")
    with pytest.raises(NotMeasured, match="Driver Not Loaded"):
        NvmlCounter(("GPU-a",), nvml)


def test_a_driver_that_stops_answering_or_starts_anew_ends_the_measuring() -> None:
    nvml = FakeNvml({"GPU-a": 5_000})
    counter = NvmlCounter(("GPU-a",), nvml)
    nvml.error = FakeNvml.NVMLError("GPU is lost")
    with pytest.raises(NotMeasured, match="GPU is lost"):
        counter.joules()
    nvml.error = None
    nvml.millijoules["GPU-a"] = 4_000
    with pytest.raises(NotMeasured, match="gone back"):
        counter.joules()


def test_the_counter_goes_with_the_hardware(tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path / "powercap")
    tree.zone("intel-rapl:0", "package-0")
    nvml = FakeNvml({"GPU-a": 0})

    def unneeded() -> Nvml:
        raise AssertionError("a model on the CPU has no use for it")

    def absent() -> Nvml:
        raise NotMeasured("the package nvidia-ml-py is not installed")

    assert counter_for(Hardware(frozenset({"cpu"})), tree.root, unneeded).source == "rapl"
    assert counter_for(Hardware(frozenset({"cuda"}), ("GPU-a",)), tmp_path, lambda: nvml).source == "nvml"
    with pytest.raises(NotMeasured, match="nvidia-ml-py"):
        counter_for(Hardware(frozenset({"cuda"}), ("GPU-a",)), tree.root, absent)
    for types in ({"cpu", "cuda"}, {"mps"}):
        with pytest.raises(NotMeasured, match="no one counter"):
            counter_for(Hardware(frozenset(types), ("GPU-a",)), tree.root, lambda: nvml)


def test_the_library_has_what_is_used_of_it() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name in (*(name for name in vars(Nvml) if name.startswith("nvml")), "NVMLError"):
        assert hasattr(pynvml, name), name
