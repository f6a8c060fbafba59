"""The processes of the other ranks, when a replica starts them itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tandem.engine.place import Place
from tandem.errors import InvariantBroken
from tandem.tie import tie_to_parent

LOOPBACK = "127.0.0.1"


class Followers:
    """Ranks 1 and on, started as torchrun would start them. They end with this process, however it ends."""

    def __init__(self, size: int, arguments: Sequence[str]) -> None:
        """Starts `size - 1` further processes of this service with its own ``arguments``."""
        self._size = size
        listener = socket.create_server((LOOPBACK, 0))
        self.place = Place(size=size, local_size=size, listener=listener, check_others=self.check)
        """This process's, rank 0."""
        if any(name == "lo" for _, name in socket.if_nameindex()):
            # Which interface sums travel over would else depend on what this machine's name resolves to.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        told = {
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": LOOPBACK,
            "MASTER_PORT": str(listener.getsockname()[1]),
        }
        command = [sys.executable, "-m", "verify_service", *arguments]
        self._processes = [
            subprocess.Popen(
                command,
                env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                preexec_fn=tie_to_parent(),  # no other thread runs yet
            )
            for rank in range(1, size)
        ]

    def check(self) -> None:
        """Raises: InvariantBroken if one has ended, saying which and how."""
        for rank, process in enumerate(self._processes, 1):
            code = process.poll()
            if code is not None:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                raise InvariantBroken(
                    f"rank {rank} of the {self._size} that run the model (pid {process.pid}) {how}; what it has "
                    "written says why. None of them can go on without it: start the replica anew"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends them all at once: they hold nothing that must be kept."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
