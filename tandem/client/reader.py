"""Follows one session across connections: what was received, and what to ask for next. No input or output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tandem.decoding.values import RunningDigest, TopLogProbs
from tandem.errors import DataLoss, InvariantBroken, TandemError
from tandem.generation import FinishReason, Generation, Part, Round, Usage
from tandem.rpc.generation_codec import FINISH_REASONS, decode_part, decode_usage
from tandem.v1 import generation_pb2 as pb

Request = pb.GenerateRequest | pb.ResumeRequest
Response = pb.GenerateResponse | pb.ResumeResponse
_Value = TypeVar("_Value")


class SessionReader:
    """Reads a session's stream, resumed any number of times, into parts that follow on each other.

    ``session_id``, ``prompt_token_ids``, ``method`` and ``seed`` are known once the stream has started.
    """

    def __init__(self, request: Request) -> None:
        """Starts with a request for a text, or for the rest of one."""
        self._request = request
        self.session_id = ""
        self.prompt_token_ids: tuple[int, ...] = ()
        self.method = ""
        self.seed = 0
        self._position = 0  # of the next token; 0 until there is a session
        self._last_digest = b""
        self._known: list[int] = []  # all tokens before _position, or none
        self._digest: RunningDigest | None = None  # of _known
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._log_probs: list[float] = []
        self._top_log_probs: list[TopLogProbs] = []
        self._rounds: list[Round] = []
        self._finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        if isinstance(request, pb.ResumeRequest):
            self.session_id = request.session_id
            self._position, self._last_digest = request.position, request.digest
            if request.token_ids:
                self._begin(request.token_ids)

    @property
    def finished(self) -> bool:
        """Whether the end of the text has been read."""
        return self._usage is not None

    @property
    def started(self) -> bool:
        """Whether there is a session to come back to."""
        return bool(self.session_id)

    def next_request(self) -> Request:
        """What to ask now: the first request until there is a session, then for what is missing of it."""
        if not self._position:
            return self._request
        return pb.ResumeRequest(
            session_id=self.session_id, position=self._position, digest=self._last_digest, token_ids=self._known
        )

    def receive(self, message: Response) -> Part | None:
        """Takes the next message and returns the part it brings, if it brings one that is new.

        Raises:
            DataLoss: the part does not continue the text that was received before.
        """
        kind = message.WhichOneof("body")
        if kind == "started":
            self._start(message.started)
        elif kind == "part":
            return self._continue(decode_part(message.part))
        elif kind == "finished":
            self._usage = decode_usage(message.finished.usage)
            self._finish_reason = FINISH_REASONS.get(message.finished.reason, "stop")
        return None

    def generation(self) -> Generation:
        """The whole text; of a session resumed by the caller, what came after the position asked for.

        Raises:
            TandemError: the stream has not been read to its end.
        """
        if self._usage is None or self._finish_reason is None:
            raise TandemError("the generation is not finished: read the stream to its end first")
        return Generation(
            text="".join(self._text),
            token_ids=tuple(self._token_ids),
            prompt_token_ids=self.prompt_token_ids,
            finish_reason=self._finish_reason,
            session_id=self.session_id,
            usage=self._usage,
            method=self.method,
            seed=self.seed,
            rounds=tuple(self._rounds),
            log_probs=self._of_all(self._log_probs),
            top_log_probs=self._of_all(self._top_log_probs),
        )

    def _of_all(self, kept: Sequence[_Value]) -> tuple[_Value, ...]:
        """One for each token, or nothing where some were not kept."""
        return tuple(kept) if len(kept) == len(self._token_ids) else ()

    def _start(self, message: pb.SessionStarted) -> None:
        if self.started and message.session_id != self.session_id:
            raise InvariantBroken(f"asked for session {self.session_id}, was given {message.session_id}")
        self.session_id = message.session_id
        self.prompt_token_ids = tuple(message.prompt_token_ids)
        self.method = message.decoding.speculation.method
        self.seed = message.decoding.sampling.seed
        if not self._position:
            self._begin(self.prompt_token_ids)

    def _begin(self, token_ids: Sequence[int]) -> None:
        self._known = list(token_ids)
        self._digest = RunningDigest(token_ids)
        self._position, self._last_digest = len(token_ids), self._digest.value

    def _continue(self, part: Part) -> Part | None:
        end = part.position + len(part.token_ids)
        if end <= self._position and part.position < self._position:
            return None  # all of it had been received before the connection was lost
        if part.position != self._position:
            raise DataLoss(
                f"session {self.session_id} continues at position {part.position}; received up to {self._position}"
            )
        if self._digest is not None:
            if self._digest.extend(part.token_ids) != part.digest:
                raise DataLoss(f"session {self.session_id} is another text than was received up to {self._position}")
            self._known.extend(part.token_ids)
        self._position, self._last_digest = end, part.digest
        self._text.append(part.text)
        self._token_ids.extend(part.token_ids)
        self._log_probs.extend(part.log_probs)
        self._top_log_probs.extend(part.top_log_probs)
        self._rounds.extend(part.rounds)
        return part
