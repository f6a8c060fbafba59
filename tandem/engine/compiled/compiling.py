"""A model's forward pass made into a package of machine code, by torch's ahead-of-time compiler."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import __version__ as transformers_version

from tandem.engine.compiled.native import kept, key_of
from tandem.engine.compiled.operator import ATTENTION_NAME, load_operator
from tandem.engine.families import attention_shape
from tandem.errors import InvalidArgument, ModelRefused
from tandem.telemetry import logger

FEWEST = 2
"""Tokens, and logits, of a compiled pass: of fewer the compiler would make code of its own."""

LIBRARY = "pass.so"
"""In a package's folder; beside it `pass.json` tells which operators it calls."""

MOST = 1 << 20
SOURCES = (Path(__file__), Path(__file__).with_name("operator.py"))
"""What a package depends on of ours: it calls what is written in C++, and holds none of it."""

OPTIONS = {
    "freezing": True,  # weights are laid out as the products want them
    "max_autotune": True,
    "max_autotune_gemm_backends": "CPP",  # products are loops of the generated code instead of calls of oneDNN
}


class Pass(nn.Module):
    """What is compiled: `tandem.engine.forward.run_pass` as tensors in, a tensor out."""

    def __init__(self, model: PreTrainedModel) -> None:
        """The model attends through the operator from now on."""
        super().__init__()
        model.set_attn_implementation(ATTENTION_NAME)
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        logits_at: torch.Tensor,
        pool: torch.Tensor,
        numbers: torch.Tensor,
    ) -> torch.Tensor:
        """The logits that `logits_at` asks for, `[logits, vocab]`; keys and values are written into the pool."""
        output = self.model(
            input_ids=input_ids,
            position_ids=position_ids,
            use_cache=False,
            logits_to_keep=logits_at,
            tandem_pool=pool,
            tandem_numbers=numbers,
        )
        logits: torch.Tensor = output.logits[0]
        return logits


def compiled_package(model: PreTrainedModel) -> Path:
    """The folder of a model's compiled pass: kept from an earlier start, or compiled, which takes a minute.

    Raises: InvalidArgument where it cannot be compiled for the model's device, or there is no compiler; ModelRefused
    for a model that the compiler cannot follow.
    """
    if model.device.type != "cpu":
        raise InvalidArgument(f"--compile is for CPUs, and the model is on {model.device}; serve without it")
    load_operator()
    name = f"pass-{_key(model)}"
    began = time.monotonic()
    path = kept(name, lambda path: _compile(model, path))
    logger("tandem.engine").info("compiled", seconds=round(time.monotonic() - began, 1), package=str(path))
    return path


def _key(model: PreTrainedModel) -> str:
    return key_of(_what_it_depends_on(model))


def _what_it_depends_on(model: PreTrainedModel) -> Iterator[str | memoryview | bytes]:
    yield from (transformers_version, model.config.to_json_string(), str(torch.get_num_threads()))
    yield from (source.read_bytes() for source in SOURCES)
    for name, tensor in model.state_dict().items():
        yield name
        yield tensor.flatten().view(torch.uint8).numpy().data  # not a copy: models are large


def _compile(model: PreTrainedModel, path: Path) -> None:
    shape = attention_shape(model.config)
    num_tokens, num_logits, num_slots = 5, 3, 32  # any numbers: none of them is built into what is made of it
    pool = torch.zeros(
        (shape.num_layers, 2, num_slots, shape.num_kv_heads, shape.head_dim), dtype=model.dtype, device=model.device
    )
    tokens = torch.export.Dim("tokens", min=FEWEST, max=MOST)
    dimensions = (
        {1: tokens},
        {1: tokens},
        {0: torch.export.Dim("logits", min=FEWEST, max=MOST)},
        {2: torch.export.Dim("slots", min=2)},
        {0: torch.export.Dim("numbers", min=2)},
    )
    arguments = (
        torch.zeros((1, num_tokens), dtype=torch.int64),
        torch.arange(num_tokens)[None],
        torch.arange(num_logits),
        pool,
        torch.arange(40),
    )
    logger("tandem.engine").info("compiling the model's pass: a minute or more", threads=torch.get_num_threads())
    try:
        from torch._inductor.utils import fresh_cache  # is the compiler, which other starts do without

        archive = path.with_suffix(".pt2")
        with torch.no_grad(), fresh_cache(dir=str(path.parent)), _quiet():
            exported = torch.export.export(Pass(model), arguments, dynamic_shapes=dimensions, strict=False)
            torch._inductor.aoti_compile_and_package(exported, package_path=str(archive), inductor_configs=OPTIONS)
        _unpack(archive, path)
    except Exception as error:  # whatever torch raises: its exceptions have no base of their own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelRefused(
            f"torch cannot compile this {model.config.model_type} model ({reason[0]}); serve it without --compile"
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Takes out of the archive what runs, which torch's own loader would unpack anew at every start."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as packed:
        (library,) = (name for name in packed.namelist() if name.endswith(".so"))
        for source, target in ((library, LIBRARY), (library.removesuffix(".so") + ".json", "pass.json")):
            with packed.open(source) as content, (folder / target).open("wb") as kept_file:
                shutil.copyfileobj(content, kept_file)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The compiler prints tables of what it tried; standard output is not for that."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
