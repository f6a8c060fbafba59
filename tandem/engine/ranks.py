"""Several processes that run one model together: tensor parallelism by the library's own plan.

Rank 0 has everything that one process has: the service, the books of the KV pool, the judging. The others hold their
part of the weights and of every slot's keys and values, and do with them what rank 0 tells them, pass by pass.

    rank 0    reserve ─► tell ─► pass ─► judge ─► settle ─► …
                           │      ║ sums of the layers' parts
    others              listen ─► pass ─► listen ─► …

Two groups of one membership: sums travel over `nccl` between GPUs and `gloo` between CPUs, what is told over `gloo`.
It is awaited for ever, since a replica may have nothing to do. A rank that ends is noticed by its closed connections,
one that hangs by the clock. Nothing is mended: a group that has lost a pass serves no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec

import numpy as np
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store, TCPStore
from torch.distributed.rendezvous import rendezvous
from transformers import PreTrainedModel

from tandem.engine.batch import BatchPlan
from tandem.engine.families import AttentionShape
from tandem.engine.forward import run_pass
from tandem.engine.kv_pool import KVPool
from tandem.engine.pass_message import Ints, Move, decode, encode
from tandem.engine.place import Place
from tandem.errors import InvalidArgument, InvariantBroken, Unavailable

JOIN_SECONDS = 300.0
"""How long the ranks wait for one another to start; what they import takes most of it."""
PASS_SECONDS = 60.0
"""How long a pass may take before a rank is taken to hang: less than a model thread may be at one step."""
HEAD_NUMBERS = 1024
"""How much of what is told goes out at once, its length included; only longer passes need a second message."""

_FOR_EVER = timedelta(days=3650)


class Ranks:
    """The processes that run one model together, as one of them sees them. One thread owns it, but for `check`."""

    def __init__(self, place: Place, pass_seconds: float = PASS_SECONDS) -> None:
        """Connects nothing yet."""
        self.place = place
        self._pass_seconds = pass_seconds
        self._passing_since: float | None = None
        self._moves: list[Move] = []
        self._lost: Exception | None = None

    @property
    def size(self) -> int:
        """How many there are."""
        return self.place.size

    def device(self, wanted: str) -> torch.device:
        """What this rank computes on, if the machine has it for all of its ranks.

        Raises: InvalidArgument, saying what is missing.
        """
        if find_spec("accelerate") is None:
            raise InvalidArgument(
                "--parallelism needs the package accelerate, which is not installed: install tandem[engine], or "
                "serve with --parallelism 1"
            )
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        if wanted not in ("auto", kind):
            raise InvalidArgument(
                f"--device {wanted} does not go with --parallelism {self.size}: the ranks of this machine compute on "
                f"{kind}, one device each; expected auto or {kind}"
            )
        if kind == "cpu":
            return torch.device("cpu")
        if torch.cuda.device_count() < self.place.local_size:
            raise InvalidArgument(
                f"--parallelism {self.size} needs {self.place.local_size} GPUs here, one for each rank, and there are "
                f"{torch.cuda.device_count()}; choose a lower --parallelism, or a machine with more GPUs"
            )
        torch.cuda.set_device(self.place.local_rank)
        return torch.device("cuda", self.place.local_rank)

    def join(self, device: torch.device) -> None:
        """Meets the other ranks. Raises: InvariantBroken if one has ended, or does not come in time."""
        place, on_gpu = self.place, device.type == "cuda"
        store = self._store()
        store.set(f"rank {place.rank} is here", "")
        deadline = time.monotonic() + JOIN_SECONDS
        while not store.check([f"rank {rank} is here" for rank in range(place.size)]):
            place.check_others()
            if time.monotonic() > deadline:
                raise InvariantBroken(f"not all of the {place.size} ranks have started within {JOIN_SECONDS:g} s")
            time.sleep(0.02)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.size,
            device_id=device if on_gpu else None,
        )
        self._telling = dist.new_group(backend="gloo", timeout=_FOR_EVER)

    def least(self, number: int) -> int:
        """The least of the ranks' numbers; each waits for all. Raises: InvariantBroken if a rank has ended."""
        least = torch.tensor(number)
        try:
            dist.all_reduce(least, dist.ReduceOp.MIN, group=self._telling)
        except RuntimeError as error:
            self.place.check_others()
            raise InvariantBroken(f"another of the {self.size} ranks has ended: {error}") from error
        return int(least)

    def pool(
        self, shape: AttentionShape, num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> KVPool:
        """Rank 0's KV pool, of which the others hear what is moved in it."""
        return _LedPool(shape, num_blocks, block_size, dtype, device, lambda move: self._moves.append(move))

    def lead(self, model: PreTrainedModel, plan: BatchPlan) -> torch.Tensor:
        """A pass, by all ranks: called by rank 0. As `run_pass`.

        Raises: Unavailable, from now on always, if the ranks have lost one another.
        """
        self._passing_since = time.monotonic()
        try:
            if self._lost is None:
                self._tell(encode(self._moves, plan.feeds))
                self._moves.clear()
                logits = run_pass(model, plan)
                if logits.is_cuda:
                    torch.cuda.synchronize(logits.device)  # a GPU that waits for another one has not passed
                return logits
        except Exception as error:  # whatever it was, nobody knows how far the others have come
            self._lost = error
        finally:
            self._passing_since = None
        raise Unavailable(
            "this verify replica is ending: the processes that run its model have lost one another; ask another one"
        ) from self._lost

    def follow(self, model: PreTrainedModel, kv: KVPool) -> None:
        """Passes, as rank 0 tells them, until it has ended; called by all other ranks.

        Raises: Exception, whatever made a pass fail; it cannot be made up for.
        """
        while (message := self._hear()) is not None:
            moves, feeds = decode(message, kv)
            for source, target in moves:
                kv.move(source, target)
            run_pass(model, BatchPlan(kv, feeds))

    def check(self) -> None:
        """Raises: InvariantBroken if another rank has ended or hangs, or a pass was lost."""
        self.place.check_others()
        since = self._passing_since
        if since is not None and time.monotonic() - since > self._pass_seconds:
            raise InvariantBroken(
                f"a pass has not ended within {self._pass_seconds:g} s: one of the {self.size} processes that run the "
                "model hangs; start the replica anew"
            )
        if self._lost is not None:
            raise InvariantBroken(f"the {self.size} processes that run the model have lost one another: {self._lost}")

    def _store(self) -> Store:
        place = self.place
        if place.listener is None:
            store: Store = next(rendezvous("env://", place.rank, place.size))[0]
            return store
        port = place.listener.getsockname()[1]
        return TCPStore(
            "127.0.0.1",
            port,
            place.size,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=place.listener.detach(),
        )

    def _tell(self, message: Ints) -> None:
        head = torch.zeros(HEAD_NUMBERS, dtype=torch.int64)
        head[0] = len(message)
        told = torch.from_numpy(message)
        rest = told[HEAD_NUMBERS - 1 :]
        head[1 : 1 + len(told) - len(rest)] = told[: HEAD_NUMBERS - 1]
        dist.broadcast(head, 0, group=self._telling)
        if len(rest):
            dist.broadcast(rest, 0, group=self._telling)

    def _hear(self) -> Ints | None:
        """What rank 0 tells next; None when it has ended."""
        head = torch.empty(HEAD_NUMBERS, dtype=torch.int64)
        try:
            dist.broadcast(head, 0, group=self._telling)
            length = int(head[0])
            rest = torch.empty(max(0, length - (HEAD_NUMBERS - 1)), dtype=torch.int64)
            if len(rest):
                dist.broadcast(rest, 0, group=self._telling)
        except RuntimeError:
            return None
        return np.concatenate((head[1 : 1 + length].numpy(), rest.numpy()))


class _LedPool(KVPool):
    def __init__(
        self,
        shape: AttentionShape,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        on_move: Callable[[Move], None],
    ) -> None:
        super().__init__(shape, num_blocks, block_size, dtype, device)
        self._on_move = on_move

    def move(self, source: Ints, target: Ints) -> None:
        super().move(source, target)
        self._on_move((source, target))
