"""The meter of loaded models: what they run on, and who counts its energy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from tandem.energy.hardware import Hardware, counter_for
from tandem.energy.meter import EnergyMeter
from tandem.energy.powercap import POWERCAP_ROOT
from tandem.engine.loading import LoadedModel


def meter_of(models: Iterable[LoadedModel], powercap_root: Path = POWERCAP_ROOT, num_devices: int = 1) -> EnergyMeter:
    """One meter of all that these models run on.

    `num_devices`: how many GPUs of this machine, from the first on, hold a part of each; 1 is the one it is on.

    Raises:
        NotMeasured: no counter covers it.
    """
    devices = {parameter.device for loaded in models for parameter in loaded.model.parameters()}
    if num_devices > 1:
        devices = {torch.device(device.type, index) for device in devices for index in range(num_devices)}
    return EnergyMeter(counter_for(_hardware(devices), powercap_root))


def _hardware(devices: Iterable[torch.device]) -> Hardware:
    gpus = {torch.cuda.get_device_properties(device).uuid for device in devices if device.type == "cuda"}
    # torch gives the bare number, NVML's names begin with the kind of device.
    uuids = sorted("GPU-" + str(uuid).removeprefix("GPU-") for uuid in gpus)
    return Hardware(frozenset(device.type for device in devices), tuple(uuids))
