"""What may come next under a constraint, held against the finished texts themselves."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tandem.decoding.constraint import MAX_CONSTRAINT_CHARACTERS, Constraint
from tandem.decoding.values import Decoding, Sampling, Speculation
from tandem.errors import InvalidArgument
from tandem.matching import Grammars, check_constraint
from tandem.models import shipped
from tandem.tokenization import Tokenizer, tokenizer_definition
from tests.support.language import EOS, allowed_after, constraint, grammars, sentences

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def tree(*nodes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and parents."""
    tokens, parents = zip(*nodes, strict=True) if nodes else ((), ())
    return np.array(tokens, np.int64), np.array(parents, np.int64)


def tokens_of(mask: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist())


NOTHING = tree()
ROOT = np.array([-1])


def test_after_every_beginning_exactly_what_leads_to_a_sentence_is_allowed() -> None:
    matcher = grammars().matcher(constraint(), (EOS,))
    beginnings = sorted({sentence[:length] for sentence in sentences() for length in range(len(sentence) + 1)})
    random.Random(1).shuffle(beginnings)  # so that following goes back as often as forth
    for beginning in beginnings:
        matcher.follow(list(beginning))
        assert tokens_of(matcher.allowed(*NOTHING, ROOT)[0]) == allowed_after(beginning)


def test_along_a_tree_every_node_allows_what_its_own_path_does() -> None:
    matcher = grammars().matcher(constraint(), (EOS,))
    matcher.follow([2])
    # b: c, g; bc: g, its end; bg: a
    tokens, parents = tree((3, -1), (7, -1), (7, 0), (EOS, 0), (1, 1), (1, 2))
    nodes = np.array([-1, 0, 1, 2, 4, 5])
    paths = [(2,), (2, 3), (2, 7), (2, 3, 7), (2, 7, 1), (2, 3, 7, 1)]
    masks = matcher.allowed(tokens, parents, nodes)
    assert [tokens_of(mask) for mask in masks] == [allowed_after(path) for path in paths]
    assert [tokens_of(mask) for mask in matcher.allowed(tokens, parents, nodes[::-1].copy())] == [
        allowed_after(path) for path in paths[::-1]
    ]


def test_beyond_an_end_and_beyond_what_may_not_stand_anything_goes() -> None:
    matcher = grammars().matcher(constraint(), (EOS,))
    matcher.follow([1])
    tokens, parents = tree((EOS, -1), (1, -1), (3, 0), (3, 1), (1 << 20, -1))
    masks = matcher.allowed(tokens, parents, np.arange(-1, 5))
    assert tokens_of(masks[0]) == allowed_after((1,))
    assert all(tokens_of(mask) == set(range(8)) for mask in masks[1:])
    assert tokens_of(matcher.allowed(*NOTHING, ROOT)[0]) == allowed_after((1,))


def test_a_text_that_breaks_its_constraint_is_told_and_left_again() -> None:
    matcher = grammars().matcher(constraint(), (EOS,))
    for wrong, place in (([2, 2], 1), ([1, EOS, 1], 2), ([99], 0)):
        with pytest.raises(InvalidArgument, match=f"breaks its regex at generated token {place}"):
            matcher.follow(wrong)
        matcher.follow([2])
        assert tokens_of(matcher.allowed(*NOTHING, ROOT)[0]) == allowed_after((2,))


def test_matchers_of_one_constraint_do_not_disturb_each_other() -> None:
    kept = grammars()
    one, other = (kept.matcher(constraint(), (EOS,)) for _ in range(2))
    one.follow([2, 3])
    other.follow([1])
    assert tokens_of(one.allowed(*NOTHING, ROOT)[0]) == allowed_after((2, 3))
    assert tokens_of(other.allowed(*NOTHING, ROOT)[0]) == allowed_after((1,))


class Shipped:
    """The shipped tokenizer."""

    def __init__(self) -> None:
        definition = tokenizer_definition(shipped("target"))
        self.tokenizer, self.grammars = Tokenizer(definition), Grammars(definition, (EOS,))

    def accepts(self, wanted: Constraint, text: str) -> bool:
        """Whether each of the text's tokens is allowed in its place, and then its end."""
        matcher = self.grammars.matcher(wanted, (EOS,))
        ids = [*self.tokenizer.encode(text, add_special_tokens=False), EOS]
        for place, token in enumerate(ids):
            matcher.follow(ids[:place])
            if token not in tokens_of(matcher.allowed(*NOTHING, ROOT)[0]):
                return False
        return True


