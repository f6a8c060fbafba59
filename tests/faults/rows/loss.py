"""One packet in a hundred lost, by a classifier in a network namespace of the row's own.

The row runs in a process of its own there: ``python -m tests.faults.rows.loss TRIALS FOLDER``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, NotHere, Row, Surroundings
from tests.faults.load import Tally
from tests.faults.spawning import ROOT, Zygote
from tests.faults.stage import staged, until

SHARE = 0.01
BYTECODE = f"4,32 0 0 4294963256,37 0 1 {int(SHARE * 2**32)},6 0 0 4294967295,6 0 0 2,"
"""Classic BPF: a random number of 32 bits over the threshold lets the packet pass, one under it drops it."""

UP = "ip link set lo up"
LOSE = f"tc qdisc add dev lo clsact && tc filter add dev lo ingress bpf da bytecode '{BYTECODE}'"
LOSE_NO_MORE = "tc qdisc del dev lo clsact"

TRIAL_SECONDS = 1.0


async def lossy(given: Surroundings, num_trials: int) -> Figures:
    """Runs itself in a namespace where this machine allows one."""
    if missing := [tool for tool in ("unshare", "ip", "tc") if shutil.which(tool) is None]:
        raise NotHere(f"needs {' and '.join(missing)}")
    namespace = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if reason := _why_not(namespace):
        raise NotHere(f"no network namespace with a classifier: {reason}")
    inside = await asyncio.create_subprocess_exec(
        *namespace,
        *(sys.executable, "-m", "tests.faults.rows.loss", str(num_trials), str(given.folder)),
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        told, _ = await inside.communicate()
    finally:
        if inside.returncode is None:
            inside.kill()
    assert inside.returncode == 0, "the row broke in its namespace"
    found = json.loads(told)
    return Figures(**{**found, "tally": Tally(**found["tally"])})


def _why_not(namespace: list[str]) -> str:
    tried = subprocess.run([*namespace, "sh", "-c", f"{UP} && {LOSE}"], capture_output=True)
    return tried.stderr.decode().strip() if tried.returncode else ""


def _sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True).stdout.decode()


async def _inside(num_trials: int, folder: Path) -> Figures:
    _sh(UP)
    zygote = Zygote()
    await zygote.start()
    try:
        async with (
            staged(zygote, folder, orchestrators=2, orchestrator={"session_ttl": 12}) as stage,
            disturbed(stage) as found,
        ):
            _sh(LOSE)
            for _ in range(num_trials):
                sessions, since, had = await found.under_way(), time.monotonic(), _num_dropped()
                await until(lambda had=had: _num_dropped() > had, "a packet is dropped")
                await asyncio.sleep(TRIAL_SECONDS)
                await found.settle(sessions, since)
                found.figures.trials += 1
                found.figures.took_effect += bool(sessions)
            found.figures.remarks.append(f"{_num_dropped()} packets dropped")
            _sh(LOSE_NO_MORE)
    finally:
        await zygote.close()
    return found.figures


def _num_dropped() -> int:
    return sum(int(count) for count in re.findall(r"dropped (\d+)", _sh("tc -s qdisc show dev lo clsact")))


ROWS = (
    Row(
        name="network-loss",
        fault="1% of all packets lost, on every hop and both ways",
        promise="0 wrong, 0 failed",
        run=lossy,
        short=1,
        long=60,
    ),
)

if __name__ == "__main__":
    trials, where = sys.argv[1:]
    print(json.dumps(dataclasses.asdict(asyncio.run(_inside(int(trials), Path(where))))))
