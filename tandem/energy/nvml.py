"""The energy of GPUs, as their driver counts it (NVML; Volta or later)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from tandem.energy.counter import NotMeasured, Source


class Nvml(Protocol):
    """What is used of the module ``pynvml``."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:
        """Loads the driver's library."""
        ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        """A device."""
        ...

    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]:
        """Whether the device is split in instances: now, and after the next reset."""
        ...

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:
        """Millijoules since the driver was loaded."""
        ...


def installed_nvml() -> Nvml:
    """The library.

    Raises:
        NotMeasured: it is not installed.
    """
    try:
        import pynvml  # here, because a model on the CPU needs none
    except ImportError:
        raise NotMeasured("the package nvidia-ml-py is not installed") from None
    return cast(Nvml, pynvml)


class NvmlCounter:
    """All that some GPUs use, whoever uses them."""

    source: Source = "nvml"

    def __init__(self, uuids: Sequence[str], nvml: Nvml) -> None:
        """``uuids`` name the devices, so that no hiding or renumbering of devices can make another one be read.

        Raises:
            NotMeasured: one of them has no counter, or one that others share.
        """
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
        except nvml.NVMLError as error:
            raise NotMeasured(f"the GPU's driver does not answer: {error}") from None
        for uuid, handle in zip(uuids, self._handles, strict=True):
            if self._is_split(handle):
                raise NotMeasured(f"{uuid} is split in instances (MIG), which have one counter together")
        self._start = self._millijoules()
        self._last = self._start

    def joules(self) -> float:
        """Raises: NotMeasured."""
        now = self._millijoules()
        if now < self._last:
            raise NotMeasured("a GPU's counter has gone back: its driver was loaded anew")
        self._last = now
        return (now - self._start) / 1e3

    def _millijoules(self) -> int:
        try:
            return sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in self._handles)
        except self._nvml.NVMLError as error:
            raise NotMeasured(f"a GPU's energy counter cannot be read: {error}") from None

    def _is_split(self, handle: Any) -> bool:
        try:
            return self._nvml.nvmlDeviceGetMigMode(handle)[0] != 0
        except self._nvml.NVMLError:
            return False  # a GPU that cannot be split has no such mode
