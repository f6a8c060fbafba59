"""Which tokens may come next in a text that must match a constraint; llguidance reads the constraint.

A constraint holds for the generated part of a text. Where it is fulfilled an end token may follow, and where nothing
else may, only an end token.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from tandem.decoding.constraint import Constraint
from tandem.decoding.values import Ids
from tandem.errors import InvalidArgument
from tandem.telemetry import logger
from tandem.tokenization import tokenizer_definition

Bitmask = npt.NDArray[np.uint8]
"""[places, bytes]: bit i of a row, lowest bits first, says whether token i may come there."""

_WHITESPACE = r"( |\n[ ]{0,32})?"
"""Between the parts of JSON: compact, spaced and indented alike, but never whitespace without end."""

_LIMITS = LLParserLimits(initial_lexer_fuel=100_000, verbose_errors=False)
"""About 20 ms of compiling; no text of a request in messages."""

_MAX_COMPILED, _MAX_TOKENIZERS = 64, 4


def check_constraint(constraint: Constraint) -> None:
    """Whether a constraint can be served, as far as can be told without a model. Takes milliseconds.

    Raises:
        InvalidArgument: it makes no sense, cannot be fulfilled, or asks for what is not supported, by name.
    """
    failed, messages = LLMatcher.validate_grammar_with_warnings(_grammar(constraint), limits=_LIMITS)
    if failed:
        raise _refusal(constraint, messages[0])


class Grammars:
    """Compiles constraints for one model's tokens, and keeps those of late. Belongs to one thread."""

    def __init__(self, definition: str, eos_token_ids: tuple[int, ...]) -> None:
        """Reads the text of a ``tokenizer.json``; the end tokens are those of most texts to come."""
        self._definition = definition
        self._tokenizer = lru_cache(_MAX_TOKENIZERS)(self._read)
        self._compiled = lru_cache(_MAX_COMPILED)(self._compile)
        self._tokenizer(eos_token_ids)  # takes a second where the vocabulary is large: now, not when it is asked for

    @classmethod
    def of_model(cls, folder_or_hub_id: str | Path, eos_token_ids: tuple[int, ...]) -> Grammars | None:
        """For a model's tokenizer; None where it is of a kind that llguidance cannot read, which the log tells.

        Raises:
            ModelRefused: the model has no readable ``tokenizer.json``.
        """
        try:
            return cls(tokenizer_definition(folder_or_hub_id), eos_token_ids)
        except ValueError as error:
            reason = f"its tokenizer cannot be read by llguidance: {error}"
            logger("tandem.matching").warning("structured output is not served", reason=reason[:500])
            return None

    def matcher(self, constraint: Constraint, eos_token_ids: tuple[int, ...]) -> Matcher:
        """A matcher at the beginning of a text that ends with one of ``eos_token_ids``.

        Raises:
            InvalidArgument: the constraint cannot be served.
        """
        compiled = self._compiled(constraint, eos_token_ids)
        return Matcher(compiled.deep_copy(), constraint, eos_token_ids, self._tokenizer(eos_token_ids).vocab_size)

    def _read(self, eos_token_ids: tuple[int, ...]) -> LLTokenizer:
        return LLTokenizer(self._definition, eos_token=list(eos_token_ids) or None)

    def _compile(self, constraint: Constraint, eos_token_ids: tuple[int, ...]) -> LLMatcher:
        compiled = LLMatcher(self._tokenizer(eos_token_ids), _grammar(constraint), log_level=0, limits=_LIMITS)
        if compiled.is_error():
            raise _refusal(constraint, compiled.get_error())
        _mask(compiled, eos_token_ids, constraint)  # the lexer is built with the first mask, and may prove too large
        return compiled


