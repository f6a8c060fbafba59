"""``python -m benchmarks.sampled FILE MODULE …``: runs a module, and writes to FILE where its threads were.

One sample of every thread each 2 ms of CPU time of the process. A function's own share counts what it calls in C,
waiting included; its whole share counts all samples in whose stack it stands. Written when the module ends, by SIGTERM
as well where it heeds that; SIGUSR1 begins anew, once start-up is over for instance.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

INTERVAL_SECONDS = 0.002
NUM_SHOWN = 45
LEAST_SAMPLES = 50
"""Threads that were seen less often are left out."""

_own: dict[str, Counter[str]] = defaultdict(Counter)
_whole: dict[str, Counter[str]] = defaultdict(Counter)


def _sample(number: int, interrupted: FrameType | None) -> None:
    frames: dict[int, FrameType | None] = {**sys._current_frames(), threading.main_thread().ident or 0: interrupted}
    for thread in threading.enumerate():
        names = []
        frame = frames.get(thread.ident or 0)
        while frame is not None:
            code = frame.f_code
            names.append(f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{code.co_qualname}")
            frame = frame.f_back
        if names:
            _own[thread.name][names[0]] += 1
            _whole[thread.name].update(set(names))


def _begin_anew(number: int, interrupted: FrameType | None) -> None:
    _own.clear()
    _whole.clear()


def _report() -> str:
    lines = []
    for thread, own in _own.items():
        total = sum(own.values())
        if total < LEAST_SAMPLES:
            continue
        lines.append(f"== {thread}: {total} samples")
        for title, counts in (("own", own), ("whole", _whole[thread])):
            lines.append(f"-- {title}")
            lines += [f"{count / total:7.1%}  {name}" for name, count in counts.most_common(NUM_SHOWN)]
    return "\n".join(lines) + "\n"


def main() -> None:
    path, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    exit_now = os._exit

    def written() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_text(_report())

    def exit_once_written(code: int) -> NoReturn:
        written()
        exit_now(code)

    os._exit = exit_once_written  # by which services with a model leave, past every `finally`
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _begin_anew)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        written()


if __name__ == "__main__":
    main()
