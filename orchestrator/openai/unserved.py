"""Parameters that are known and not served: accepted at the values that change nothing, refused by name otherwise."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


def unserved(*neutral: Any, why: str = "is not served") -> Any:
    """A field for such a parameter. It may be left out or null, or have one of the ``neutral`` values."""
    values = [None, *neutral]
    accepted = " or ".join(json.dumps(value) for value in values)
    refusal = f"{why}; leave it out, or give {accepted}"
    return Field(None, description=f"not served; {accepted}", json_schema_extra={"enum": values, "x-refusal": refusal})


def check_served(field: FieldInfo, value: Any) -> None:
    """Refuses a value of an unserved parameter that is not neutral; anything goes for other fields.

    Raises:
        PydanticCustomError: it says what to leave out.
    """
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or "x-refusal" not in extra:
        return
    neutral: Any = extra["enum"]
    # JSON has one kind of number, so 0 is 0.0; but false is not 0.
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral):
        raise PydanticCustomError("unserved", "{what}", {"what": extra["x-refusal"]})
