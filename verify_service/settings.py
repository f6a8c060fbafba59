"""Settings of a verify replica."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from tandem.settings import ModelSettings


class VerifySettings(ModelSettings):
    """The verify service: judges proposals with the target model."""

    role: ClassVar[str] = "verify"

    target: str = Field("", description="target model: a folder or a Hugging Face id; empty for the shipped one")
    parallelism: int = Field(
        1, ge=1, le=64, description="ranks that run the target together, a GPU or a share of the CPUs each"
    )
    max_sessions: int = Field(1024, ge=1, description="sessions served at once")
    max_idle_sessions: int = Field(256, ge=1, description="sessions kept for another drafter to take over")
    session_idle_seconds: float = Field(60.0, ge=0, description="how long those are kept")
    max_batch: int = Field(64, ge=1, le=4096, description="sessions in one pass of the target")
    max_scores: int = Field(1024, ge=1, description="given texts that may wait to be scored")

    @model_validator(mode="after")
    def _check_parallelism(self) -> Self:
        if self.compile and self.parallelism > 1:
            raise ValueError("--compile is for a target that one process runs, and --parallelism asks for several")
        return self
