"""MT-Bench: two turns, and the file for a judge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tandem.errors import InvalidArgument, ModelRefused
from tandem.evaluation.tasks import MtBench
from tandem.evaluation.tasks.chat import Chat, Message, model_chat
from tandem.evaluation.tasks.mt_bench import write_answers
from tandem.models import shipped

QUESTIONS: list[dict[str, Any]] = [
    {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."], "reference": ["One.", "Two."]},
    {"question_id": 82, "category": "math", "turns": ["Count.", "Back."]},
]


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "question.jsonl", *QUESTIONS)


@pytest.fixture
def chat_model(tmp_path: Path) -> Path:
    """A model folder whose tokenizer has a chat template, and adds a begin token by itself."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped("target") / name, folder / name)
    definition = json.loads((folder / "tokenizer.json").read_text())
    begin = {"id": 0, "content": definition["added_tokens"][0]["content"]}
    assert definition["added_tokens"][0]["id"] == 0
    definition["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": begin["content"], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {begin["content"]: {"id": begin["content"], "ids": [0], "tokens": [begin["content"]]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["bos_token"] = begin["content"]
    config["chat_template"] = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_the_second_prompt_holds_the_first_answer(path: Path) -> None:
    task = MtBench(path)
    first, second = task.samples(None)
    assert (first.id, first.question, first.reference, second.reference) == ("81", "Write.", "One.", "")
    assert first.prompt == "USER: Write.\nASSISTANT:"
    assert task.next_prompt(first, [" Done. "]) == "USER: Write.\nASSISTANT: Done.\nUSER: Again.\nASSISTANT:"
    assert task.next_prompt(first, ["Done.", "Done."]) is None
    assert task.stop == ("\nUSER:",)
    assert task.primary is None
    assert task.score(first, ["Done.", "Done."]) == {}


def test_conversations_may_be_written_otherwise(path: Path) -> None:
    def shout(messages: Any) -> str:
        return "|".join(message.content.upper() for message in messages)

    task = MtBench(path, chat=Chat(shout))
    assert task.next_prompt(task.samples(1)[0], ["done"]) == "WRITE.|DONE|AGAIN."
    assert task.stop == ()


def test_a_models_own_template_is_used(path: Path, chat_model: Path) -> None:
    task = MtBench(path, model=str(chat_model))
    sample = task.samples(1)[0]
    # The begin token is left to the tokenizer, or prompts would begin twice.
    assert sample.prompt == "<user>Write.<assistant>"
    assert task.next_prompt(sample, [" Done."]) == "<user>Write.<assistant>Done.<user>Again.<assistant>"
    assert task.stop == ()


def test_a_begin_token_that_the_tokenizer_does_not_add_stays(chat_model: Path) -> None:
    definition = json.loads((chat_model / "tokenizer.json").read_text())
    definition["post_processor"] = None
    (chat_model / "tokenizer.json").write_text(json.dumps(definition))
    begin = definition["added_tokens"][0]["content"]
    assert model_chat(str(chat_model)).format([Message("user", "Hi")]) == f"{begin}<user>Hi<assistant>"


def test_a_model_without_a_template_gets_the_plain_form(path: Path) -> None:
    assert MtBench(path, model=str(shipped("target"))).samples(1)[0].prompt == "USER: Write.\nASSISTANT:"


def test_a_model_without_a_tokenizer_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelRefused, match=r"empty has no tokenizer\.json"):
        MtBench(path, model=str(tmp_path / "empty"))


def test_answers_are_written_for_the_judge(path: Path, tmp_path: Path) -> None:
    task = MtBench(path)
    task.export(tmp_path, "mtad γ=4/b", {"82": [" 1 2", "2 1\n"], "81": ["é", "b"]})
    (written,) = (tmp_path / "model_answer").iterdir()
    assert written.name == "mtad_γ=4_b.jsonl"
    lines = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [list(line) for line in lines] == [["question_id", "answer_id", "model_id", "choices", "tstamp"]] * 2
    assert [line["question_id"] for line in lines] == [81, 82]
    assert lines[1]["model_id"] == "mtad_γ=4_b"
    assert lines[1]["choices"] == [{"index": 0, "turns": ["1 2", "2 1"]}]
    assert isinstance(lines[1]["tstamp"], float)


def test_equal_answers_give_equal_files_but_for_the_time(tmp_path: Path) -> None:
    def written(name: str, answer: str) -> list[dict[str, Any]]:
        write_answers(tmp_path / name / "m.jsonl", "m", {81: [answer, "b"], "own": ["c"]})
        lines = [json.loads(line) for line in (tmp_path / name / "m.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "tstamp"} for line in lines]

    assert written("one", "a") == written("two", "a")
    assert written("one", "a")[0]["answer_id"] != written("two", "x")[0]["answer_id"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_id": 81}, r"line 3: the id '81' is taken by .*line 1"),
        ({"question_id": None}, "line 3: expected text or a whole number in the field 'question_id'"),
        ({"turns": []}, "line 3: it has 0 turns; expected 1 to 16"),
        ({"turns": ["a", ""]}, "none of them empty"),
        ({"turns": "a"}, "expected a list of texts in the field 'turns'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    bad = {"question_id": 83, "category": "x", "turns": ["a", "b"]} | changes
    with pytest.raises(InvalidArgument, match=message):
        MtBench(write(tmp_path / "bad.jsonl", *QUESTIONS, bad))
