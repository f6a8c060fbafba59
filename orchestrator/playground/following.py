"""A session as server-sent events for the page. One that loses its reader waits to be resumed."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Receive, Scope, Send

from orchestrator.admission import Place
from orchestrator.events import Committed, Event, Started
from orchestrator.openai.answering import EventStream, WhileConnected
from orchestrator.openai.texts import Text
from orchestrator.playground.telling import Telling
from orchestrator.playground.token_texts import SingleTokens
from orchestrator.session import Session
from orchestrator.sessions import Sessions
from tandem.tokenization import Tokenizer


class Followed(WhileConnected):
    """Runs a session and tells of it."""

    def __init__(
        self,
        place: Place,
        sessions: Sessions,
        session: Session,
        tokenizer: Tokenizer,
        singles: SingleTokens,
        position: int | None = None,
    ) -> None:
        """``position``: tokens that the page has; none but the prompt's unless given."""
        super().__init__(place, sessions.readers)
        self._sessions = sessions
        self._text = Text(0, session, None)
        shown = len(session.prompt_token_ids) if position is None else position
        self._telling = Telling(self._text, tokenizer, singles, shown)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with EventStream(scope, receive, send) as stream:
            try:
                async with self._sessions.follow(self._text.session) as events:
                    async for event in events:
                        self._text.hear(event)
                        await stream.tell(json.dumps(self._told(event), ensure_ascii=False, allow_nan=False))
            except Exception as error:
                await stream.fail(error)
            else:
                await stream.end()

    def _told(self, event: Event) -> dict[str, Any]:
        if isinstance(event, Started):
            return self._telling.started(event)
        if isinstance(event, Committed):
            return self._telling.committed(event, self._text.session.text.rounds(event.position))
        return self._telling.finished(event)
