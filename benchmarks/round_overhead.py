"""What a round costs outside the models: drafting, judging and bookkeeping, with models that answer at once.

    python -m benchmarks.round_overhead [--rounds 300]

CPU time of one thread, the models' own time taken out: medians over rounds, and the total's lowest decile, which other
work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tandem.decoding.methods import METHODS
from tandem.decoding.scored import Scored
from tandem.decoding.values import Decoding, Floats, Ids, Outcome, Proposal, Sampling, Speculation
from tandem.decoding.warp import Candidates
from tandem.engine.proposer import DraftSequence, Proposer
from tandem.engine.tree_model import Row
from tandem.engine.verifier import Verifier, VerifySequence

VOCAB_SIZE = 1536
PROMPT = range(100, 164)
_Result = TypeVar("_Result")


class CountedSequence:
    """Counts positions where a model would hold KV."""

    def __init__(self) -> None:
        self.length = 0
        self.num_unsettled = 0

    def settle(self, path: Sequence[int]) -> None:
        """Settles as many positions as the path has nodes."""
        self.length += len(path)
        self.num_unsettled = 0

    def rollback(self, length: int) -> None:
        """Truncates."""
        self.length, self.num_unsettled = length, 0

    def adopt(self, text: Sequence[int], stop: int) -> int:
        """Nobody has computed anything."""
        return 0

    def next_key(self, text: Sequence[int]) -> bytes | None:
        """Nobody shares anything."""
        return None

    def distrust(self) -> None:
        """Nobody else would adopt it."""
        self.rollback(0)


class InstantModel:
    """Candidates looked up by the last token alone; counts the time it takes itself."""

    vocab_size = VOCAB_SIZE

    def __init__(self, logits: Floats) -> None:
        self._ids = np.argsort(-logits, axis=1, kind="stable")
        self._logits = np.take_along_axis(logits, self._ids, axis=1)
        self._log_normaliser = np.logaddexp.reduce(logits, axis=1)
        self.seconds = 0.0

    def open(self, cache_salt: bytes | None = None) -> CountedSequence:
        """A sequence without positions."""
        return CountedSequence()

    def close(self, sequence: CountedSequence) -> None:
        """Nothing is held."""
        sequence.rollback(0)

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        """Looks up what was asked for; nobody asks for the most probable tokens."""
        started = time.thread_time()
        for row in rows:
            row.sequence.num_unsettled += len(row.token_ids)  # type: ignore[misc]
        read = np.concatenate([row.token_ids[row.logits_at] for row in rows])
        found = Candidates(self._ids[read, :width], self._logits[read, :width], self._log_normaliser[read])
        self.seconds += time.thread_time() - started
        return found

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        """Nothing is scored here."""
        raise NotImplementedError

    def check_integrity(self) -> None:
        """Nothing can be out of order."""


class Stack:
    """A proposer and a verifier with some open texts."""

    def __init__(self, method: str, batch_size: int) -> None:
        generator = np.random.default_rng(0)
        target = generator.normal(0, 3, (VOCAB_SIZE, VOCAB_SIZE))
        draft = target + generator.normal(0, 1, target.shape)
        self.models = InstantModel(target), InstantModel(draft)
        self.verifier, self.proposer = Verifier(self.models[0]), Proposer(self.models[1])
        self.drafted = not METHODS[method].target_only
        speculation = Speculation(method, 4, 4, METHODS[method].default_threshold)
        decodings = [Decoding(Sampling(seed=seed), speculation, 1 << 30) for seed in range(batch_size)]
        self.texts: list[VerifySequence] = [self.verifier.open(PROMPT, decoding) for decoding in decodings]
        self.drafts: list[DraftSequence] = []
        if self.drafted:
            self.drafts = [self.proposer.open(PROMPT, decoding) for decoding in decodings]

    def round(self) -> tuple[float, float, float]:
        """Seconds spent outside the models while proposing, judging and following the outcomes."""
        proposals: Sequence[Proposal | Exception | None] = [None] * len(self.texts)
        proposing = 0.0
        if self.drafted:
            proposals, proposing = self._timed(lambda: self.proposer.propose(self.drafts))
        work = [(text, proposal) for text, proposal in zip(self.texts, proposals, strict=True)]
        outcomes, judging = self._timed(lambda: self.verifier.judge(work))  # type: ignore[arg-type]
        _, following = self._timed(lambda: self._follow(outcomes))
        return proposing, judging, following

    def _follow(self, outcomes: Sequence[Outcome | Exception]) -> None:
        for draft, outcome in zip(self.drafts, outcomes, strict=False):
            assert isinstance(outcome, Outcome)
            draft.extend(outcome.token_ids)

    def _timed(self, work: Callable[[], _Result]) -> tuple[_Result, float]:
        modelled, started = sum(model.seconds for model in self.models), time.thread_time()
        result = work()
        return result, time.thread_time() - started - (sum(model.seconds for model in self.models) - modelled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    num_rounds = parser.parse_args().rounds
    print(
        f"{'method':16}{'batch':>6}{'propose ms':>12}{'judge ms':>10}{'follow ms':>11}{'total ms':>10}{'lowest ms':>11}"
    )
    for method in METHODS:
        for batch_size in (1, 16):
            stack = Stack(method, batch_size)
            for _ in range(10):
                stack.round()
            rounds = [stack.round() for _ in range(num_rounds)]
            proposing, judging, following = (statistics.median(stage) * 1e3 for stage in zip(*rounds, strict=True))
            total = statistics.median(map(sum, rounds)) * 1e3
            lowest = statistics.quantiles(map(sum, rounds), n=10)[0] * 1e3
            print(
                f"{method:16}{batch_size:6}{proposing:12.3f}{judging:10.3f}{following:11.3f}{total:10.3f}{lowest:11.3f}"
            )


if __name__ == "__main__":
    main()
