"""Models brought into a folder: whole or not at all, once, and nothing in them that could run."""

from __future__ import annotations

import errno
import fcntl
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from tandem.errors import InvalidArgument, ModelRefused, Unavailable

WANTED: Final = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "chat_template*",
    "LICENSE*",
)
"""What models consist of here. Neither pickles nor code are among it."""

UNWANTED: Final = ("*/*", "consolidated*", "*.py")
"""Folders hold other formats, and consolidated files the same weights once more."""

COMPLETE: Final = ".complete"
"""A file in the folder that says which model is there, and that all of it is."""

_OF_THE_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def fetch(model: str, into: Path, revision: str | None, say: Callable[[str], None]) -> bool:
    """Brings a model into a folder; False where it is there already.

    What was interrupted goes on where it was. Of several processes that fetch into one folder, one does.

    Args:
        model: a folder, or a Hugging Face id; the hub is asked with the token in ``HF_TOKEN``, if there is one.
        into: the folder; it comes to be when all of the model is there.
        revision: branch, tag or commit of the hub's repository; None is its main branch.
        say: is told what happens.

    Raises:
        InvalidArgument: the folder holds another model, or something else, or cannot be written.
        ModelRefused: there is no such model, it may not be had, or it has no safetensors.
        Unavailable: the hub does not answer, or broke off.
    """
    into = into.expanduser().absolute()
    wanted = {"model": model, "revision": revision}
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with _alone(into):
            if _is_there(into, wanted):
                return False
            partial = into.with_name(f".{into.name}.partial")
            commit = _bring(model, partial, revision, say)
            _check(model, partial)
            shutil.rmtree(partial / ".cache", ignore_errors=True)
            (partial / COMPLETE).write_text(json.dumps(wanted | {"commit": commit}) + "\n")
            partial.replace(into)
    except OSError as error:
        raise InvalidArgument(f"{into} cannot be written: {error.strerror or error}") from None
    return True


@contextmanager
def _alone(into: Path) -> Iterator[None]:
    """Waits for whoever else fetches into that folder."""
    with into.with_name(f".{into.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_there(into: Path, wanted: dict[str, str | None]) -> bool:
    if not into.exists() or not any(into.iterdir()):
        return False
    try:
        found = json.loads((into / COMPLETE).read_text())
    except (OSError, ValueError):
        raise InvalidArgument(f"{into} holds something else; name a folder that is empty, or not there yet") from None
    if {name: found.get(name) for name in wanted} != wanted:
        raise InvalidArgument(
            f"{into} holds {found.get('model')} ({found.get('revision') or 'main'}); name another folder"
        )
    return True


def _bring(model: str, partial: Path, revision: str | None, say: Callable[[str], None]) -> str:
    """Fetches or copies; returns the commit that came, empty for a folder's."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        _copy(folder, partial, say)
        return ""
    if not _HUB_ID.fullmatch(model):
        raise ModelRefused(f"{model} is neither a folder nor a Hugging Face model id")
    return _download(model, partial, revision, say)


def _copy(folder: Path, partial: Path, say: Callable[[str], None]) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_wanted(path.name)]
    for number, path in enumerate(files, 1):
        say(f"{number} of {len(files)}: {path.name}, {path.stat().st_size / 1e6:,.1f} MB")
        shutil.copyfile(path, partial / path.name)


def _is_wanted(name: str) -> bool:
    return any(fnmatch(name, one) for one in WANTED) and not any(fnmatch(name, one) for one in UNWANTED)


def _download(model: str, partial: Path, revision: str | None, say: Callable[[str], None]) -> str:
    import huggingface_hub  # it takes a moment to import
    from huggingface_hub import errors

    def told(error: Exception, why: str) -> ModelRefused:
        return ModelRefused(f"{model} cannot be fetched: {why} ({type(error).__name__})")

    try:
        commit: Any = huggingface_hub.HfApi().model_info(model, revision=revision).sha
        say(f"{model} at {commit}")
        huggingface_hub.snapshot_download(
            model, revision=commit, local_dir=partial, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
        )
    except errors.GatedRepoError as error:
        raise told(error, "accept its licence on its page, and put a token of yours into HF_TOKEN") from None
    except errors.RevisionNotFoundError as error:
        raise told(error, f"it has no revision {revision or 'main'}") from None
    except errors.RepositoryNotFoundError as error:
        raise told(error, "the hub knows no such model, or not for the token in HF_TOKEN") from None
    except Exception as error:  # every other failure of a download means the same to the caller
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise Unavailable(f"the hub did not give {model}: {error} ({type(error).__name__})") from None
    return str(commit or "")


def _check(model: str, partial: Path) -> None:
    names = {path.name for path in partial.iterdir()}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        shutil.rmtree(partial)
        raise ModelRefused(f"{model} has no config.json or no *.safetensors; other formats are not served")
