"""A stack that asks for keys, as its users and its operator meet it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.sync_api import expect, sync_playwright

from tandem import Client
from tandem.errors import NotFound, Unauthenticated
from tests.e2e.running import Up, running, tandem
from tests.support.http import send

CHROMIUM = shutil.which("chromium")
PROMPT = "select name from people"


class Keyed:
    """The stack, and files that hold one key each."""

    def __init__(self, up: Up, keys: dict[str, Path]) -> None:
        self.up = up
        self.keys = keys
        self.address = up.told["grpc"][0]

    def key(self, name: str) -> str:
        return self.keys[name].read_text().strip()

    def tandem(self, *arguments: str, key_file: str = "alice", **options: Any) -> Any:
        return tandem(*arguments, "--address", self.address, "--api-key-file", str(self.keys[key_file]), **options)


@pytest.fixture(scope="module")
def keyed(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    keys = {}
    for name in ("alice", "bob", "ops"):
        made = tandem("keys", "new", name, "--append", str(folder / "api-keys"))
        assert made.returncode == 0, made.stderr
        keys[name] = folder / f"{name}.key"
        keys[name].write_text(made.stdout)
    file = folder / "api-keys"
    assert len(file.read_text().splitlines()) == 3
    file.write_text(file.read_text().rstrip() + " operator\n")
    target, draft = tiny_pair
    models = ("--target", str(target), "--draft", str(draft))
    with running(folder, *models, "--api-keys", str(file)) as up:
        yield Keyed(up, keys)


def test_commands_take_a_key_from_a_file_or_the_environment(keyed: Keyed) -> None:
    options = ("--max-tokens", "8", "--seed", "1")
    from_file = keyed.tandem("generate", PROMPT, *options)
    assert from_file.returncode == 0, from_file.stderr
    environment = os.environ | {"TANDEM_API_KEY": keyed.key("alice")}
    command = [sys.executable, "-m", "tandem.cli.main", "generate", PROMPT, *options, "--address", keyed.address]
    from_environment = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert from_environment.stdout == from_file.stdout
    chat = keyed.tandem("chat", "--max-tokens", "8", input="hello\n")
    assert chat.returncode == 0, chat.stderr
    without = tandem("generate", PROMPT, "--address", keyed.address)
    assert without.returncode == 1
    assert without.stderr.startswith("error: the call has no valid API key")


def test_clients_take_a_key(keyed: Keyed) -> None:
    with Client(keyed.address, api_key=keyed.key("alice")) as client:
        made = client.generate(PROMPT, max_tokens=8)
    with Client(keyed.address, api_key=keyed.key("bob")) as client, pytest.raises(NotFound):
        client.delete(made.session_id)
    with Client(keyed.address) as client, pytest.raises(Unauthenticated):
        client.describe()


def test_sessions_are_deleted_by_command(keyed: Keyed) -> None:
    with Client(keyed.address, api_key=keyed.key("alice")) as client:
        first, second = (client.generate(PROMPT, max_tokens=4).session_id for _ in range(2))
    assert keyed.tandem("sessions", "delete", first, key_file="bob").returncode == 1
    assert keyed.tandem("sessions", "delete", first).stdout == f"deleted {first}\n"
    assert keyed.tandem("sessions", "delete", second, key_file="ops").returncode == 0
    again = keyed.tandem("sessions", "delete", first)
    assert (again.returncode, again.stderr) == (1, f"error: there is no session {first}, or it has expired\n")


def test_an_openai_client_takes_a_key(keyed: Keyed) -> None:
    url = keyed.up.told["http"][0] + "/v1"
    with openai.OpenAI(base_url=url, api_key=keyed.key("alice")) as client:
        assert client.completions.create(model=client.models.list().data[0].id, prompt=PROMPT, max_tokens=4).choices
    with openai.OpenAI(base_url=url, api_key="sk-wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert send(keyed.up.told["http"][0] + "/metrics").status == 401


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH, and the page needs a browser")
def test_the_playground_asks_for_the_key_and_keeps_it_in_the_tab(keyed: Keyed) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(keyed.up.told["http"][0])
        expect(page.locator("#key")).to_be_visible(timeout=20_000)
        expect(page.locator("#run")).to_be_disabled()
        page.fill("#key", "tandem-wrong")
        page.click("#use-key")
        expect(page.locator("#alert")).to_have_text("That key is not valid here.", timeout=20_000)
        page.fill("#key", keyed.key("alice"))
        page.press("#key", "Enter")
        expect(page.locator("#run")).to_be_enabled(timeout=20_000)
        expect(page.locator("#key")).to_be_hidden()
        page.fill("#prompt", PROMPT)
        page.click("#run")
        expect(page.locator(".panel").first).to_have_attribute("data-state", "finished", timeout=60_000)
        page.reload()  # the tab still has it
        expect(page.locator("#run")).to_be_enabled(timeout=20_000)
        assert page.evaluate("localStorage.length") == 0
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("sessionStorage.getItem('tandem-api-key')") == keyed.key("alice")
        browser.close()
