"""A model's own chat template: conversations written down as the model was taught to read them, without torch.

A template is a program in Jinja that comes with the tokenizer. It runs as transformers runs it: sandboxed, with the
same switches, filters and globals. It comes from the model alone, never from a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tandem.errors import InvalidArgument, ModelRefused
from tandem.model_files import find_model_file

_SPECIAL_TOKENS = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


class ChatTemplate:
    """A compiled template. Safe to share between threads."""

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """Compiles ``source``; ``special_tokens`` are variables of it, such as ``bos_token``.

        Raises:
            ModelRefused: the source is not a template.
        """
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise ModelRefused(f"the model's chat template is not valid Jinja: {error}") from None
        self._special_tokens = dict(special_tokens or {})

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str | Path) -> ChatTemplate | None:
        """The template of a model, from ``chat_template.jinja`` or ``tokenizer_config.json``; None where it has none.

        Raises:
            ModelRefused: the files cannot be read, or the template does not compile.
        """
        try:
            config = json.loads(_read(folder_or_hub_id, "tokenizer_config.json") or "{}")
            source = _read(folder_or_hub_id, "chat_template.jinja") or _default(config.get("chat_template"))
            special_tokens = {name: _text(config[name]) for name in _SPECIAL_TOKENS if config.get(name)}
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ModelRefused(f"tokenizer_config.json of {folder_or_hub_id} cannot be read: {error}") from None
        return cls(source, special_tokens) if source else None

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as a prompt, up to where the assistant's next words begin. Its special tokens are in it.

        Raises:
            InvalidArgument: the template refuses the conversation, and says why.
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except Exception as error:  # a template is a program, and may fail in any way
            raise InvalidArgument(f"the model's chat template refuses these messages: {error}") from None


def _read(folder_or_hub_id: str | Path, file: str) -> str:
    path = find_model_file(folder_or_hub_id, file)
    return "" if path is None else path.read_text(encoding="utf-8")


def _default(found: str | list[dict[str, str]] | None) -> str:
    """Of several named templates, the one named default."""
    if isinstance(found, list):
        return next((one["template"] for one in found if one["name"] == "default"), "")
    return found or ""


def _text(token: str | dict[str, Any]) -> str:
    return str(token["content"]) if isinstance(token, dict) else token


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks the assistant's words for training; here it only stands around them."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Variables(Namespace):
    """Jinja's ``namespace``, without names by which a template could reach Python's own attributes."""

    def __init__(self, /, *given: Any, **named: Any) -> None:
        variables = dict(*given, **named)
        for name in variables:
            _check_name(name)
        super().__init__(variables)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a template may not set {name!r}")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _Variables
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Jinja's own filter escapes HTML, which no model was taught."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
