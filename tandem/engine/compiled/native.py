"""What is written in C++ for compiled passes, built where it runs and kept for the next start."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch

from tandem.errors import InvalidArgument

SOURCES = tuple(Path(__file__).with_name(name) for name in ("attention.cpp", "selection.cpp", "package.cpp"))
HEADERS = (Path(__file__).with_name("lanes.h"),)
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-std=c++20", "-shared", "-fPIC", "-Wno-psabi")


def cache_folder() -> Path:
    """Where what was compiled is kept: `tandem` in the user's cache folder, as the XDG convention has it."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tandem"


def key_of(parts: Iterable[str | bytes | memoryview]) -> str:
    """Names something compiled by all that it depends on, this torch and this kind of processor included."""
    digest = hashlib.sha256(f"{torch.__version__} {sorted(torch.cpu.get_capabilities().items())}".encode())
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:32]


def kept(name: str, build: Callable[[Path], None]) -> Path:
    """The file or folder of that name in the cache folder. If it is not there, one process builds it, others wait.

    Raises: InvalidArgument if the folder cannot be written to; whatever `build`, given a path, raises.
    """
    path = cache_folder() / name
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{name}.lock").open("w")
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix="building-")
    except OSError as error:
        raise InvalidArgument(
            f"what --compile makes is kept in {path.parent}, which cannot be written to: {error.strerror}; set "
            "XDG_CACHE_HOME to a folder that can, or serve without --compile"
        ) from error
    with lock, folder as own:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the system, however this process ends
        if not path.exists():
            build(Path(own) / name)
            os.replace(Path(own) / name, path)
    return path


@cache
def load_native() -> None:
    """Makes `torch.ops.tandem` and `torch.classes.tandem`. Takes half a minute where they have to be built.

    Raises: InvalidArgument where there is nothing to build them with.
    """
    key = key_of([*FLAGS, *(source.read_bytes() for source in (*SOURCES, *HEADERS))])
    path = kept(f"native-{key}.so", _build)
    torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _build(path: Path) -> None:
    # Imports setuptools, which only a start that builds has to wait for.
    from torch.utils.cpp_extension import include_paths, library_paths

    compiler = os.environ.get("CXX", "c++")
    command = [compiler, *FLAGS, "-x", "c++", "-", "-o", str(path), f"-I{SOURCES[0].parent}"]
    command += [f"-isystem{folder}" for folder in include_paths()]
    command += [f"-L{folder}" for folder in library_paths()]
    command += ["-lc10", "-ltorch_cpu", "-ltorch"]
    as_one = "".join(f'#include "{source.name}"\n' for source in SOURCES)  # torch's headers are most of the work
    try:
        subprocess.run(command, input=as_one, check=True, capture_output=True, text=True)
    except OSError as error:
        raise InvalidArgument(
            f"--compile needs a C++ compiler, and {compiler} cannot be run: {error.strerror}; install one (g++ 12 or "
            "later), name it by CXX, or serve without --compile"
        ) from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or error.stderr.splitlines()[-1:]
        raise InvalidArgument(
            f"--compile: {compiler} cannot build what it was given: {'; '.join(lines[:3])}; expected g++ 12 or later"
        ) from error
