"""Text to token ids and back, without torch: a model's ``tokenizer.json`` and nothing else of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers

from tandem.errors import ModelRefused
from tandem.model_files import find_model_file

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer:
    """A model's tokenizer. Safe to share between threads."""

    def __init__(self, definition: str) -> None:
        """Reads the text of a ``tokenizer.json``.

        Raises:
            ModelRefused: the text does not define a tokenizer.
        """
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises bare Exceptions
            raise ModelRefused(f"tokenizer.json does not define a tokenizer: {error}") from error
        # A definition may ask for padding or truncation, as in training; a prompt must come through whole.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._digest = _digest(definition)
        self._vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str | Path) -> Tokenizer:
        """Loads the tokenizer of a model folder, or of a model of the Hugging Face hub.

        Raises:
            ModelRefused: there is no readable ``tokenizer.json``.
        """
        return cls(tokenizer_definition(folder_or_hub_id))

    @property
    def vocab_size(self) -> int:
        """One more than the highest token id, added tokens included."""
        return self._vocab_size

    @property
    def digest(self) -> str:
        """What the tokenizer does, as hexadecimal SHA-256; see ``tokenizer_digest``."""
        return self._digest

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``, with the special tokens that the tokenizer adds by itself unless told not to."""
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ``token_ids``, special tokens left out."""
        return self._tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def entry(self, token_id: int) -> str:
        """The vocabulary's own name of a token, special or not; empty for an id that it does not have."""
        return self._tokenizer.id_to_token(token_id) or ""

    def stream(self, context: Sequence[int] = ()) -> TextStream:
        """A decoder of text that arrives token by token after ``context``, whose own text is not returned."""
        return TextStream(self, context)


class TextStream:
    """Decodes a growing text. What ``push`` returns adds up to the whole text, and never splits a character.

    How much has been returned depends on the tokens alone, not on how they were divided among calls: a stream that is
    begun anew and given the same tokens stands at the same character.
    """

    # The first _num_shown characters of the text of _ids were returned already. Tokens before _ids are forgotten; those
    # that remain are decoded again as context, because a decoder may treat the first token specially (a leading space).
    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(context[-_CONTEXT_TOKENS:])
        self._num_shown = len(self._complete(tokenizer.decode(self._ids)))

    def push(self, token_ids: Sequence[int]) -> str:
        """Appends tokens and returns the text they completed; may be empty while a character is incomplete."""
        self._ids.extend(token_ids)
        text = self._tokenizer.decode(self._ids)
        complete = self._complete(text)
        fresh = complete[self._num_shown :]
        self._num_shown = max(self._num_shown, len(complete))
        if len(complete) == len(text):
            self._forget()
        return fresh

    def peek(self, token_id: int) -> str:
        """What ``push`` of one more token would return; nothing is appended."""
        return self._complete(self._tokenizer.decode([*self._ids, token_id]))[self._num_shown :]

    def flush(self) -> str:
        """Ends the text: returns what was held back, incomplete characters as U+FFFD."""
        text = self._tokenizer.decode(self._ids)
        fresh = text[self._num_shown :]
        self._num_shown = len(text)
        return fresh

    @staticmethod
    def _complete(text: str) -> str:
        # What an incomplete character decodes to is U+FFFD at the end.
        return text.rstrip(_REPLACEMENT)

    def _forget(self) -> None:
        # Only where what is kept begins and ends between characters, and has text: the next token is never the first.
        kept = self._ids[-_CONTEXT_TOKENS:]
        text = self._tokenizer.decode(kept)
        if text and len(self._ids) > 2 * _CONTEXT_TOKENS and _REPLACEMENT not in text:
            self._ids, self._num_shown = kept, len(text)


_CONTEXT_TOKENS = 8


def tokenizer_digest(folder_or_hub_id: str | Path) -> str:
    """Hexadecimal SHA-256 of what a tokenizer does: models whose digests differ must not be paired.

    It covers vocabulary, merges, normaliser, pre-tokenizer and added tokens in a canonical form, so that files which
    differ only in layout agree.

    Raises:
        ModelRefused: there is no readable ``tokenizer.json``.
    """
    definition = tokenizer_definition(folder_or_hub_id)
    try:
        return _digest(definition)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelRefused(f"tokenizer.json of {folder_or_hub_id} does not define a tokenizer: {error}") from error


def tokenizer_definition(folder_or_hub_id: str | Path) -> str:
    """The text of a model's ``tokenizer.json``.

    Raises:
        ModelRefused: there is no readable one.
    """
    return _definition_path(folder_or_hub_id).read_text(encoding="utf-8")


def _digest(definition: str) -> str:
    content: dict[str, Any] = json.loads(definition)
    model = content.get("model") or {}
    # Merges are written as "a b" by older releases and as ["a", "b"] by newer ones.
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model.get("merges") or []]
    added = [
        {"id": token.get("id"), "content": token.get("content"), "special": bool(token.get("special"))}
        for token in content.get("added_tokens") or []
    ]
    canonical = {
        "type": model.get("type"),
        "vocab": model.get("vocab"),
        "merges": merges,
        "normalizer": content.get("normalizer"),
        "pre_tokenizer": content.get("pre_tokenizer"),
        "added_tokens": sorted(added, key=lambda token: (str(token["id"]), str(token["content"]))),
    }
    text = json.dumps(canonical, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _definition_path(folder_or_hub_id: str | Path) -> Path:
    path = find_model_file(folder_or_hub_id, "tokenizer.json")
    if path is not None:
        return path
    if Path(folder_or_hub_id).expanduser().is_dir():
        raise ModelRefused(
            f"{folder_or_hub_id} has no tokenizer.json. Save the model's fast tokenizer there with its "
            "save_pretrained()"
        )
    raise ModelRefused(
        f"no tokenizer.json for {folder_or_hub_id}: it is not a folder, and the Hugging Face hub did not give the file"
    )
