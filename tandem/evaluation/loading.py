"""Finding what a user names: a class or a function, in a file or in an installed module."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tandem.errors import InvalidArgument


def module_from_file(path: Path) -> ModuleType:
    """Runs a Python file as a module.

    Raises:
        InvalidArgument: there is no such file, or it fails.
    """
    if not path.is_file():
        raise InvalidArgument(f"there is no file {path}; expected a Python file")
    name = f"tandem_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InvalidArgument(f"{path} fails when it is loaded: {type(error).__name__}: {error}") from error
    return module


def attribute(place: str) -> Any:
    """What ``package.module:name`` names.

    Raises:
        InvalidArgument: there is no such module, it fails, or it has no such name.
    """
    module_name, _, name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            f"no module for {place!r}: {error}; expected package.module:name, of a package that is installed or in a "
            "folder of PYTHONPATH"
        ) from error
    except Exception as error:
        raise InvalidArgument(
            f"the module {module_name!r} fails when it is loaded: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, name):
        raise InvalidArgument(f"the module {module_name!r} has no {name!r}")
    return getattr(module, name)


def check_callable_with(called: Any, name: str, *arguments: object) -> None:
    """Refuses arguments that do not fit, before the call.

    Raises:
        InvalidArgument: they do not fit.
    """
    try:
        signature = inspect.signature(called)
        signature.bind(*arguments)
    except (TypeError, ValueError) as error:
        given = f"{len(arguments)} arguments" if len(arguments) != 1 else "one argument"
        raise InvalidArgument(f"{name} cannot be called with {given}: {error}") from error
