"""Sessions from a client's point of view."""

from __future__ import annotations

from tests.orchestrator.conftest import PROMPT, SCRIPT, Served


async def test_a_text_is_streamed_from_its_start_to_its_end(served: Served) -> None:
    text = await served.text(seed=7)
    assert text.token_ids == SCRIPT[:20]
    assert tuple(text.started.prompt_token_ids) == PROMPT
