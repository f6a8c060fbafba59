"""``python -m benchmarks.sampled FILE MODULE …``: runs a module, and writes to FILE where its main thread was.

One sample every 2 ms of CPU time of the process. A function's own share counts what it calls in C; its whole share
counts all samples in whose stack it stands.
"""

from __future__ import annotations

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.002
NUM_SHOWN = 45

_own: Counter[str] = Counter()
_whole: Counter[str] = Counter()


def _sample(number: int, frame: FrameType | None) -> None:
    names = []
    while frame is not None:
        code = frame.f_code
        names.append(f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{code.co_qualname}")
        frame = frame.f_back
    _own[names[0]] += 1
    _whole.update(set(names))


def _report() -> str:
    total = sum(_own.values())
    lines = [f"{total} samples"]
    for title, counts in (("own", _own), ("whole", _whole)):
        lines.append(f"-- {title}")
        lines += [f"{count / total:7.1%}  {name}" for name, count in counts.most_common(NUM_SHOWN)]
    return "\n".join(lines) + "\n"


def main() -> None:
    path, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_text(_report())


if __name__ == "__main__":
    main()
