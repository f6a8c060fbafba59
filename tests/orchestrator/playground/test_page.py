"""What the page is made of, and what its server lets it do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import orchestrator.playground
from orchestrator.playground.choices import IN_A_WORD
from tandem.decoding.methods import METHODS
from tests.orchestrator.conftest import Stage
from tests.orchestrator.openai.doors import Door, open_door
from tests.support.http import ask

STATIC = Path(orchestrator.playground.__file__).parent / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))


@pytest.fixture
async def door(stage: Stage) -> Door:
    return await open_door(stage)


async def test_the_page_may_load_its_own_files_and_nothing_else(door: Door) -> None:
    page = await door.get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page.body.decode()))
    for path in named | {f"/playground/{script.name}" for script in SCRIPTS}:
        found = await door.get(path)
        assert found.status == 200
        assert found.headers["x-content-type-options"] == "nosniff"
    assert (await door.get("/playground/main.js")).headers["content-type"].startswith("text/javascript")
    assert (await door.get("/playground/../door.py")).status == 404


async def test_a_setting_leaves_the_page_out(stage: Stage) -> None:
    door = await open_door(stage, playground=False)
    for path in ("/", "/playground/main.js", "/playground/choices"):
        assert (await door.get(path)).status == 404
    assert (await door.get("/v1/models")).status == 200


async def test_what_can_be_chosen_is_told_as_data(stage: Stage) -> None:
    door = await open_door(stage, method="mmtad", threshold=0.3, draft_length=6)
    found = (await door.get("/playground/choices")).json
    methods = {method["name"]: method for method in found["methods"]}
    assert {name: set(method["dials"]) for name, method in methods.items()} == {
        name: set(method.dials) for name, method in METHODS.items()
    }
    assert (methods["mtad"]["threshold"], methods["typical"]["threshold"]) == (0.3, 0.09)
    assert (found["defaults"]["method"], found["defaults"]["draft_length"]) == ("mmtad", 6)
    assert found["bounds"]["draft_length"] == {"min": 1, "max": 32, "whole": True}
    assert found["bounds"]["threshold"] == {"above": 0, "below": 1, "whole": False}
    assert found["model"] == "scripted-verify"


def test_every_method_is_told_in_a_word() -> None:
    assert set(IN_A_WORD) == set(METHODS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_never_make_markup_or_code_of_text(script: Path) -> None:
    source = script.read_text().replace("http://www.w3.org/2000/svg", "")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://|import\("
    assert re.findall(forbidden, source) == []
    assert source.startswith("// ")
    assert source.count("\n") < 250


def test_the_page_has_nothing_inline() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", page) == []


async def test_only_the_shipped_pair_has_examples(door: Door) -> None:
    assert (await door.get("/playground/choices")).json["with_examples"] is False
    assert (await door.get("/playground/examples")).json == []
    refused = await ask(f"{door.url}/playground/query", {"example": "held-out-0-0", "sql": "SELECT 1"})
    assert refused.error["code"] == "not_found"
