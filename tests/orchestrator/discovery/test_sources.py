"""What every source tells: who has come, who is on the way out, who has gone, and nothing new while it cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.discovery.several import Several
from orchestrator.discovery.static import Static
from tests.orchestrator.discovery.worlds import World, followed, world
from tests.support.waiting import until

A, B = "192.0.2.1", "192.0.2.2"


@pytest.fixture(params=["dns", "redis", "kubernetes", "cluster"])
def any_world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world(request.param, tmp_path, monkeypatch) as made:
        yield made


async def test_replicas_come_and_go(any_world: World) -> None:
    async with followed(any_world.source) as told:
        await told.until()  # nobody is known, and that is known
        await any_world.appear(A)
        await told.until(_192_0_2_1="serving")
        await any_world.appear(B)
        await told.until(_192_0_2_1="serving", _192_0_2_2="serving")
        if any_world.can_terminate:
            await any_world.terminate(A)
            await told.until(_192_0_2_1="terminating", _192_0_2_2="serving")
        await any_world.vanish(A)
        await told.until(_192_0_2_2="serving")
        await any_world.vanish(B)
        await told.until()
        await any_world.appear(A)
        await told.until(_192_0_2_1="serving")


async def test_what_is_there_from_the_start_is_told_at_once(any_world: World) -> None:
    await any_world.appear(A)
    async with followed(any_world.source) as told:
        await told.until(_192_0_2_1="serving")
        assert len(told.all) == 1


async def test_while_nobody_can_tell_what_is_known_stays(any_world: World) -> None:
    await any_world.appear(A)
    async with followed(any_world.source) as told:
        await told.until(_192_0_2_1="serving")
        any_world.go_away()
        await until(lambda: any_world.source.trouble != "")
        assert told.last == {f"{A}:7070": "serving"}
        any_world.come_back()
        await any_world.appear(A)
        await any_world.appear(B)
        await told.until(_192_0_2_1="serving", _192_0_2_2="serving")
        assert any_world.source.trouble == ""
        assert all(f"{A}:7070" in one for one in told.all)


async def test_several_sources_are_told_as_one(any_world: World) -> None:
    listed = Static(["192.0.2.2:7070", "192.0.2.9:7070"])
    async with followed(Several([listed, any_world.source])) as told:
        await told.until(_192_0_2_2="serving", _192_0_2_9="serving")
        await any_world.appear(A)
        await told.until(_192_0_2_1="serving", _192_0_2_2="serving", _192_0_2_9="serving")
        if any_world.can_terminate:
            await any_world.terminate(B)
            await told.until(_192_0_2_1="serving", _192_0_2_2="terminating", _192_0_2_9="serving")
