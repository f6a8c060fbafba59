"""What people use otherwise, by name. `benchmarks/README.md` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tandem.bench.contender import Contender
from tandem.bench.peers.assisted import Assisted
from tandem.bench.peers.continuous import ContinuousBatching
from tandem.bench.peers.generate import Generate
from tandem.bench.peers.setup import Setup
from tandem.bench.peers.static_batch import StaticBatch
from tandem.errors import InvalidArgument

__all__ = ["PEERS", "Setup", "check_peers", "load_peers"]

PEERS: dict[str, Callable[[Setup], Contender]] = {
    peer.name: peer for peer in (Generate, StaticBatch, Assisted, ContinuousBatching)
}


def load_peers(names: Sequence[str], setup: Setup) -> list[Contender]:
    """The peers by name, ready to be asked.

    Raises:
        InvalidArgument: there is none of that name.
        ModelRefused: the pair cannot be loaded.
    """
    check_peers(names)
    return [PEERS[name](setup) for name in names]


def check_peers(names: Sequence[str]) -> None:
    """Raises: InvalidArgument for a name that no peer has."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise InvalidArgument(f"peer {unknown[0]!r} is not known; expected {', '.join(PEERS)}, or none")
