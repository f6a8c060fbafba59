"""A model made ready to be served: loaded, given its KV pool, warmed up, and described."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tandem.energy.counter import NotMeasured
from tandem.energy.meter import EnergyMeter
from tandem.energy.powercap import POWERCAP_ROOT
from tandem.engine.memory import MAX_FULL_SEQUENCES, MEMORY_SHARE, free_memory, pool_size
from tandem.engine.place import Place
from tandem.engine.prefix import PrefixCounts
from tandem.engine.tree_model import Row, TreeModel
from tandem.errors import Unavailable
from tandem.matching import Grammars
from tandem.telemetry import logger

if TYPE_CHECKING:
    from tandem.engine.families import AttentionShape
    from tandem.engine.loading import LoadedModel
    from tandem.engine.ranks import Ranks

BLOCK_SIZE = 16
ALONE = Place()
"""Of a process that runs its model by itself."""


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model in memory, and what its service says of it."""

    model: TreeModel
    name: str
    weights_digest: str
    vocab_size: int
    """Width of the logits."""
    max_positions: int
    eos_token_ids: tuple[int, ...]
    dtype: str
    num_kv_slots: int
    kv_usage: Callable[[], float]
    """Share of the KV pool that is held, 0 to 1."""
    prefix_counts: PrefixCounts = field(default_factory=PrefixCounts)
    """How much KV was looked for and found; counted on."""
    grammars: Grammars | None = None
    """Of its tokens; None where no text can be held to a constraint."""
    meter: EnergyMeter | None = None
    """Of the energy of what it runs on; None where that is not measured."""
    check: Callable[[], None] = lambda: None
    """Raises InvariantBroken once it can never run again. Cheap; called from any thread."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What a process has of a model, and room for its keys and values."""

    loaded: LoadedModel
    shape: AttentionShape
    num_kv_blocks: int
    ranks: Ranks | None

    def check(self) -> None:
        if self.ranks is not None:
            self.ranks.check()


def host_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    num_threads: int = 0,
    num_kv_blocks: int = 0,
    kv_memory_share: float = MEMORY_SHARE,
    compile: bool = False,
    powercap_root: Path = POWERCAP_ROOT,
    place: Place = ALONE,
) -> HostedModel:
    """Loads a folder or hub id, makes its KV pool and runs one pass.

    ``num_threads`` 0 is one a core. ``num_kv_blocks`` 0 is as many as fit ``kv_memory_share`` of the memory that is
    free then, within reason. ``compile``: its pass is made machine code first. ``powercap_root`` has the energy
    counters of processors. ``place`` is rank 0's of those that run the model together; the others are to call
    `follow_model` with the same arguments. The caller's thread is the one that owns the model from now on.

    Raises:
        ModelRefused: the model is not one that is loaded, or not one that is run by so many ranks.
        InvalidArgument: an unknown dtype, no memory for a single block, too few GPUs, or nothing to compile with.
        InvariantBroken: another rank has ended.
    """
    from tandem.engine.engine import Engine  # as in `_make`

    made = _make(name, dtype, device, num_threads, num_kv_blocks, kv_memory_share, place, compile)
    loaded, ranks, blocks = made.loaded, made.ranks, made.num_kv_blocks
    engine = Engine(loaded, num_kv_blocks=blocks, block_size=BLOCK_SIZE, ranks=ranks)
    try:
        _warm_up(engine)
    except Unavailable:
        made.check()  # knows best what has become of the others
        raise
    # What loading left behind lives as long as the process: the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    identity = loaded.identity
    return HostedModel(
        model=engine,
        name=identity.name,
        weights_digest=identity.weights_digest,
        vocab_size=identity.vocab_size,
        max_positions=identity.max_positions,
        eos_token_ids=identity.eos_token_ids,
        dtype=identity.dtype,
        num_kv_slots=blocks * BLOCK_SIZE,
        kv_usage=lambda: engine.kv_usage,
        prefix_counts=engine.prefix_counts,
        grammars=Grammars.of_model(name, identity.eos_token_ids),
        meter=_meter(loaded, powercap_root, place.local_size),
        check=made.check,
    )


