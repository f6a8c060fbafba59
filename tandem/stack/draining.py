"""Has a running service hand its work over and leave, as SIGTERM does, and waits until it has."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.errors import InvalidArgument, NotFound, TandemError, Unavailable
from tandem.pem_files import PemFiles
from tandem.rpc.channel import check_address
from tandem.rpc.health import serves
from tandem.stack.listener import listening_pid

SERVICES = {
    "verify": "tandem.v1.VerifyService",
    "draft": "tandem.v1.DraftService",
    "orchestrator": "tandem.v1.GenerationService",
}
"""The roles, in the order in which they are drained, by the names that their health has."""

LEAVE_SECONDS = 10.0
"""A service leaves within five, unless its settings say otherwise; what takes twice as long is stuck."""

LOOK_EVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A service's process."""

    role: str
    address: str
    pid: int


def told(ready_file: Path, role: str | None = None) -> list[Running]:
    """The services that a ready file names, that of a stack or of one service; of one role where it is given.

    Raises:
        InvalidArgument: it is no ready file, or names none.
    """
    try:
        content: dict[str, Any] = json.loads(ready_file.read_text())
        entries = content.get("processes", [content])
        found = [Running(entry["role"], entry["address"], entry["pid"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InvalidArgument(f"{ready_file} cannot be read as a ready file") from None
    chosen = [one for one in found if one.role in SERVICES and role in (None, one.role)]
    if not chosen:
        raise InvalidArgument(f"{ready_file} names no {role or 'service'} that could be drained")
    order = list(SERVICES)
    return sorted(chosen, key=lambda one: order.index(one.role))


def is_of_a_stack(ready_file: Path) -> bool:
    """Whether it is `tandem up` that wrote it, and starts anew what ends."""
    return "processes" in json.loads(ready_file.read_text())


async def at(address: str, tls: PemFiles | None = None) -> Running:
    """The service that listens at an address of this machine. ``tls``: what it is shown, and whom to trust.

    Raises:
        InvalidArgument: nobody listens there that this user may signal, or it is no service of Tandem.
    """
    pid = listening_pid(int(check_address(address).rpartition(":")[2]))
    if pid is None:
        raise InvalidArgument(
            f"no process of this user on this machine listens at {address}; run `tandem drain` where the service runs, "
            "in its container for instance"
        )
    return Running(await _role_at(address, tls), address, pid)


async def drain(service: Running, patience_seconds: float = LEAVE_SECONDS, tls: PemFiles | None = None) -> float:
    """Drains a service; returns the seconds until it was gone.

    Raises:
        InvalidArgument: what answers at its address is no such service.
        Unavailable: it does not leave.
    """
    if await _role_at(service.address, tls) != service.role:
        raise InvalidArgument(f"what answers at {service.address} is no {service.role} service")
    began = time.monotonic()
    gone = _Departure(service.pid)
    try:
        gone.ask()
        async with asyncio.timeout(patience_seconds):
            await gone.wait()
    except TimeoutError:
        raise Unavailable(f"{service.role} {service.address} (pid {service.pid}) is still there") from None
    finally:
        gone.close()
    return time.monotonic() - began


async def successor(ready_file: Path, before: Running, patience_seconds: float, tls: PemFiles | None = None) -> Running:
    """The process that a stack puts in another's place, once it serves.

    Raises:
        Unavailable: none came.
    """
    give_up = time.monotonic() + patience_seconds
    while time.monotonic() < give_up:
        with suppress(TandemError):  # the stack may be writing it, or stopping
            for one in told(ready_file, before.role):
                if one.address == before.address and one.pid != before.pid and await serves(one.address, tls=tls):
                    return one
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    raise Unavailable(f"nothing took the place of {before.role} {before.address} within {patience_seconds:g} s")


class _Departure:
    """The end of a process that need not be a child of this one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        # A handle cannot come to mean another process, as a number can.
        self._handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def ask(self) -> None:
        if self._handle is not None:
            signal.pidfd_send_signal(self._handle, signal.SIGTERM)
        else:
            os.kill(self._pid, signal.SIGTERM)

    async def wait(self) -> None:
        if self._handle is None:
            with suppress(ProcessLookupError):
                while True:
                    os.kill(self._pid, 0)
                    await asyncio.sleep(LOOK_EVERY_SECONDS)
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)


async def _role_at(address: str, tls: PemFiles | None) -> str:
    for role, name in SERVICES.items():
        try:
            await serves(address, name, tls)
        except NotFound:
            continue
        except TandemError as error:
            raise InvalidArgument(
                f"what listens at {address} is no service of Tandem, or does not answer: {error}"
            ) from None
        return role
    raise InvalidArgument(f"what listens at {address} is no service of Tandem")


def by_address(services: Sequence[Running], addresses: Sequence[str]) -> list[Running]:
    """Those at the addresses.

    Raises:
        InvalidArgument: nobody is at one of them.
    """
    found = {service.address: service for service in services}
    missing = [address for address in addresses if address not in found]
    if missing:
        raise InvalidArgument(f"the ready file names no service at {', '.join(missing)}")
    return [found[address] for address in addresses]
