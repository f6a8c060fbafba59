"""The playground as somebody sees it who opens it in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tandem import Client
from tandem.generation import Options
from tests.e2e.running import Up, running
from tests.support.cutting_proxy import cutting

CHROMIUM = shutil.which("chromium")
PROMPT = "select name, age from people"
NUM_TOKENS = 240
NOTE_STATES = """() => {
    window.states = [];
    const note = (changes) => window.states.push(...changes.map((change) => change.target.dataset.state));
    new MutationObserver(note).observe(document.body, {subtree: true, attributeFilter: ["data-state"]});
}"""

expect.set_options(timeout=20_000)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH, and the page needs a browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """A page that is open, and what its browser noted."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self._context = browser.new_context(**options)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        # Of a request that is refused or cut, as some are on purpose, the browser notes no more than that.
        self.page.on(
            "console", lambda said: None if self._is_expected(said.text) else self.complaints.append(said.text)
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        expect(self.page.locator("#run")).to_be_enabled()

    def close(self) -> None:
        self._context.close()

    def run(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.page.fill("#prompt" if name == "prompt" else f"#field-{name}", str(value))
        self.page.click("#run")

    def panel(self, number: int = 0) -> Any:
        return self.page.locator(".panel").nth(number)

    def finished(self, number: int = 0) -> str:
        """Waits for the end; the text that is shown."""
        expect(self.panel(number)).to_have_attribute("data-state", "finished", timeout=60_000)
        return self.panel(number).locator(".text").text_content() or ""

    @staticmethod
    def _is_expected(said: str) -> bool:
        return said.startswith("Failed to load resource")


@pytest.fixture
def visits(browser: Browser) -> Iterator[list[Visit]]:
    """Visits that a test makes. Nothing complains on any of them, and nothing is asked of another host."""
    made: list[Visit] = []
    yield made
    for visit in made:
        assert visit.complaints == []
        assert visit.requests
        assert {url.split("/")[2] for url in visit.requests} == {visit.page.url.split("/")[2]}
        visit.close()


@pytest.fixture
def visit(browser: Browser, stack: Up, visits: list[Visit]) -> Visit:
    visits.append(Visit(browser, stack.told["http"][0]))
    return visits[-1]


@pytest.fixture(scope="module")
def long_seed(stack: Up) -> int:
    """Of a text that does not end early."""
    asked: Options = {"max_tokens": NUM_TOKENS, "method": "mtad"}
    with Client(stack.told["grpc"]) as client:
        found = (
            seed for seed in range(100) if len(client.generate(PROMPT, seed=seed, **asked).token_ids) == NUM_TOKENS
        )
        return next(found)


def test_comments_that_keep_a_stream_alive_are_passed_over(visit: Visit, client: Client) -> None:
    def with_comments(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("data: ", ": keep-alive\n\ndata: "))

    visit.page.route("**/playground/generate", with_comments)
    visit.run(prompt=PROMPT, seed=1, max_tokens=24)
    assert visit.finished() == client.generate(PROMPT, seed=1, max_tokens=24, method="mtad").text
    assert [url for url in visit.requests if url.endswith("/playground/resume")] == []


def test_a_generation_shows_where_every_token_comes_from(visit: Visit, client: Client, long_seed: int) -> None:
    visit.run(prompt=PROMPT, seed=long_seed, max_tokens=NUM_TOKENS)
    text = visit.finished()
    made = client.generate(PROMPT, seed=long_seed, max_tokens=NUM_TOKENS, method="mtad", trace=True)
    assert text == made.text
    assert visit.panel().locator(".unseen[role=log]").text_content() == made.text
    tokens = visit.panel().locator(".text .token")
    assert tokens.count() == len(made.token_ids)
    usage = made.usage
    assert visit.panel().locator(".text .accepted").count() == usage.num_accepted_draft_tokens
    own = visit.panel().locator(".text :is(.correction, .bonus, .own)")
    assert own.count() == len(made.token_ids) - usage.num_accepted_draft_tokens
    assert visit.panel().locator(".column").count() == len(made.rounds)
    figure = lambda name: visit.panel().locator(f"[data-figure={name}]").text_content()  # noqa: E731
    assert figure("acceptance") == f"{usage.draft_acceptance_rate:.0%}"
    assert figure("length") == f"{usage.mean_acceptance_length:.2f}"
    assert float(figure("perplexity")) == pytest.approx(usage.output_perplexity, rel=1e-2)
    assert float(figure("speed")) > 0
    assert figure("energy") == "not measured" or figure("energy").endswith(" J")


def test_rounds_and_tokens_are_walked_by_keys(visit: Visit) -> None:
    visit.page.select_option("#method-a", "mmtad")
    visit.run(prompt=PROMPT, seed=1, max_tokens=40)
    visit.finished()
    first = visit.panel().locator(".text .token").first
    first.click()
    expect(visit.panel().locator("h4")).to_contain_text("Round 1 of")
    visit.page.keyboard.press("ArrowDown")
    expect(visit.panel().locator("h4")).to_contain_text("Round 2 of")
    expect(visit.page.locator("#tip")).to_contain_text("log-probability")
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.evaluate("() => document.activeElement.classList.contains('token')")
    visit.panel().locator(".column").first.click()
    visit.page.keyboard.press("ArrowRight")
    expect(visit.panel().locator("h4")).to_contain_text("Round 2 of")
    assert visit.panel().locator(".node.refused, .node.accepted").count() > 4
    of_round = visit.panel().locator(".text .token.of-round.accepted").count()
    assert visit.panel().locator(".node.accepted").count() == of_round
    assert visit.panel().locator(".edge").count() == visit.panel().locator(".node").count() - 1
    visit.panel().locator("summary").click()
    rows = visit.panel().locator("tbody tr")
    assert rows.count() == visit.panel().locator(".node").count() - 1


def test_two_methods_on_the_same_prompt_and_seed(visit: Visit, client: Client) -> None:
    visit.page.check("#compare")
    visit.page.select_option("#method-a", "coupled")
    visit.page.select_option("#method-b", "autoregressive")
    visit.run(prompt=PROMPT, seed=5, max_tokens=30)
    coupled, alone = visit.finished(0), visit.finished(1)
    assert coupled == alone == client.generate(PROMPT, seed=5, max_tokens=30, method="coupled").text
    assert visit.panel(1).locator(".text .token.own").count() == visit.panel(1).locator(".text .token").count()
    expect(visit.panel(1).locator("[data-figure=acceptance]")).to_have_text("no draft")


def test_only_the_dials_that_a_method_reads_are_shown(visit: Visit) -> None:
    def shown() -> Any:
        inputs = visit.page.locator("#dials-a input:visible")
        return inputs.evaluate_all("all => all.map(one => one.dataset.field)")

    assert shown() == ["draft_length", "beam_width", "threshold"]
    visit.page.select_option("#method-a", "typical")
    assert shown() == ["draft_length", "threshold"]
    assert visit.page.input_value("#threshold-a") == "0.09"
    visit.page.select_option("#method-a", "autoregressive")
    assert shown() == []


def test_errors_are_told_in_words_beside_the_field(visit: Visit) -> None:
    visit.run(prompt="select name " * 400, max_tokens=8)
    expect(visit.page.locator("#alert")).to_contain_text("the models take at most")
    expect(visit.panel()).to_have_attribute("data-state", "failed")
    expect(visit.page.locator("#prompt")).to_have_attribute("aria-invalid", "true")
    visit.run(prompt=PROMPT, temperature=11)
    expect(visit.page.locator("#alert")).to_contain_text("temperature")
    expect(visit.page.locator("#field-temperature")).to_have_attribute("aria-invalid", "true")
    visit.run(temperature=1)
    visit.finished()
    expect(visit.page.locator("#alert")).to_be_empty()


def test_a_text_goes_on_after_its_connection_is_lost(
    browser: Browser, stack: Up, visits: list[Visit], client: Client, long_seed: int
) -> None:
    whole = client.generate(PROMPT, seed=long_seed, max_tokens=NUM_TOKENS, method="mtad")
    with cutting(stack.told["http"][0], b"POST /playground/generate", after_bytes=12_000) as proxy:
        visits.append(visit := Visit(browser, proxy.url))
        visit.run(prompt=PROMPT, seed=long_seed, max_tokens=NUM_TOKENS)
        expect(visit.panel()).to_have_attribute("data-state", "lost")
        expect(visit.panel().locator(".status")).to_contain_text("reconnecting…")
        shown = visit.panel().locator(".text .token").count()
        assert 0 < shown < NUM_TOKENS
        proxy.may_pass.set()
        assert visit.finished() == whole.text
        assert visit.panel().locator(".text .token").count() == NUM_TOKENS


def test_a_text_goes_on_after_its_orchestrator_died(
    browser: Browser, visits: list[Visit], tiny_pair: tuple[Path, Path], tmp_path: Path, long_seed: int
) -> None:
    target, draft = tiny_pair
    with running(tmp_path, "--target", str(target), "--draft", str(draft)) as up:
        with Client(up.told["grpc"]) as client:
            whole = client.generate(PROMPT, seed=long_seed, max_tokens=NUM_TOKENS, method="mtad")
        visits.append(visit := Visit(browser, up.told["http"][0]))
        visit.page.evaluate(NOTE_STATES)
        visit.run(prompt=PROMPT, seed=long_seed, max_tokens=NUM_TOKENS)
        expect(visit.panel().locator(".text .token").first).to_be_attached()
        up.kill_child("orchestrator")
        assert visit.finished() == whole.text
        assert "lost" in visit.page.evaluate("() => window.states")
        assert visit.panel().locator(".text .token").count() == NUM_TOKENS


def test_stop_ends_the_session(visit: Visit, stack: Up) -> None:
    asked: Options = {"method": "mtjd", "draft_length": 1, "max_tokens": 480}
    with Client(stack.told["grpc"]) as client:  # a text that does not end by itself before it is stopped
        seed = next(seed for seed in range(50) if len(client.generate(PROMPT, seed=seed, **asked).token_ids) == 480)
        visit.page.select_option("#method-a", "mtjd")
        visit.page.fill("#draft_length-a", "1")
        visit.run(prompt=PROMPT, seed=seed, max_tokens=480)
        visit.page.locator("#stop").dispatch_event("click")  # at once: a real one waits until the page is still
        expect(visit.panel()).to_have_attribute("data-state", "stopped")
        expect(visit.page.locator("#run")).to_be_enabled()
        stack.wait_until(lambda: client.describe().num_sessions == 0, "the session has ended")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1360])
def test_the_page_fits_and_looks_its_part(
    browser: Browser, stack: Up, visits: list[Visit], tmp_path: Path, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 844}
    options = {"viewport": size, "color_scheme": scheme, "reduced_motion": "reduce"}
    visits.append(visit := Visit(browser, stack.told["http"][0], **options))
    visit.page.check("#compare")
    visit.page.select_option("#method-a", "mmtad")
    visit.run(prompt=PROMPT, seed=2, max_tokens=120)
    visit.finished(1)
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") == width
    visit.page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    brightness = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(brightness) < 64) == (scheme == "dark")
    assert visit.page.evaluate("() => getComputedStyle(document.querySelector('.text .token')).animationName") == "none"


def test_every_control_has_a_name_and_shows_its_focus(visit: Visit) -> None:
    nameless = visit.page.locator("input, select, textarea").evaluate_all(
        "all => all.filter(one => !one.labels.length).map(one => one.id)"
    )
    assert nameless == []
    visit.page.locator("#prompt").focus()
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("() => document.activeElement.id") == "run"
    assert visit.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
