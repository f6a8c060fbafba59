"""Writes what the services' settings are into the chart's schema, so that a misspelt one is refused by helm.

Run as ``python -m helm.schema`` after a setting was added; a test fails until then. All else in the schema is written
by hand.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from draft_service.settings import DraftSettings
from orchestrator.settings import OrchestratorSettings
from tandem.settings import ServiceSettings
from verify_service.settings import VerifySettings

SCHEMA = Path(__file__).resolve().parent / "tandem" / "values.schema.json"

SETTINGS: dict[str, type[ServiceSettings]] = {
    "verify": VerifySettings,
    "draft": DraftSettings,
    "orchestrator": OrchestratorSettings,
}

OWNED = {
    *("host", "port", "metrics_port", "ready_file", "log_level", "http_port"),
    *("tls_cert", "tls_key", "tls_ca", "tls_name", "public_tls_cert", "public_tls_key"),
    *("api_keys", "jwt_keys", "jwt_audience", "jwt_issuer"),
    *("verify", "draft", "target", "tokenizer", "model_name", "redis_url", "drain_timeout"),
    *("parallelism", "register_at", "advertise"),
}
"""Settings that templates set, from values of their own; they are none of ``settings``."""

_TYPES = {int: "integer", float: "number", bool: "boolean"}


def settings_schema(settings: type[ServiceSettings]) -> dict[str, Any]:
    """The schema of a role's ``settings``: its own ones in camel case, with their descriptions and types."""
    fields = {name: field for name, field in sorted(settings.model_fields.items()) if name not in OWNED}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            camel_case(name): {"description": field.description, **_value(field)} for name, field in fields.items()
        },
    }


def camel_case(name: str) -> str:
    """kv_blocks → kvBlocks."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _value(field: FieldInfo) -> dict[str, Any]:
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    schema: dict[str, Any] = {"type": _TYPES.get(kind, "string")}
    for bound in field.metadata:
        for name, key in (("ge", "minimum"), ("le", "maximum"), ("gt", "exclusiveMinimum")):
            if (limit := getattr(bound, name, None)) is not None:
                schema[key] = limit
    return schema


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with the settings as they are now."""
    made = {f"{role}Settings": settings_schema(settings) for role, settings in SETTINGS.items()}
    return {**schema, "definitions": {**schema["definitions"], **made}}


def dump(schema: dict[str, Any]) -> str:
    """The schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(dump(with_settings(json.loads(SCHEMA.read_text()))))
