"""Time of one forward pass of the shipped target through the engine and through the library's own cache.

    python -m benchmarks.forward [--threads 1 2] [--dtypes float32 bfloat16] [--tokens 1 5 17] [--wide] [--compile]

Weights are random: time does not depend on them. `--wide` widens the feed-forward as `tandem bench --widen 18432` does,
to 86M parameters. `--compile` has the engine's pass made into machine code too, which takes minutes at first. Each
figure is the tenth percentile of many passes at the same context length, and the contestants take turns, so that a busy
machine hurts all alike. So does a plain read of as many bytes as the pass must read of weights, out of a block of
memory larger than any cache: what a pass could not be faster than.
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
from tandem.engine.loading import LoadedModel, adopt
from tandem.engine.tree_model import Row
from tandem.models import shipped

VOCAB_SIZE = 1000  # of the tokens that are fed; the model has a few more
CONTEXT_LENGTH = 200
NUM_PASSES = 100
READ_BYTES = 512 << 20


def build(intermediate_size: int | None, dtype: torch.dtype) -> LlamaForCausalLM:
    """The shipped target's shape, with another feed-forward if one is given."""
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(shipped("target"))
    config.intermediate_size = intermediate_size or config.intermediate_size
    config._attn_implementation = "sdpa"
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


def engine_pass(model: LoadedModel, num_tokens: int, *, as_tree: bool) -> Callable[[], None]:
    """A chain, or a tree in which every node has two children, behind settled KV; rolled back after each pass."""
    engine = Engine(model, num_kv_blocks=64)
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


def weight_bytes(model: LlamaForCausalLM) -> int:
    """What a pass must read: all weights, but of an embedding that is not the head too only a row a token."""
    embedding = model.get_input_embeddings().weight
    is_head = model.get_output_embeddings().weight is embedding
    return sum(weight.nbytes for weight in model.parameters() if is_head or weight is not embedding)


def plain_read(num_bytes: int) -> Callable[[], None]:
    """Reads so many bytes of memory, another part each time, as fast as a sum of numbers can."""
    memory = torch.ones(max(READ_BYTES, num_bytes) // 8, dtype=torch.int64)
    part, start = num_bytes // 8, 0

    def run() -> None:
        nonlocal start
        start = start + part if start + 2 * part <= len(memory) else 0
        memory[start : start + part].sum()

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
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    intermediate_size = 18432 if arguments.wide else None
    engines = ("plain", "compiled") if arguments.compile else ("plain",)
    print(
        "| threads | dtype | tokens | library ms | engine | chain ms | tree | chain / library | of the reading limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name in arguments.dtypes:
            dtype = getattr(torch, name)
            library = build(intermediate_size, dtype)
            read = plain_read(weight_bytes(library))
            ours = [
                adopt(build(intermediate_size, dtype), "benchmark", "", compile=engine == "compiled")
                for engine in engines
            ]
            for num_tokens in arguments.tokens:
                passes = [
                    engine_pass(model, num_tokens, as_tree=as_tree) for model in ours for as_tree in (False, True)
                ]
                theirs, least, *times = typical_ms([library_pass(library, num_tokens), read, *passes])
                for engine, chain, tree in zip(engines, times[::2], times[1::2], strict=True):
                    print(
                        f"| {threads} | {name} | {num_tokens} | {theirs:.2f} | {engine} | {chain:.2f} | {tree:.2f} "
                        f"| {chain / theirs:.2f} | {least / chain:.0%} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
