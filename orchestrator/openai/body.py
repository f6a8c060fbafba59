"""What all objects of a request's body have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from orchestrator.openai.unserved import check_served


class Body(BaseModel):
    """Base: frozen, strict, no field it does not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _check_served(cls, value: Any, info: ValidationInfo) -> Any:
        check_served(cls.model_fields[info.field_name or ""], value)
        return value
