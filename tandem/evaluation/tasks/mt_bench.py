"""MT-Bench: questions in two turns, whose answers are written for a judge. Read from the file as it is published."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.evaluation.task import Sample, Task
from tandem.evaluation.tasks.chat import Chat, Message, model_chat, plain_chat
from tandem.evaluation.tasks.data_files import Record, read_json_lines, unique

QuestionId = str | int

_MAX_TURNS = 16


@dataclass(frozen=True, slots=True)
class _Question:
    id: QuestionId
    turns: tuple[str, ...]


class MtBench(Task):
    """Questions of a ``question.jsonl``. The prompt of each turn holds the turns before it, with the model's answers.

    Answers are not scored here: :meth:`export` writes them where FastChat's judge looks for them.
    """

    name = "mt-bench"
    max_tokens = 1024

    def __init__(self, path: Path, *, model: str | None = None, chat: Chat | None = None) -> None:
        """Reads the questions.

        Args:
            path: of the file.
            model: folder or hub id, whose tokenizer's chat template is used where it has one.
            chat: how to write conversations, instead.

        Raises:
            InvalidArgument: the file is not in the published form, or the model has no readable tokenizer.
        """
        records = read_json_lines(path)
        self._chat = chat or (plain_chat() if model is None else model_chat(model))
        self.stop = self._chat.stop
        self._samples = unique((record, self._sample(record)) for record in records)

    def samples(self, limit: int | None) -> Sequence[Sample]:
        """See :meth:`Task.samples`."""
        return self._samples[:limit]

    def next_prompt(self, sample: Sample, answers: Sequence[str]) -> str | None:
        """The conversation so far and the next turn, until there is none."""
        question: _Question = sample.data
        return self._prompt(question, answers) if len(answers) < len(question.turns) else None

    def export(self, folder: Path, name: str, answers: Mapping[str, Sequence[str]]) -> None:
        """Writes ``model_answer/<name>.jsonl``; see :func:`write_answers`."""
        given = {sample.data.id: answers[sample.id] for sample in self._samples if sample.id in answers}
        model_id = re.sub(r"[^\w.=+-]", "_", name)  # it is the file's name
        write_answers(folder / "model_answer" / f"{model_id}.jsonl", model_id, given)

    def _sample(self, record: Record) -> Sample:
        turns = record.texts("turns")
        if not 1 <= len(turns) <= _MAX_TURNS or not all(turns):
            raise record.mistake(f"it has {len(turns)} turns; expected 1 to {_MAX_TURNS}, none of them empty")
        question, references = _Question(record.key("question_id"), turns), record.texts("reference")
        prompt = self._prompt(question, ())
        return Sample(str(question.id), prompt, turns[0], references[0] if references else "", question)

    def _prompt(self, question: _Question, answers: Sequence[str]) -> str:
        messages: list[Message] = []
        for turn, answer in zip(question.turns, answers, strict=False):
            messages += [Message("user", turn), Message("assistant", answer.strip())]
        return self._chat.format([*messages, Message("user", question.turns[len(answers)])])


def write_answers(path: Path, model_id: str, answers: Mapping[QuestionId, Sequence[str]]) -> None:
    """Writes answers as FastChat's judge reads them, a question a line, in the order given.

    The same answers give the same file, but for ``tstamp``, the time of writing.

    Args:
        path: of the file, whose folder is made where it is missing.
        model_id: what the judge calls the model; the file must be named after it.
        answers: the text of each turn, by the question's id.
    """
    lines = []
    for question, turns in answers.items():
        texts = [text.strip() for text in turns]
        digest = hashlib.sha256(json.dumps([question, model_id, texts]).encode()).hexdigest()
        record = {
            "question_id": question,
            "answer_id": digest[:22],
            "model_id": model_id,
            "choices": [{"index": 0, "turns": texts}],
            "tstamp": time.time(),
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")
