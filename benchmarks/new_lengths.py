"""What prompts of new lengths cost until their first token: oneDNN compiles a kernel for every size it has not seen.

    python -m benchmarks.new_lengths                    as it is shipped: sizes are rounded up to few
    python -m benchmarks.new_lengths --as-they-come     every length a size of its own

Processor time of the one thread, and memory taken meanwhile. A process keeps its kernels, so each way needs its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tandem import LocalDecoder
from tandem.engine import packing
from tandem.evaluation.text_to_sql import held_out
from tandem.generation import Options

AT_ONCE = 4


def _milliseconds(decoder: LocalDecoder, prompts: Sequence[str]) -> float:
    options: Options = {"temperature": 0.0, "max_tokens": 1, "ignore_eos": True}
    began = time.thread_time()
    decoder.generate_all(prompts, **options)
    return 1e3 * (time.thread_time() - began)


def _anonymous_mebibytes() -> float:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--as-they-come", action="store_true")
    parser.add_argument("--prompts", type=int, default=40, help="alone, and as many again in fours")
    asked = parser.parse_args()
    if asked.as_they_come:
        packing.EXACT_ROWS = sys.maxsize
    torch.set_num_threads(1)
    decoder = LocalDecoder(dtype="bfloat16")
    prompts = [example.prompt for example in held_out(2 + 2 * asked.prompts, seed=78)]
    _milliseconds(decoder, prompts[:2])
    before = _anonymous_mebibytes()
    alone, rest = prompts[2 : 2 + asked.prompts], prompts[2 + asked.prompts :]
    ones = [_milliseconds(decoder, [prompt]) for prompt in alone]
    fours = [_milliseconds(decoder, rest[start : start + AT_ONCE]) for start in range(0, len(rest), AT_ONCE)]
    print(f"alone: {statistics.fmean(ones):.1f} ms; {AT_ONCE} together: {statistics.fmean(fours):.1f} ms; ", end="")
    print(f"{_anonymous_mebibytes() - before:.0f} MiB more")


if __name__ == "__main__":
    main()