class Matcher:
    """Follows one text under its constraint, and looks ahead along trees of candidates. Belongs to one thread."""

    def __init__(
        self, matcher: LLMatcher, constraint: Constraint, eos_token_ids: tuple[int, ...], vocab_size: int
    ) -> None:
        self._matcher = matcher
        self._constraint = constraint
        self._eos_token_ids = eos_token_ids
        self._vocab_size = vocab_size
        self._followed: list[int] = []

    def follow(self, token_ids: list[int]) -> None:
        """Moves to the text whose generated tokens are ``token_ids``, by way of what it shares with the last one.

        Raises:
            InvalidArgument: the text breaks the constraint, or that turned out too complex to be followed.
        """
        known = self._followed
        if token_ids[: len(known)] != known:
            shared = _num_shared(known, token_ids)
            self._matcher.rollback(len(known) - shared)
            del known[shared:]
        fresh = token_ids[len(known) :]
        num_taken = self._take(fresh)
        known += fresh[:num_taken]
        if num_taken < len(fresh):
            raise InvalidArgument(
                f"the text breaks its {self._constraint.kind} at generated token {len(known)}", self._constraint.kind
            )

    def allowed(self, tree_tokens: Ids, tree_parents: Ids, nodes: Ids) -> Bitmask:
        """What may come after some nodes of a token tree on the text followed.

        Beyond an end token, and beyond a token that may not stand where it stands, anything may: nothing there is ever
        kept, and a distribution must be one.

        Args:
            tree_tokens: [tree], the tokens of the tree's nodes
            tree_parents: [tree], -1 is the end of the text
            nodes: [places], -1 is the end of the text

        Raises:
            InvalidArgument: the constraint turned out too complex to be followed.
        """
        tokens, parents = tree_tokens.tolist(), tree_parents.tolist()
        masks = np.full((len(nodes), -(-self._vocab_size // 8)), 255, np.uint8)
        path: list[int] = []
        for place, node in enumerate(nodes.tolist()):
            wanted: list[int] = []
            while node >= 0:
                wanted.append(node)
                node = parents[node]
            wanted.reverse()
            shared = _num_shared(path, wanted)
            self._matcher.rollback(len(path) - shared)
            del path[shared:]
            ahead = wanted[shared:]
            num_taken = self._take([tokens[at] for at in ahead])
            path += ahead[:num_taken]
            if num_taken == len(ahead) and not (path and self._matcher.stop_reason() == "EndOfSentence"):
                masks[place] = _mask(self._matcher, self._eos_token_ids, self._constraint)[: masks.shape[1]]
        self._matcher.rollback(len(path))
        return masks

    def _take(self, token_ids: list[int]) -> int:
        """Goes on along tokens as far as they may stand there; returns how many."""
        known = next((i for i, token in enumerate(token_ids) if token >= self._vocab_size), len(token_ids))
        num_taken = self._matcher.try_consume_tokens(token_ids[:known]) if known else 0
        if self._matcher.is_error():
            raise _refusal(self._constraint, self._matcher.get_error())
        return num_taken


def _num_shared(one: list[int], other: list[int]) -> int:
    """How many leading items two lists have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _mask(matcher: LLMatcher, eos_token_ids: tuple[int, ...], constraint: Constraint) -> Bitmask:
    """What may come next, [bytes].

    A matcher that has reached its limits allows an end token and says nothing of it: were that taken, the text would
    end before it matches.

    Raises:
        InvalidArgument: the limits are reached.
    """
    mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    may_end = any(mask[token >> 3] >> (token & 7) & 1 for token in eos_token_ids if token >> 3 < len(mask))
    if may_end and not matcher.is_accepting():
        raise _refusal(constraint, matcher.get_error() or "it is too complex")
    return mask


def _grammar(constraint: Constraint) -> str:
    if constraint.kind == "grammar":
        return LLMatcher.grammar_from_lark(constraint.source)
    if constraint.kind == "regex":
        return LLMatcher.grammar_from_regex(constraint.source)
    try:
        return LLMatcher.grammar_from_json_schema(constraint.source, defaults={"whitespace_pattern": _WHITESPACE})
    except ValueError as error:
        raise _refusal(constraint, str(error)) from None


def _refusal(constraint: Constraint, why: str) -> InvalidArgument:
    return InvalidArgument(f"the {constraint.kind} cannot be served: {why.strip()[:500]}", constraint.kind)
