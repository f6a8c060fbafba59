"""From what a caller asks for to what decides the text: defaults filled in, every bound checked before work begins."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tandem.decoding.constraint import KINDS, Constraint
from tandem.decoding.methods import Method, method
from tandem.decoding.values import MAX_TOKENS, Decoding, Sampling, Speculation, check_top_entries
from tandem.errors import InvalidArgument
from tandem.generation import Options

_Value = TypeVar("_Value")

_DEFAULT_MAX_TOKENS = 256
MAX_STOPS, MAX_STOP_CHARACTERS = 16, 256


@dataclass(frozen=True, slots=True)
class Limits:
    """What the models of a deployment can take."""

    vocab_size: int
    """Ids at or above it mean nothing: the least of tokenizer, draft and target."""
    max_positions: int
    """The longest text of target and draft, in tokens."""
    eos_token_ids: tuple[int, ...]


def checked_prompt(token_ids: Sequence[int], limits: Limits) -> tuple[int, ...]:
    """The prompt, once it can be served.

    Raises:
        InvalidArgument: it is empty, or an id is out of range.
    """
    if not token_ids:
        raise InvalidArgument("the prompt is empty; expected at least one token", "prompt")
    if len(token_ids) > MAX_TOKENS:
        raise InvalidArgument(f"the prompt has {len(token_ids)} tokens; at most {MAX_TOKENS} are accepted", "prompt")
    for index, token in enumerate(token_ids):
        if not 0 <= token < limits.vocab_size:
            raise InvalidArgument(
                f"prompt token {index} is {token}; expected an id from 0 to {limits.vocab_size - 1}", "prompt"
            )
    return tuple(token_ids)


def check_scorable(num_tokens: int, num_top_log_probs: int, limits: Limits) -> None:
    """Checks that a text of that length can be scored.

    Raises:
        InvalidArgument: it is longer than the target holds, or too much is asked of it.
    """
    if num_tokens > limits.max_positions:
        raise InvalidArgument(
            f"the text has {num_tokens} tokens; the target takes at most {limits.max_positions}", "prompt"
        )
    check_top_entries(num_tokens, num_top_log_probs)


def decoding_for(options: Options, num_prompt_tokens: int, limits: Limits, defaults: Speculation) -> Decoding:
    """Everything that decides a text. A seed is drawn where none is given.

    Raises:
        InvalidArgument: an option cannot be served, by name, or the text would not fit the models.
    """
    chosen = method(_given(options.get("method"), "") or defaults.method)
    speculation = Speculation(
        chosen.name,
        _given(options.get("draft_length"), defaults.draft_length),
        _given(options.get("beam_width"), defaults.beam_width),
        _given(options.get("threshold"), default_threshold(chosen, defaults)),
    )
    standard = Sampling()
    seed = options.get("seed")
    sampling = Sampling(
        _given(options.get("temperature"), standard.temperature),
        _given(options.get("top_k"), standard.top_k),
        _given(options.get("top_p"), standard.top_p),
        _given(options.get("min_p"), standard.min_p),
        secrets.randbits(63) if seed is None else seed,
        _given(options.get("presence_penalty"), standard.presence_penalty),
        _given(options.get("frequency_penalty"), standard.frequency_penalty),
        _checked_bias(options.get("logit_bias") or {}, limits),
        constraint_of(options),
    )
    max_tokens = _max_tokens(options.get("max_tokens"), num_prompt_tokens, speculation, limits)
    num_top = options.get("num_top_log_probs") or 0
    check_top_entries(max_tokens, num_top)
    return Decoding(
        sampling,
        speculation,
        num_prompt_tokens + max_tokens,
        limits.eos_token_ids,
        bool(options.get("ignore_eos")),
        bool(options.get("trace")),
        num_prompt_tokens,
        num_top,
        _salt(options.get("cache_salt")),
    )


def _salt(given: str | bytes | None) -> bytes:
    return given.encode() if isinstance(given, str) else given or b""


def _checked_bias(logit_bias: Mapping[int, float], limits: Limits) -> tuple[tuple[int, float], ...]:
    for token in logit_bias:
        if not 0 <= token < limits.vocab_size:
            raise InvalidArgument(
                f"logit_bias names token {token}; expected an id from 0 to {limits.vocab_size - 1}", "logit_bias"
            )
    return tuple(logit_bias.items())


def constraint_of(options: Options) -> Constraint | None:
    """What the text must match; whether that makes sense is for :func:`tandem.matching.check_constraint` to say.

    Raises:
        InvalidArgument: there is more than one, or one is too long.
    """
    given = [kind for kind in KINDS if options.get(kind) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise InvalidArgument(f"{' and '.join(given)} were given; a text is held to one of them", given[1])
    source = options[given[0]]
    return Constraint(given[0], source if isinstance(source, str) else json.dumps(source))


def _given(value: _Value | None, default: _Value) -> _Value:
    return default if value is None else value


def default_threshold(chosen: Method, defaults: Speculation) -> float:
    """The threshold of a request that gives none.

    A server's is meant for its default method, and holds for those that have the same standard: what is strict for one
    rule is lax for another.
    """
    shared = chosen.default_threshold == method(defaults.method).default_threshold
    return defaults.threshold if shared else chosen.default_threshold


def checked_stop(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The stop strings.

    Raises:
        InvalidArgument: there are too many, or one is empty or too long.
    """
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(strings) > MAX_STOPS:
        raise InvalidArgument(f"{len(strings)} stop strings were given; at most {MAX_STOPS} are accepted", "stop")
    for string in strings:
        if not 1 <= len(string) <= MAX_STOP_CHARACTERS:
            raise InvalidArgument(
                f"a stop string has {len(string)} characters; expected 1 to {MAX_STOP_CHARACTERS}", "stop"
            )
    return strings


def _max_tokens(asked: int | None, num_prompt_tokens: int, speculation: Speculation, limits: Limits) -> int:
    # No proposal may overhang the longest text, or the draft length would have to shrink near its end.
    room = limits.max_positions - num_prompt_tokens - speculation.draft_length
    if room < 1:
        raise InvalidArgument(
            f"the prompt has {num_prompt_tokens} tokens; with a draft length of {speculation.draft_length} the models "
            f"take at most {limits.max_positions - speculation.draft_length - 1}",
            "prompt",
        )
    if asked is None:
        return min(_DEFAULT_MAX_TOKENS, room)
    if not 1 <= asked <= room:
        raise InvalidArgument(
            f"max_tokens is {asked}; expected 1 to {room}, which is what the models can still hold after a prompt of "
            f"{num_prompt_tokens} tokens",
            "max_tokens",
        )
    return asked
