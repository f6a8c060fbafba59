"""What the page asks for, checked as strictly as the API's bodies."""

from __future__ import annotations

from pydantic import Field

from orchestrator.openai.body import Body
from orchestrator.openai.completion_body import MAX_TEXT_CHARACTERS
from tandem.decoding.values import DIGEST_BYTES, MAX_BEAM_WIDTH, MAX_DRAFT_LENGTH, MAX_TOKENS
from tandem.generation import Options

MAX_QUERY_CHARACTERS = 2_000


class GenerateBody(Body):
    """A text to generate, with every round traced. What is left out is the server's default."""

    prompt: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)
    method: str | None = Field(None, max_length=64)
    draft_length: int | None = Field(None, ge=1, le=MAX_DRAFT_LENGTH)
    beam_width: int | None = Field(None, ge=1, le=MAX_BEAM_WIDTH)
    threshold: float | None = Field(None, gt=0, lt=1)
    temperature: float | None = Field(None, ge=0, le=10)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=1 << 53, description="a number that a page can hold")
    max_tokens: int | None = Field(None, ge=1)

    @property
    def options(self) -> Options:
        """As the session layer takes them."""
        return Options(
            method=self.method,
            draft_length=self.draft_length,
            beam_width=self.beam_width,
            threshold=self.threshold,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
            max_tokens=self.max_tokens,
            trace=True,
        )


class SessionBody(Body):
    """A session by name."""

    session_id: str = Field(min_length=1, max_length=64)


class ResumeBody(SessionBody):
    """The rest of a session, past what the page has."""

    position: int = Field(ge=1, le=2 * MAX_TOKENS)
    digest: str = Field(pattern=f"^[0-9a-f]{{{2 * DIGEST_BYTES}}}$", description="hexadecimal, as events give it")


class QueryBody(Body):
    """A query to run on the database of an example."""

    example: str = Field(max_length=64)
    sql: str = Field(max_length=MAX_QUERY_CHARACTERS)