@pytest.fixture(scope="module")
def shipped_tokens() -> Shipped:
    return Shipped()


SCHEMA = Constraint("json_schema", json.dumps(PERSON))


@pytest.mark.parametrize(
    ("wanted", "text", "accepted"),
    [
        (SCHEMA, '{"name":"Ann","age":5}', True),
        (SCHEMA, '{"name": "Ann", "age": 5}', True),
        (SCHEMA, '{\n  "name": "Zoë 🚀",\n  "age": 50\n}', True),
        (SCHEMA, '{"name":"Ann","age":-5}', False),
        (SCHEMA, '{"name":"Ann"}', False),
        (SCHEMA, '{"name":"Ann","age":5,"x":1}', False),
        (SCHEMA, '{"name":"Ann and far too many","age":5}', False),
        (SCHEMA, '{"name":"Ann",     "age":5}', False),
        (Constraint("regex", "ab+|c"), "abb", True),
        (Constraint("regex", "ab+|c"), "cab", False),
        (Constraint("regex", "^ab$"), "ab", True),
        (Constraint("grammar", 'start: "SELECT " NAME\nNAME: /[a-z]+/'), "SELECT age", True),
        (Constraint("grammar", 'start: "SELECT " NAME\nNAME: /[a-z]+/'), "SELECT 5", False),
        (Constraint("grammar", 'start: "(" start ")" | "x"'), "(((x)))", True),
        (Constraint("grammar", 'start: "(" start ")" | "x"'), "(((x))", False),
    ],
)
def test_texts_are_accepted_by_the_tokens_of_a_real_tokenizer(
    shipped_tokens: Shipped, wanted: Constraint, text: str, accepted: bool
) -> None:
    assert shipped_tokens.accepts(wanted, text) is accepted


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Constraint("json_schema", "[1"), "EOF"),
        (Constraint("json_schema", "[1]"), "object"),
        (Constraint("json_schema", '{"type": "strin"}'), "Invalid type"),
        (Constraint("json_schema", '{"uniqueItems": true, "type": "array"}'), "uniqueItems"),
        (Constraint("json_schema", '{"not": {}}'), "not"),
        (Constraint("json_schema", '{"type": "string", "format": "zzz"}'), "zzz"),
        (Constraint("json_schema", '{"enum": []}'), "empty"),
        (Constraint("json_schema", '{"type": "integer", "minimum": 5, "maximum": 3}'), "minimum"),
        (Constraint("json_schema", '{"$ref": "http://example.com/schema"}'), "does not fetch"),
        (Constraint("grammar", "start: nobody"), "nobody"),
        (Constraint("grammar", "rule: x"), ""),
        (Constraint("regex", "(a"), "unclosed"),
        (Constraint("regex", "(?=a)b"), "look-ahead"),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_reason_before_and_by_the_models(
    shipped_tokens: Shipped, wanted: Constraint, named: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"the {wanted.kind} cannot be served: ") as early:
        check_constraint(wanted)
    assert named in str(early.value)
    assert early.value.field == wanted.kind
    with pytest.raises(InvalidArgument, match=f"the {wanted.kind} cannot be served: "):
        shipped_tokens.grammars.matcher(wanted, (EOS,))


def test_an_expression_that_takes_too_long_to_follow_fails_its_text_by_name(shipped_tokens: Shipped) -> None:
    matcher = shipped_tokens.grammars.matcher(Constraint("regex", "a{1000}{1000}"), (EOS,))
    letters = shipped_tokens.tokenizer.encode("a", add_special_tokens=False)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="the regex cannot be served: lexer error: too many"):
            matcher.follow(letters)


@pytest.mark.parametrize("source", ["", "x" * (MAX_CONSTRAINT_CHARACTERS + 1)])
def test_a_constraint_is_neither_empty_nor_too_long(source: str) -> None:
    with pytest.raises(InvalidArgument, match="characters; expected 1 to 65536"):
        Constraint("grammar", source)


def test_a_constrained_text_must_be_able_to_end() -> None:
    sampling = Sampling(constraint=SCHEMA)
    with pytest.raises(InvalidArgument, match="ignore_eos"):
        Decoding(sampling, Speculation(), 10, (EOS,), ignore_eos=True)
    with pytest.raises(InvalidArgument, match="no end token"):
        Decoding(sampling, Speculation(), 10)


def test_a_tokenizer_that_llguidance_cannot_read_costs_the_constraints_only(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "WordLevel", "vocab": {}}}')
    assert Grammars.of_model(tmp_path, (EOS,)) is None
