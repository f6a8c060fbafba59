"""The parts of ``tandem chat``, without a model."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tandem.cli.chatting.beginning import _reader
from tandem.cli.chatting.commands import COMMANDS, State, run_command
from tandem.cli.chatting.conversation import Conversation
from tandem.cli.chatting.painter import Painter, Styles, show
from tandem.cli.chatting.reading import LineReader, TerminalReader
from tandem.cut import Cutter
from tandem.decoding.values import Decoding, Outcome, RoundTrace, Sampling, Speculation
from tandem.errors import InvalidArgument
from tandem.generation import Part, Round
from tandem.tokenization import Tokenizer
from tests.support.tiny_pair import make_tokenizer

PROMPT = (0, 40, 41)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return Tokenizer.from_pretrained(folder)


def traced(token_ids: tuple[int, ...], num_accepted: int, drafted: bool = True) -> Round:
    tree = RoundTrace((1, 2), (-1, 0), (0.0, 0.0), (0.0, 0.0)) if drafted else None
    return Round.of(3, Outcome(token_ids, num_accepted, 2 if drafted else 0, (0.0,) * len(token_ids), trace=tree))


def parts(tokenizer: Tokenizer, rounds: list[Round], stop: tuple[str, ...] = ()) -> list[Part]:
    """As whoever cuts the text would send them: a part a round."""
    longest = len(PROMPT) + sum(len(one.emitted_token_ids) for one in rounds)
    cutter = Cutter(tokenizer, Decoding(Sampling(), Speculation(), longest), stop, PROMPT)
    made: list[Part] = []
    for one in rounds:
        cut = cutter.feed(one.emitted_token_ids)
        kept = traced(
            one.emitted_token_ids[: cut.num_tokens],
            min(len(one.accepted_token_ids), cut.num_tokens),
            bool(one.token_ids),
        )
        made.append(Part(3, b"", kept.emitted_token_ids, cut.text, (), (kept,)))
        if cut.ended:
            break
    return made


@given(
    st.lists(
        st.tuples(st.lists(st.integers(2, 319), min_size=1, max_size=4), st.integers(0, 3)), min_size=1, max_size=9
    ),
    st.sampled_from([(), ("a",), ("ne", " fr")]),
)
def test_what_is_painted_is_the_text(
    tokenizer: Tokenizer, rounds: list[tuple[list[int], int]], stop: tuple[str, ...]
) -> None:
    made = parts(tokenizer, [traced(tuple(ids), min(kept, len(ids))) for ids, kept in rounds], stop)
    painter = Painter(Styles(coloured=True), tokenizer, PROMPT)
    for part in made:
        assert "".join(characters for characters, _ in painter.paint(part)) == part.text


def test_each_token_has_the_style_of_where_it_came_from(tokenizer: Tokenizer) -> None:
    accepted, correction, alone = (tokenizer.encode(word, add_special_tokens=False) for word in ("name", "old", "sky"))
    rounds = [traced((*accepted, correction[0]), len(accepted)), traced(tuple(alone), 0, drafted=False)]
    styles = Styles(coloured=True)
    painter = Painter(styles, tokenizer, PROMPT)
    painted = [piece for part in parts(tokenizer, rounds) for piece in painter.paint(part)]
    by_style = {
        style: "".join(characters for characters, own in painted if own == style)
        for style in (styles.accepted, styles.extra, styles.alone)
    }
    assert by_style == {
        styles.accepted: "name",
        styles.extra: tokenizer.decode(correction[:1]),
        styles.alone: "sky",
    }


def test_without_a_tokenizer_the_text_is_plain() -> None:
    painter = Painter(Styles(coloured=True), None, ())
    assert list(painter.paint(Part(3, b"", (5,), "text", (), (traced((5,), 1),)))) == [("text", "")]


def test_a_model_cannot_steer_the_terminal_and_a_pipe_gets_all_it_said() -> None:
    said = "a\x1b[2Jb\r\x07\x9b\n\tc"
    terminal, pipe = io.StringIO(), io.StringIO()
    show(Console(file=terminal, force_terminal=True, color_system=None), iter([(said, "")]))
    show(Console(file=pipe), iter([(said, "bold")]))
    assert terminal.getvalue().expandtabs() == "a\\x1b[2Jb\\r\\x07\\x9b\n        c"
    assert pipe.getvalue() == said


def test_every_command_is_in_the_help() -> None:
    told = run_command("/help", State(Conversation(None, None), {}))
    assert [name for name in COMMANDS if f"/{name}" not in told] == []


def test_a_setting_that_is_refused_changes_nothing() -> None:
    state = State(Conversation(None, None), {"draft_length": 4})
    for line in ("/set draft_length 99", "/set draft_length", "/set trace true", "/method magic", "/seed -1"):
        with pytest.raises(InvalidArgument):
            run_command(line, state)
    assert state.options == {"draft_length": 4}
    run_command("/set draft_length default", state)
    assert state.options == {}


def test_without_line_editing_it_reads_lines_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    told = io.StringIO()
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    assert isinstance(_reader(True, True, Console(file=told)), LineReader)
    assert "tandem[chat]" in told.getvalue()
    monkeypatch.delitem(sys.modules, "prompt_toolkit")
    assert isinstance(_reader(True, True, Console(file=told)), TerminalReader)
    assert isinstance(_reader(False, True, Console(file=told)), LineReader)
