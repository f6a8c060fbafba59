"""The prompt before its texts, with its tokens' log-probabilities where these are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.openai.token_pieces import TokenPiece, alternatives_of, least
from orchestrator.scoring import Scoring
from tandem.decoding.values import check_top_entries
from tandem.generation import Score
from tandem.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as it is shown."""

    text: str
    token_ids: tuple[int, ...]
    """As the target reads it; none where a text is shown as it was given, and is not all that is answered."""
    tokens: tuple[TokenPiece, ...] = ()
    """Together the text; none where log-probabilities are not asked for."""


class Echoes:
    """Reads the prompts of one request."""

    def __init__(
        self,
        scoring: Scoring,
        tokenizer: Tokenizer,
        num_top: int | None,
        deadline: float | None = None,
        *,
        is_all: bool,
        target: str | None = None,
    ) -> None:
        """``num_top``: None where log-probabilities are not asked for; ``is_all``: nothing is generated after them.

        ``deadline`` is by `time.monotonic`.
        """
        self._scoring = scoring
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._deadline = deadline
        self._is_all = is_all
        self._target = target

    async def of(self, prompts: Sequence[str | tuple[int, ...]], num_choices: int) -> list[Echo]:
        """The prompt of each choice, of which there are so many a prompt.

        Raises:
            TandemError: why the first one cannot be read or scored.
        """
        if self._num_top is None and not self._is_all:
            found = [Echo(each if isinstance(each, str) else await self._text(each), ()) for each in prompts]
        else:
            read = [await self._scoring.read(prompt, self._num_top or 0) for prompt in prompts]
            if self._num_top is None:
                texts = [each if isinstance(each, str) else await self._text(each) for each in prompts]
                found = [Echo(*each) for each in zip(texts, read, strict=True)]
            else:
                # An answer holds every prompt as often as it has choices.
                check_top_entries(sum(map(len, read)) * num_choices, max(1, self._num_top))
                found = await self._scored(read, self._num_top)
        return [echo for echo in found for _ in range(num_choices)]

    async def _scored(self, prompts: Sequence[tuple[int, ...]], num_top: int) -> list[Echo]:
        """All of them, side by side."""

        async def one(prompt: tuple[int, ...]) -> Echo:
            score = await self._scoring.score(prompt, num_top, self._deadline, self._target)
            # Hundreds of tokens, with up to twenty others in the place of each: read where nobody waits for it.
            return await asyncio.to_thread(self._spelt, score)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(prompt), name="echo of a prompt") for prompt in prompts]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _text(self, token_ids: tuple[int, ...]) -> str:
        def read() -> str:
            stream = self._tokenizer.stream()
            return stream.push(token_ids) + (stream.flush() if self._is_all else "")

        return await asyncio.to_thread(read)

    def _spelt(self, score: Score) -> Echo:
        """The prompt as its tokens spell it. What ends within a character is spelt with the token that completes it."""
        stream = self._tokenizer.stream()
        tokens: list[TokenPiece] = []
        end = 0
        log_probs = (None, *score.log_probs)
        tops = ((), *(score.top_log_probs or ((),) * len(score.log_probs)))
        for token, log_prob, top in zip(score.token_ids, log_probs, tops, strict=True):
            alternatives = alternatives_of(self._tokenizer, stream, top)
            text = stream.push((token,))
            tokens.append(TokenPiece(token, text, end, None if log_prob is None else least(log_prob), alternatives))
            end += len(text)
        if self._is_all and (rest := stream.flush()):
            tokens[-1] = replace(tokens[-1], text=tokens[-1].text + rest)
        return Echo("".join(token.text for token in tokens), score.token_ids, tuple(tokens))
