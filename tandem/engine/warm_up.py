"""What a model takes of its device, weights and passes, before there is a KV pool."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedModel

from tandem.engine.batch import BatchPlan, Feed
from tandem.engine.families import AttentionShape
from tandem.engine.forward import run_pass
from tandem.engine.kv_pool import KVPool
from tandem.engine.sequence import Sequence
from tandem.engine.text import CHUNK_TOKENS


def run_largest_pass(model: PreTrainedModel, shape: AttentionShape, block_size: int) -> None:
    """One pass over a chunk of text with logits everywhere, in a pool of its own: no later one takes much more memory.

    Of a model that several ranks run, each runs it at the same time.
    """
    num_tokens = min(CHUNK_TOKENS, model.config.max_position_embeddings)
    kv = KVPool(shape, -(-num_tokens // block_size), block_size, model.dtype, model.device)
    sequence = Sequence(kv, None)
    places = np.arange(num_tokens)
    sequence.reserve(num_tokens)
    tree = sequence.tree.extended(range(-1, num_tokens - 1))
    run_pass(model, BatchPlan(kv, [Feed(sequence, np.zeros_like(places), places, tree)]))
