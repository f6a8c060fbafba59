"""A session's committed text in memory: all that is needed to extend it, to show it, and to write it back."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.records import CommittedRound, SessionRecord
from tandem.cut import Cut, Cutter
from tandem.decoding.values import Fence, Outcome, RoundName, RunningDigest, TopLogProbs
from tandem.errors import DataLoss, Stale
from tandem.tokenization import Tokenizer


class CommittedText:
    """The text of one session, as far as it is committed. Owner: the session's task.

    Invariant: it is what the store has, or what the store had before it lost writes.
    """

    def __init__(self, record: SessionRecord, tokenizer: Tokenizer) -> None:
        """Takes up the text of ``record``; nothing of it has been shown yet."""
        self._record = record
        self.token_ids = list(record.token_ids)
        self._digest = RunningDigest(record.token_ids)
        if self._digest.value != record.digest:
            raise DataLoss(f"the text of session {record.session_id} does not have the digest it was stored with")
        self._log_probs = list(record.log_probs)
        self._top_log_probs = list(record.top_log_probs)
        self._rounds = list(record.rounds)
        self.usage = record.usage()
        prompt = record.token_ids[: record.setup.prompt_length]
        self._cutter = Cutter(tokenizer, record.setup.decoding, record.setup.stop, prompt)
        self._shown_position = len(prompt)

    @property
    def position(self) -> int:
        """Number of committed tokens, prompt included."""
        return len(self.token_ids)

    @property
    def digest(self) -> bytes:
        """Running digest of the committed tokens."""
        return self._digest.value

    def log_probs(self, position: int) -> tuple[float, ...]:
        """Of the tokens from ``position`` on; none where some were not kept."""
        found = tuple(self._log_probs[position - self._record.setup.prompt_length :])
        return found if all(value == value for value in found) else ()

    def top_log_probs(self, position: int) -> tuple[TopLogProbs, ...]:
        """In the place of the tokens from ``position`` on; none where not asked for, or some were not kept."""
        found = tuple(self._top_log_probs[position - self._record.setup.prompt_length :])
        return found if all(found) else ()

    def rounds(self, position: int) -> tuple[CommittedRound, ...]:
        """The committed rounds that made the text from ``position`` on."""
        ends = [*(found.position for found in self._rounds[1:]), self.position]
        return tuple(found for found, end in zip(self._rounds, ends, strict=False) if end > position)

    def skip_to(self, position: int, digest: bytes) -> None:
        """Takes the text up to ``position`` as shown: a client has it, and says so by its digest.

        Raises:
            Stale: the committed text is shorter.
            DataLoss: the client's text is another one.
        """
        prompt_length = self._record.setup.prompt_length
        if position > self.position:
            raise Stale(f"position {position} lies past the session's text of {self.position} tokens")
        if position < prompt_length or RunningDigest(self.token_ids[:position]).value != digest:
            raise DataLoss(f"the client's text differs from the session's within its first {position} tokens")
        self._cutter.feed(self.token_ids[prompt_length:position])
        self._shown_position = position

    def show_rest(self) -> tuple[int, str]:
        """Shows what is committed and not yet shown: its first position, and its characters."""
        position, self._shown_position = self._shown_position, self.position
        return position, self._cutter.feed(self.token_ids[position:]).text

    def continues(self, name: RoundName, outcome: Outcome) -> bool:
        """Whether a round extends exactly this text, by what it says it does."""
        return (
            name.position == self.position
            and name.digest == self.digest
            and len(outcome.token_ids) > 0
            and self._digest.peek(outcome.token_ids) == outcome.next_digest
        )

    def cut(self, outcome: Outcome) -> tuple[Outcome, Cut]:
        """The part of an outcome that belongs to the text. Once for each outcome; `append` follows when committed."""
        cut = self._cutter.feed(outcome.token_ids)
        if cut.num_tokens == len(outcome.token_ids):
            return outcome, cut
        shorter = outcome.cut(cut.num_tokens)
        return replace(shorter, next_digest=self._digest.peek(shorter.token_ids)), cut

    def append(self, outcome: Outcome) -> None:
        """Takes a committed outcome into the text."""
        self._rounds.append(CommittedRound.of(self.position, self.digest, outcome))
        self.token_ids.extend(outcome.token_ids)
        self._log_probs.extend(outcome.log_probs)
        if self._record.setup.decoding.num_top_log_probs:
            self._top_log_probs.extend(outcome.top_log_probs or [()] * len(outcome.token_ids))
        self._digest.extend(outcome.token_ids)
        self._shown_position = self.position
        self.usage.add(outcome)

    def record(self, fence: Fence) -> SessionRecord:
        """The session as the store should have it."""
        return replace(
            self._record,
            fence=fence,
            position=self.position,
            digest=self.digest,
            token_ids=tuple(self.token_ids),
            log_probs=tuple(self._log_probs),
            top_log_probs=tuple(self._top_log_probs),
            rounds=tuple(self._rounds),
        )
