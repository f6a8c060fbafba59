"""Time of one forward pass of a small Llama through the engine and through the library's own cache.

    python benchmarks/forward.py [--threads 1 2] [--dtypes float32 bfloat16] [--tokens 1 5 17] [--wide]

Weights are random: time does not depend on them. `--wide` widens the feed-forward to 85M parameters, the cost of a
larger target. Each figure is the tenth percentile of many passes at the same context length, and the contestants
take turns, so that a busy machine hurts all alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from tandem.engine.engine import Engine
from tandem.engine.loading import adopt
from tandem.engine.tree_model import Row

VOCAB_SIZE = 1536
CONTEXT_LENGTH = 200
NUM_PASSES = 100


def build(intermediate_size: int, dtype: torch.dtype, attention: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=intermediate_size,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def library_pass(model: LlamaForCausalLM, num_tokens: int) -> Callable[[], None]:
    """A chain of tokens behind a cached context; the cache is cut back after each pass."""
    cache = DynamicCache(config=model.config)
    ids = torch.randint(0, VOCAB_SIZE, (1, CONTEXT_LENGTH))
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache)

    @torch.inference_mode()
    def run() -> None:
        model(input_ids=ids[:, :num_tokens], past_key_values=cache)
        cache.crop(-num_tokens)

    return run


def engine_pass(model: LlamaForCausalLM, num_tokens: int, *, as_tree: bool) -> Callable[[], None]:
    """A chain, or a tree in which every node has two children, behind settled KV; rolled back after each pass."""
    engine = Engine(adopt(model, "benchmark", ""), num_kv_blocks=64)
    sequence = engine.open()
    prompt = np.random.default_rng(0).integers(0, VOCAB_SIZE, CONTEXT_LENGTH)
    engine.forward([Row(sequence, prompt, np.arange(-1, CONTEXT_LENGTH - 1), np.empty(0, np.int64))])
    sequence.settle(range(CONTEXT_LENGTH))
    nodes = np.arange(num_tokens)
    row = Row(sequence, prompt[:num_tokens], (nodes + 1) // 2 - 1 if as_tree else nodes - 1, nodes)

    def run() -> None:
        engine.forward([row])
        sequence.rollback(CONTEXT_LENGTH)

    return run


def typical_ms(passes: list[Callable[[], None]]) -> list[float]:
    seconds: list[list[float]] = [[] for _ in passes]
    for turn in range(NUM_PASSES + 5):
        for run, measured in zip(passes, seconds, strict=True):
            start = time.perf_counter()
            run()
            if turn >= 5:
                measured.append(time.perf_counter() - start)
    return [statistics.quantiles(measured, n=10)[0] * 1e3 for measured in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 5, 17])
    parser.add_argument("--wide", action="store_true")
    arguments = parser.parse_args()
    intermediate_size = 18_000 if arguments.wide else 704
    print("threads  dtype     tokens  library ms  engine chain ms  engine tree ms  library / engine")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name in arguments.dtypes:
            dtype = getattr(torch, name)
            library = build(intermediate_size, dtype, "sdpa")
            ours = build(intermediate_size, dtype, "sdpa")
            for num_tokens in arguments.tokens:
                theirs, chain, tree = typical_ms(
                    [
                        library_pass(library, num_tokens),
                        engine_pass(ours, num_tokens, as_tree=False),
                        engine_pass(ours, num_tokens, as_tree=True),
                    ]
                )
                print(
                    f"{threads:7d}  {name:8s}  {num_tokens:6d}  {theirs:10.2f}  {chain:15.2f}  {tree:14.2f}"
                    f"  {theirs / chain:16.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
