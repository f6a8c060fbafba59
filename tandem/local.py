"""The whole decoding in one process, without services: for notebooks, and the yardstick for what services cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

from tandem.cut import Cutter
from tandem.decoding.methods import method
from tandem.decoding.stats import RunningUsage
from tandem.decoding.values import Outcome, RunningDigest, Speculation, TopLogProbs
from tandem.energy.counter import NotMeasured
from tandem.energy.meter import EnergyMeter
from tandem.energy.powercap import POWERCAP_ROOT
from tandem.engine.engine import Engine
from tandem.engine.loading import load_model
from tandem.engine.measuring import meter_of
from tandem.engine.proposer import DraftSequence, Proposer
from tandem.engine.verifier import Verifier, VerifySequence
from tandem.errors import ModelRefused, TandemError
from tandem.generation import FinishReason, Generation, Options, Part, Round, Score
from tandem.matching import Grammars
from tandem.models import shipped
from tandem.requests import Limits, check_scorable, checked_prompt, checked_stop, decoding_for
from tandem.tokenization import Tokenizer

_BLOCK_SIZE = 16
_SCORED_AT_ONCE = 512
_Value = TypeVar("_Value")


class LocalDecoder:
    """A target model and a draft model in this process. Not safe to share between threads."""

    def __init__(
        self,
        target: str | Path | None = None,
        draft: str | Path | None = None,
        *,
        dtype: str = "auto",
        device: str = "auto",
        num_kv_slots: int = 32768,
        compile: bool = False,
        powercap_root: Path = POWERCAP_ROOT,
    ) -> None:
        """Loads both models: Hugging Face ids or folders; the shipped pair where left out.

        With ``compile`` their passes are made machine code first, which takes minutes at the first start on a machine.
        ``powercap_root`` is where the kernel shows the energy counters of processors.

        Raises:
            ModelRefused: a model cannot be loaded, or the two have different tokenizers.
        """
        names = (str(target or shipped("target")), str(draft or shipped("draft")))
        self.tokenizer, draft_tokenizer = (Tokenizer.from_pretrained(name) for name in names)
        if self.tokenizer.digest != draft_tokenizer.digest:
            raise ModelRefused(
                f"target {names[0]} and draft {names[1]} have different tokenizers "
                f"({self.tokenizer.digest[:12]} and {draft_tokenizer.digest[:12]}): token ids would not mean the same"
            )
        num_blocks = num_kv_slots // _BLOCK_SIZE
        models = [load_model(name, dtype=dtype, device=device, compile=compile) for name in names]
        engines = [Engine(model, num_kv_blocks=num_blocks, block_size=_BLOCK_SIZE) for model in models]
        identities = [engine.identity for engine in engines]
        self._limits = Limits(
            min(self.tokenizer.vocab_size, *(identity.vocab_size for identity in identities)),
            min(identity.max_positions for identity in identities),
            identities[0].eos_token_ids,
        )
        # One meter for both roles: their passes take turns, so each is charged to its own role.
        self._meter: EnergyMeter | None = None
        with contextlib.suppress(NotMeasured):
            self._meter = meter_of(models, powercap_root)
        grammars = Grammars.of_model(names[0], self._limits.eos_token_ids)
        self._verifier = Verifier(engines[0], self._meter, grammars)
        self._proposer = Proposer(engines[1], self._meter, grammars)
        self._scorer = self._verifier.scorer()

    def generate(self, prompt: str | Sequence[int], **options: Unpack[Options]) -> Generation:
        """Generates one text; arguments as :meth:`tandem.Client.generate`.

        Raises:
            InvalidArgument: a value that cannot be served, by name.
        """
        return self.generate_all([prompt], **options)[0]

    def generate_all(self, prompts: Sequence[str | Sequence[int]], **options: Unpack[Options]) -> list[Generation]:
        """Generates many texts together, one round of all of them in each batch; each is what it would be alone.

        Prompt i decodes with ``seed + i``, where a seed is given.
        """
        return self._generate([(prompt, options, index) for index, prompt in enumerate(prompts)])

    def generate_each(
        self,
        asks: Sequence[tuple[str | Sequence[int], Options]],
        on_part: Callable[[int, Part], None] | None = None,
    ) -> list[Generation]:
        """As `generate_all`, each prompt with options of its own.

        ``on_part`` gets what each round adds to a text, with the text's index, at once.
        """
        return self._generate([(prompt, options, 0) for prompt, options in asks], on_part)

    def _generate(
        self,
        asks: Sequence[tuple[str | Sequence[int], Options, int]],
        on_part: Callable[[int, Part], None] | None = None,
    ) -> list[Generation]:
        """Of each text the prompt, its options, and what is added to its seed."""
        started = time.perf_counter()
        texts: list[_Text] = []
        try:
            for prompt, options, index in asks:
                texts.append(self._open(prompt, options, index, started))
            while running := [index for index, text in enumerate(texts) if text.finish_reason is None]:
                for index, part in zip(running, self._round([texts[index] for index in running]), strict=True):
                    if on_part is not None:
                        on_part(index, part)
            return [text.generation() for text in texts]
        finally:
            self._close(texts)

    def stream(self, prompt: str | Sequence[int], **options: Unpack[Options]) -> LocalStream:
        """Generates one text and yields what each round adds to it. Several may be read in turns.

        Raises:
            InvalidArgument: a value that cannot be served, by name.
        """
        text = self._open(prompt, options, 0, time.perf_counter())
        return LocalStream(text, lambda: self._round([text])[0], lambda: self._close([text]))

    def score(self, prompt: str | Sequence[int], *, num_top_log_probs: int = 0) -> Score:
        """Tells how probable a text is under the target; arguments as :meth:`tandem.Client.score`.

        Raises:
            InvalidArgument: a value that cannot be served, by name.
        """
        token_ids = checked_prompt(self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt, self._limits)
        check_scorable(len(token_ids), num_top_log_probs, self._limits)
        text = self._scorer.open(token_ids, num_top_log_probs)
        try:
            while not text.finished:
                (failure,) = self._scorer.advance([(text, min(_SCORED_AT_ONCE, text.num_pending))])
                if failure is not None:
                    raise failure
        finally:
            self._scorer.close(text)
            if self._meter is not None:
                self._meter.rest()
        scores = text.scores
        return Score(token_ids, scores.log_probs, scores.ranks, scores.top_log_probs)

    def _close(self, texts: Sequence[_Text]) -> None:
        for text in texts:
            self._verifier.close(text.verify)
            if text.draft is not None:
                self._proposer.close(text.draft)
        if self._meter is not None:
            self._meter.rest()

    def _open(self, prompt: str | Sequence[int], options: Options, index: int, started: float) -> _Text:
        token_ids = checked_prompt(self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt, self._limits)
        decoding = decoding_for(options, len(token_ids), self._limits, Speculation())
        if options.get("seed") is not None:
            sampling = replace(decoding.sampling, seed=(decoding.sampling.seed + index) % (1 << 64))
            decoding = replace(decoding, sampling=sampling)
        cutter = Cutter(self.tokenizer, decoding, checked_stop(options.get("stop")), token_ids)
        drafted = not method(decoding.speculation.method).target_only
        return _Text(
            cutter,
            self._verifier.open(token_ids, decoding),
            self._proposer.open(token_ids, decoding) if drafted else None,
            started,
        )

    def _round(self, running: Sequence[_Text]) -> list[Part]:
        drafts = [text.draft for text in running if text.draft is not None]
        drafted = iter(self._proposer.propose(drafts) if drafts else ())
        work = [(text.verify, None if text.draft is None else _value(next(drafted))) for text in running]
        return [text.add(_value(judged)) for text, judged in zip(running, self._verifier.judge(work), strict=True)]


class _Text:
    """One text of a batch: on both models' sides, and as it is read."""

    def __init__(self, cutter: Cutter, verify: VerifySequence, draft: DraftSequence | None, started: float) -> None:
        self.verify = verify
        self.draft = draft
        self.finish_reason: FinishReason | None = None
        self._cutter = cutter
        self._prompt = tuple(verify.token_ids)
        self._usage = RunningUsage(verify.decoding.speculation.method, len(self._prompt))
        self._rounds: list[Round] = []
        self._log_probs: list[float] = []
        self._top_log_probs: list[TopLogProbs] = []
        self._token_ids: list[int] = []
        self._text = ""
        self._digest = RunningDigest(self._prompt)
        self._started = self._first_token_at = self._ended_at = started

    def add(self, outcome: Outcome) -> Part:
        """Follows one round, which the verify side has taken in already, and returns what the text has gained."""
        if self.draft is not None:
            self.draft.extend(outcome.token_ids)
        cut = self._cutter.feed(outcome.token_ids)
        kept = outcome.cut(cut.num_tokens)
        self._ended_at = time.perf_counter()
        if not self._token_ids:
            self._first_token_at = self._ended_at
        position = len(self._prompt) + len(self._token_ids)
        rounds = (Round.of(position, kept),) if self.verify.decoding.trace else ()
        self._rounds += rounds
        self._usage.add(kept)
        self._token_ids += kept.token_ids
        self._log_probs += kept.log_probs
        self._top_log_probs += kept.top_log_probs
        self._text += cut.text
        self.finish_reason = cut.ended
        return Part(
            position,
            self._digest.extend(kept.token_ids),
            kept.token_ids,
            cut.text,
            kept.log_probs,
            rounds,
            kept.top_log_probs,
        )

    def generation(self) -> Generation:
        """The finished text."""
        decoding = self.verify.decoding
        return Generation(
            text=self._text,
            token_ids=tuple(self._token_ids),
            prompt_token_ids=self._prompt,
            finish_reason=self.finish_reason or "length",
            session_id="",
            usage=self._usage.usage(self._first_token_at - self._started, self._ended_at - self._started),
            method=decoding.speculation.method,
            seed=decoding.sampling.seed,
            rounds=tuple(self._rounds),
            log_probs=tuple(self._log_probs),
            top_log_probs=tuple(self._top_log_probs),
        )


class LocalStream(Iterator[Part]):
    """The parts of one text, a round each. Closing it, or reading it to its end, frees what its sequences hold."""

    def __init__(self, text: _Text, round_of: Callable[[], Part], close: Callable[[], None]) -> None:
        self._text = text
        self._round = round_of
        self._free = close
        self._open = True

    @property
    def generation(self) -> Generation:
        """The text so far with its figures; whole once the stream has been read to its end."""
        return self._text.generation()

    def cancel(self) -> None:
        """Ends the text where it stands."""
        self._text.finish_reason = self._text.finish_reason or "cancelled"

    def close(self) -> None:
        """Frees the sequences; the text ends where it stands. Safe to repeat."""
        self.cancel()
        if self._open:
            self._open = False
            self._free()

    def __next__(self) -> Part:
        if self._text.finish_reason is not None:
            self.close()
            raise StopIteration
        return self._round()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _value(result: _Value | TandemError) -> _Value:
    if isinstance(result, TandemError):
        raise result
    return result
