"""Settings of a draft replica."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tandem.settings import ModelSettings


class DraftSettings(ModelSettings):
    """The draft service: proposes tokens for leased sessions with the draft model."""

    role: ClassVar[str] = "draft"

    draft: str = Field("", description="draft model: a folder or a Hugging Face id; empty for the shipped one")
    max_leases: int = Field(1024, ge=1, description="sessions leased at once")
    max_warm_sessions: int = Field(256, ge=1, description="texts of ended leases kept in case the session comes back")
    max_batch: int = Field(64, ge=1, le=4096, description="sessions drafted for in one batch")
    round_timeout_seconds: float = Field(
        30.0, gt=0, description="a verify replica must judge a round within this, where a lease does not say"
    )
