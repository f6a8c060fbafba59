"""Settings of a service process: frozen, from flags, then the environment, then defaults.

A flag ``--kv-blocks`` of the verify service is also ``TANDEM_VERIFY_KV_BLOCKS``. Settings common to all roles may be
given once for all, as ``TANDEM_LOG_LEVEL``. A variable that begins with ``TANDEM_`` and means nothing is refused by
name, so that a typing error is not a default in disguise.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tandem.energy.powercap import POWERCAP_ROOT
from tandem.errors import InvalidArgument
from tandem.pem_files import PemFiles

if TYPE_CHECKING:
    from tandem.registration import Registration

PREFIX = "TANDEM_"

ROLES = ("DRAFT", "VERIFY", "ORCHESTRATOR", "STORE", "UP", "CLIENT", "TEST")
"""Whose variables, ``TANDEM_<ROLE>_…``, may stand beside one's own; each role checks its own. Tests have theirs too."""

API_KEY_VARIABLE = "TANDEM_API_KEY"
"""The clients' own key; services take no notice of it."""

LogLevel = Literal["debug", "info", "warning", "error"]


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Addresses = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A field of host:port addresses; flags and variables give it as one text with commas."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message)


class ServiceSettings(BaseModel):
    """Base of every role's settings. A role sets ``role``, adds its fields, and is made with `load`.

    Each field is a flag; its ``description`` is the flag's help. A bool field is ``--name`` and ``--no-name``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    role: ClassVar[str]
    shared: ClassVar[frozenset[str]] = frozenset({"log_level", "host", "tls_cert", "tls_key", "tls_ca", "tls_name"})
    """Fields that one ``TANDEM_<FIELD>`` may set for all roles."""

    host: str = Field("127.0.0.1", description="interface to listen on; 0.0.0.0 for all")
    port: int = Field(0, ge=0, le=65535, description="port of the gRPC server; 0 picks a free one")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz, over plain HTTP; 0 picks a free one"
    )
    ready_file: Path | None = Field(None, description="file that gets the addresses, as JSON, once serving")
    tls_cert: Path | None = Field(
        None, description="certificate chain shown to the other services; with --tls-key and --tls-ca, they speak TLS"
    )
    tls_key: Path | None = Field(None, description="its private key")
    tls_ca: Path | None = Field(None, description="CA that the other services' certificates are of; others are refused")
    tls_name: str = Field(
        "", description="name that the other services' certificates must carry, where they are called by IP address"
    )
    log_level: LogLevel = Field("info", description="least level that is logged: debug, info, warning, error")

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        given = [path is not None for path in (self.tls_cert, self.tls_key, self.tls_ca)]
        if any(given) and not all(given):
            raise ValueError("tls_cert, tls_key and tls_ca go together: both sides of a connection show a certificate")
        if self.tls_name and not any(given):
            raise ValueError("tls_name says nothing without tls_cert, tls_key and tls_ca")
        return self

    def open_tls(self) -> PemFiles | None:
        """What is shown to the other services, and whom of them to trust; None: plaintext.

        Raises:
            InvalidArgument: a file cannot be used.
        """
        if self.tls_cert is None:
            return None
        return PemFiles(self.tls_ca, self.tls_cert, self.tls_key, self.tls_name)

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Self:
        """Settings from flags, else from ``environ`` (by default the process's), else the defaults.

        Raises:
            InvalidArgument: an unknown flag, an unknown ``TANDEM_`` variable or a value out of bounds, by name.
            SystemExit: ``--help`` was asked for.
        """
        values: dict[str, Any] = dict(cls._from_environment(os.environ if environ is None else environ))
        values |= vars(cls._parser().parse_args(argv))
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidArgument("; ".join(_explain(dict(found)) for found in error.errors())) from None

    @classmethod
    def _parser(cls) -> argparse.ArgumentParser:
        parser = _Parser(prog=cls.role, description=cls.__doc__, argument_default=argparse.SUPPRESS, allow_abbrev=False)
        for name, field in cls.model_fields.items():
            shown = "" if field.default in (None, "", ()) else f" (default: {field.default})"
            options: dict[str, Any] = {"dest": name, "help": (field.description or "").replace("%", "%%") + shown}
            if field.annotation is bool:
                options["action"] = argparse.BooleanOptionalAction
            else:
                options["metavar"] = name.rsplit("_", 1)[-1].upper()
            parser.add_argument(_flag(name), **options)
        return parser

    @classmethod
    def _from_environment(cls, environ: Mapping[str, str]) -> dict[str, str]:
        own = f"{PREFIX}{cls.role.upper()}_"
        others = tuple(f"{PREFIX}{role}_" for role in ROLES if f"{PREFIX}{role}_" != own)
        common: dict[str, str] = {}
        particular: dict[str, str] = {}
        for variable, value in environ.items():
            if not variable.startswith(PREFIX) or variable.startswith(others) or variable == API_KEY_VARIABLE:
                continue
            if variable.startswith(own) and (name := variable.removeprefix(own).lower()) in cls.model_fields:
                particular[name] = value
            elif (name := variable.removeprefix(PREFIX).lower()) in cls.shared:
                common[name] = value
            else:
                raise InvalidArgument(
                    f"the environment variable {variable} means nothing to the {cls.role} service; "
                    f"its settings are {own}<NAME>, see --help"
                )
        return common | particular


class ModelSettings(ServiceSettings):
    """Base of the settings of a role that runs a model."""

    dtype: str = Field("auto", description="number type to compute with: auto, float32, bfloat16, float16")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    threads: int = Field(0, ge=0, le=1024, description="threads of one model pass; 0 is one a core")
    compile: bool = Field(
        False,
        description="run the model as machine code made of it at the first start, which takes a minute and a C++ "
        "compiler; on CPUs",
    )
    kv_blocks: int = Field(0, ge=0, description="KV blocks of 16 tokens; 0 chooses from the free memory")
    kv_memory_share: float = Field(0.25, gt=0, le=1, description="share of the free memory that this may come to")
    powercap_root: Path = Field(
        POWERCAP_ROOT, description="folder of the kernel's energy counters of processors; containers mount it elsewhere"
    )

    register_at: str = Field(
        "",
        description="where orchestrators look for replicas, as their --redis-url; none: they find it otherwise",
    )
    advertise: str = Field(
        "", description="host:port by which the others reach it, for --register-at; where it listens if not given"
    )

    @model_validator(mode="after")
    def _check_registration(self) -> Self:
        if self.advertise and not self.register_at:
            raise ValueError("advertise says nothing without register_at")
        return self

    def registration(self) -> Registration | None:
        """Where it is to be registered, if anywhere.

        Raises:
            InvalidArgument: register_at or advertise cannot be used.
        """
        if not self.register_at:
            return None
        # Clients read this module too, and know nothing of Redis.
        from tandem.registration import Registration

        return Registration(self.register_at, self.role, self.advertise)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _explain(found: dict[str, Any]) -> str:
    message = str(found["msg"]).removeprefix("Value error, ")
    if not found["loc"]:  # of several settings together, which the message names
        return message
    return f"{_flag(str(found['loc'][0]))}: {message[:1].lower()}{message[1:]}" + (
        f" (got {found['input']!r})" if found["type"] != "missing" else ""
    )
