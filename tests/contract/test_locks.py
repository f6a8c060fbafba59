"""What the images are made of is what the package asks for, to the file."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"orchestrator": ["jwt", "kubernetes"], "engine-cpu": ["engine"], "engine-cuda": ["engine"]}
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(.*?)(?=^[a-z0-9]|\Z)", re.MULTILINE | re.DOTALL)


def locked(name: str) -> dict[str, tuple[Version, int]]:
    """Each package's version and its number of hashes."""
    text = re.sub(r"^\s*#.*$", "", (ROOT / "docker" / "locks" / f"{name}.txt").read_text(), flags=re.MULTILINE)
    return {
        canonicalize_name(found[1]): (Version(found[2]), found[3].count("--hash=sha256:"))
        for found in PIN.finditer(text)
    }


@pytest.mark.parametrize("name", EXTRAS)
def test_each_image_has_what_the_package_asks_for(name: str) -> None:
    asked = [
        *PROJECT["dependencies"],
        *(one for extra in EXTRAS[name] for one in PROJECT["optional-dependencies"][extra]),
    ]
    pins = locked(name)
    for requirement in map(Requirement, asked):
        version, _ = pins[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} is locked as {version}: make locks"


@pytest.mark.parametrize("name", [*EXTRAS, "build"])
def test_each_package_is_locked_by_its_files(name: str) -> None:
    pins = locked(name)
    assert pins
    assert not [package for package, (_, hashes) in pins.items() if not hashes]


def test_the_orchestrator_has_no_torch_and_the_engines_differ_in_cuda_alone() -> None:
    orchestrator, cpu, cuda = (locked(name) for name in EXTRAS)
    assert not {"torch", "transformers", "safetensors"} & set(orchestrator)
    assert cpu["torch"][0].local == "cpu"
    assert cuda["torch"][0].local is None
    assert set(cpu) < set(cuda)
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in set(cuda) - set(cpu))
    assert {name: pin for name, pin in cpu.items() if name != "torch"} == {
        name: pin for name, pin in cuda.items() if name in cpu and name != "torch"
    }
