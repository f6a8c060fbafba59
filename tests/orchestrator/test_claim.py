"""A claim on a session whose store goes away and comes back empty, again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.claim import Claim
from orchestrator.committed_text import CommittedText
from orchestrator.metrics import Metrics
from orchestrator.records import SessionRecord
from orchestrator.session_store import Lifetimes, SessionStore, keys_of
from tandem.cut import Cut
from tandem.decoding.values import RoundName
from tandem.errors import Unavailable
from tandem.tokenization import Tokenizer
from tests.orchestrator.test_session_store import new_record, outcome_after
from tests.support.tiny_pair import make_tokenizer


class Forgetful(SessionStore):
    """Loses everything before and after it writes a session back, some times over, and each time the answer too."""

    def __init__(self, url: str, num_failures: int) -> None:
        super().__init__(url, Lifetimes())
        self.num_failures = num_failures

    async def restore(self, record: SessionRecord) -> None:
        await super().restore(record)
        if self.num_failures:
            self.num_failures -= 1
            await self.forget(record.session_id)
            if self.num_failures % 2:
                raise Unavailable("the session store does not answer")

    async def forget(self, session_id: str) -> None:
        await self._client.delete(*keys_of(session_id))


@pytest.fixture(params=[1, 2, 5])
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Forgetful]:
    opened = Forgetful(redis_url, request.param)
    yield opened
    await opened.close()


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    make_tokenizer(tmp_path)
    return Tokenizer.from_pretrained(tmp_path)


def claim_on(record: SessionRecord, store: SessionStore) -> Claim:
    return Claim(record, store, Metrics(CollectorRegistry()), patience_seconds=20.0)


async def test_a_commit_outlasts_a_store_that_loses_what_is_written_back(
    store: Forgetful, tokenizer: Tokenizer
) -> None:
    record = new_record()
    claim = claim_on(record, store)
    await claim.create(record, [])
    await store.forget(record.session_id)
    name = RoundName(record.session_id, record.fence, record.position, record.digest)
    outcome = outcome_after(record.token_ids, (10, 11))
    await claim.commit(name, outcome, Cut(2, ""), CommittedText(record, tokenizer))
    assert (await store.read(record.session_id)).token_ids == (*record.token_ids, 10, 11)
    assert store.num_failures == 0


async def test_a_session_moves_while_the_store_loses_it(store: Forgetful, tokenizer: Tokenizer) -> None:
    record = new_record()
    claim = claim_on(record, store)
    text = CommittedText(record, tokenizer)
    await claim.create(record, [])
    await store.forget(record.session_id)
    await claim.raise_epoch(text, [])
    assert claim.fence.epoch == record.fence.epoch + 1
    name = RoundName(record.session_id, claim.fence, record.position, record.digest)
    await claim.commit(name, outcome_after(record.token_ids, (10,)), Cut(1, ""), text)
    assert (await store.read(record.session_id)).fence == claim.fence
