"""What a person can say to the chat itself: inputs that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tandem.cli.chatting.conversation import Conversation
from tandem.decoding.methods import METHODS
from tandem.decoding.values import MAX_TOKENS, Speculation
from tandem.errors import InvalidArgument
from tandem.generation import Options
from tandem.requests import Limits, checked_stop, decoding_for

_ANYTHING = Limits(vocab_size=1 << 32, max_positions=2 * MAX_TOKENS, eos_token_ids=())
DEFAULT = "default"
UNSETTABLE = frozenset({"trace"})
"""Options that are the chat's own business."""


@dataclass
class State:
    """What commands change."""

    conversation: Conversation
    options: dict[str, Any]
    """Of `Options`, those that are not the server's default."""
    shows_rounds: bool = False
    leaving: bool = False
    to_ask: list[str] = field(default_factory=list)
    """Inputs that a command asks on its caller's behalf."""


@dataclass(frozen=True, slots=True)
class Command:
    """One of them."""

    takes: str
    """Its arguments, as help shows them."""
    does: str
    run: Callable[[State, str], str]
    """Changes the state; what it returns is shown."""


def run_command(line: str, state: State) -> str:
    """Does what ``/name argument`` says and returns what to show.

    Raises:
        InvalidArgument: there is no such command, or it cannot be done.
    """
    name, _, argument = line.removeprefix("/").partition(" ")
    if name not in COMMANDS:
        raise InvalidArgument(f"there is no command /{name}; /help lists them, and //… sends a text that begins with /")
    return COMMANDS[name].run(state, argument.strip())


def _help(_: State, argument: str) -> str:
    rows = [(f"/{name} {command.takes}".rstrip(), command.does) for name, command in COMMANDS.items()]
    width = max(len(usage) for usage, _ in rows)
    keys = "Enter sends; Alt-Enter, or \\ at its end, begins another line; Ctrl-C stops an answer; Ctrl-D leaves."
    return "\n".join([*(f"{usage:<{width}}  {does}" for usage, does in rows), keys])


def _set(state: State, argument: str) -> str:
    if not argument:
        return " ".join(f"{name}={value}" for name, value in state.options.items()) or "everything is as served"
    name, _, value = argument.partition(" ")
    kinds = {name: kind for name, kind in get_type_hints(Options).items() if name not in UNSETTABLE}
    if name not in kinds:
        raise InvalidArgument(f"there is no setting {name}; there are {', '.join(sorted(kinds))}")
    if not value:
        raise InvalidArgument(f"/set {name} needs a value, or the word {DEFAULT}")
    changed = {key: kept for key, kept in state.options.items() if key != name}
    if value != DEFAULT:
        try:
            changed[name] = TypeAdapter(kinds[name]).validate_python(value)
        except ValidationError as error:
            raise InvalidArgument(f"{name}: {error.errors()[0]['msg']}") from None
        options = cast(Options, changed)
        checked_stop(options.get("stop"))
        decoding_for(options, 1, _ANYTHING, Speculation())
    state.options = changed
    return f"{name} is {changed.get(name, 'as served')}"


def _method(state: State, argument: str) -> str:
    if not argument:
        raise InvalidArgument(f"which one? There are {', '.join(METHODS)}")
    return _set(state, f"method {argument}")


def _trace(state: State, argument: str) -> str:
    state.shows_rounds = not state.shows_rounds
    return "rounds are shown after each answer" if state.shows_rounds else "rounds are no longer shown"


def _reset(state: State, argument: str) -> str:
    state.conversation.turns.clear()
    return "a new conversation begins"


def _retry(state: State, argument: str) -> str:
    state.to_ask.append(state.conversation.take_back())
    return ""


def _save(state: State, argument: str) -> str:
    if not argument:
        raise InvalidArgument("/save needs the name of a file")
    return f"{state.conversation.save(Path(argument))} messages are in {argument}"


def _quit(state: State, argument: str) -> str:
    state.leaving = True
    return ""


COMMANDS: dict[str, Command] = {
    "help": Command("", "this list", _help),
    "method": Command("NAME", "decode by another method", _method),
    "set": Command("NAME VALUE", f"change a setting, or back with the word {DEFAULT}; alone, show them", _set),
    "seed": Command("NUMBER", "the same question gets the same answer", lambda state, n: _set(state, f"seed {n}")),
    "trace": Command("", "show the rounds after each answer, or stop showing them", _trace),
    "reset": Command("", "begin a new conversation", _reset),
    "retry": Command("", "ask the last question again", _retry),
    "save": Command("FILE", "write the conversation to a new file, a JSON line a message", _save),
    "quit": Command("", "leave", _quit),
}
