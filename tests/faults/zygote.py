"""Starts service processes quickly: everything is imported once, here, and each process is forked from this one.

Reads one JSON object a line: ``{"module", "argv", "log", "environ"}`` starts a process. Writes one a line: ``{"pid"}``
for each that was started, in order, and ``{"pid", "status"}`` for each that ended, with its wait status. No thread and
no event loop runs here before a fork, so the forked process begins as a fresh interpreter would, imports aside. All die
with this one.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from typing import Any

MODULES = ("tests.faults.replica", "tests.faults.hooked_orchestrator")
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Until its standard input ends."""
    for module in (*MODULES, *sys.argv[1:]):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    rest = b""
    while True:
        for key, _ in selector.select():
            chunk = os.read(key.fd, 65536)
            if key.fd == wake_read:
                _reap()
            elif not chunk:
                return
            else:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    _say({"pid": _fork(json.loads(line), (wake_read, wake_write))})


def _fork(wanted: dict[str, Any], ours: tuple[int, ...]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()  # signals to the test's terminal are the test's
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for number in (log, nothing, *ours):
            os.close(number)
        os.environ.update(wanted["environ"])
        code = importlib.import_module(wanted["module"]).main(wanted["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say({"pid": pid, "status": status})


def _say(said: dict[str, Any]) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    main()
