"""Which counter counts what a model runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tandem.energy.counter import EnergyCounter, NotMeasured
from tandem.energy.nvml import Nvml, NvmlCounter, installed_nvml
from tandem.energy.powercap import POWERCAP_ROOT
from tandem.energy.rapl import RaplCounter


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a model runs on."""

    device_types: frozenset[str]
    """As torch names them: cpu, cuda, …"""
    gpu_uuids: tuple[str, ...] = ()
    """Of the cuda devices, as NVML names them."""


def counter_for(
    hardware: Hardware, powercap_root: Path = POWERCAP_ROOT, load_nvml: Callable[[], Nvml] = installed_nvml
) -> EnergyCounter:
    """The counter of all of a model's hardware: NVML for GPUs, RAPL for processors.

    Raises:
        NotMeasured: there is none, or none for a part of it: part of the energy is no figure.
    """
    if hardware.device_types == {"cuda"}:
        return NvmlCounter(hardware.gpu_uuids, load_nvml())
    if hardware.device_types == {"cpu"}:
        return RaplCounter(powercap_root)
    raise NotMeasured(f"no one counter covers a model on {' and '.join(sorted(hardware.device_types))}")