def follow_model(
    name: str,
    *,
    dtype: str,
    device: str,
    num_threads: int,
    num_kv_blocks: int,
    kv_memory_share: float = MEMORY_SHARE,
    place: Place,
) -> None:
    """Runs a rank's part of the model that rank 0 hosts, until rank 0 has ended; arguments as `host_model`.

    Raises:
        TandemError: as `host_model` does.
        Exception: whatever made a pass fail.
    """
    from tandem.engine.kv_pool import KVPool  # as in `_make`

    made = _make(name, dtype, device, num_threads, num_kv_blocks, kv_memory_share, place)
    model = made.loaded.model
    if made.ranks is not None:
        kv = KVPool(made.shape, made.num_kv_blocks, BLOCK_SIZE, model.dtype, model.device)
        made.ranks.follow(model, kv)


def _make(
    name: str,
    dtype: str,
    device: str,
    num_threads: int,
    num_kv_blocks: int,
    kv_memory_share: float,
    place: Place,
    compile: bool = False,
) -> _Made:
    """Loads the model, or this rank's part of it, and finds out how many blocks there is room for on every rank."""
    # Here, not above: loading takes seconds of imports, and tests serve tables instead of models.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from tandem.engine.families import attention_shape
    from tandem.engine.loading import load_model
    from tandem.engine.ranks import Ranks
    from tandem.engine.warm_up import run_largest_pass

    disable_progress_bar()  # type: ignore[no-untyped-call]  # stderr carries one JSON object a line
    torch.set_num_threads(num_threads or max(1, len(os.sched_getaffinity(0)) // place.local_size))
    ranks = Ranks(place) if place.size > 1 else None
    loaded = load_model(name, dtype=dtype, device=device, ranks=ranks, compile=compile)
    shape = attention_shape(loaded.model.config, place.size)
    bytes_per_slot = shape.num_layers * 2 * shape.num_kv_heads * shape.head_dim * loaded.model.dtype.itemsize
    on_gpu = loaded.model.device.type == "cuda"
    if ranks is not None:
        ranks.least(0)  # all of them have loaded
    if on_gpu:  # what a pass computes stays with torch, and is not free any more
        run_largest_pass(loaded.model, shape, BLOCK_SIZE)
    free = torch.cuda.mem_get_info(loaded.model.device)[0] if on_gpu else free_memory() // place.local_size
    size = pool_size(
        free,
        bytes_per_slot * BLOCK_SIZE,
        num_blocks=num_kv_blocks,
        share=kv_memory_share,
        max_blocks=MAX_FULL_SEQUENCES * -(-loaded.identity.max_positions // BLOCK_SIZE),
    )
    logger("tandem.engine").info(
        "memory",
        weights_mib=loaded.num_weight_bytes >> 20,
        free_mib=size.free_bytes >> 20,
        kv_pool_mib=size.num_bytes >> 20,
        num_kv_slots=size.num_blocks * BLOCK_SIZE,
        num_full_texts=size.num_blocks * BLOCK_SIZE // loaded.identity.max_positions,
    )
    return _Made(loaded, shape, size.num_blocks if ranks is None else ranks.least(size.num_blocks), ranks)


def _meter(loaded: LoadedModel, powercap_root: Path, num_devices: int) -> EnergyMeter | None:
    """Of a model's energy on so many devices of its kind; says in the log what is measured, or why nothing is."""
    from tandem.engine.measuring import meter_of  # imports torch

    log = logger("tandem.energy")
    try:
        meter = meter_of([loaded], powercap_root, num_devices)
    except NotMeasured as reason:
        log.info("energy is not measured", reason=str(reason))
        return None
    log.info("energy is measured", source=meter.source)
    return meter


def _warm_up(model: TreeModel) -> None:
    """One pass over one token, so that the first caller does not pay for what happens once."""
    sequence = model.open()
    try:
        model.candidates([Row(sequence, np.zeros(1, np.int64), np.full(1, -1), np.zeros(1, np.int64))], 1)
    finally:
        model.close(sequence)
