"""The report in a real browser: light and dark, wide and narrow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tandem.evaluation.records import Record
from tandem.evaluation.report import write_report
from tests.evaluation.report.runs import failed, make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on the path")

VARIANTS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]

CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba("white");
  };
  const selectors = ["h1", "h3", ".over", ".facts dt", ".facts dd", ".headline li", ".quiet", ".warning",
    "thead th", "tbody th", "td", "td.better", "td.worse", "td.missing", "td small", "tr.baseline small",
    ".token.accepted", ".token.refused", ".token.cut", ".token.extra", ".rounds small", ".mark", ".said",
    ".others summary", ".glossary dd", ".plot svg text"];
  return selectors.map((selector) => {
    const ratios = [...document.querySelectorAll(selector)].map((element) => {
      const style = getComputedStyle(element);
      const text = luminance(rgba(element.ownerSVGElement ? style.fill : style.color));
      const ground = luminance(back(element));
      return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    });
    return [selector, ratios.length ? Math.min(...ratios) : null];
  });
}
"""

BOXES = """
(elements) => elements.map((element) => element.getBoundingClientRect()).map((box) => [box.width, box.height])
"""

CLIPPED = """
() => [...document.querySelectorAll(".plot svg text")].filter((text) => {
  const [own, whole] = [text, text.ownerSVGElement].map((element) => element.getBoundingClientRect());
  return own.left < whole.left - 1 || own.right > whole.right + 1 || own.top < whole.top - 1
    || own.bottom > whole.bottom + 1;
}).map((text) => text.textContent)
"""

BEYOND = """
() => [...document.querySelectorAll("body *")].filter((element) =>
  !element.closest(".scroll") && !element.closest("svg") && element.getClientRects().length
  && element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
).map((element) => element.outerHTML.slice(0, 120))
"""


def edited(record: Record) -> Record:
    """A failure, an answer without a place to break, and a difference beyond noise in either direction."""
    if record.sample == "sample-1" and record.configuration == "block":
        return failed(record)
    if record.configuration == "mtad":
        (turn,) = record.turns
        return replace(record, turns=(replace(turn, text="x" * 400),), scores={"execution_accuracy": 1.0})
    if record.configuration == "mmtad":
        return replace(record, block_seconds=4.0)
    return record


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    methods = ["autoregressive", "block", "mtad", "mmtad", "mtjd"]
    threshold = {
        "methods": methods,
        "configurations": [{"method": "mtad", "threshold": 0.9, "draft_length": 4, "beam_width": 4}],
    }
    run = make_run(tmp_path_factory.mktemp("run"), joules=(1.0, 2.0), edit=edited, **threshold)
    return write_report(run, run.summary())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The sandbox wants privileges that containers of tests do not have; the page is our own file.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(params=VARIANTS, ids=[f"{scheme}-{width}" for scheme, width in VARIANTS])
def page(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    """The report, opened; what it says or asks for while a test looks at it is held against it."""
    scheme, width = request.param
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or faults.append(asked.url))
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert faults == []


def test_the_page_is_not_wider_than_the_window(page: Page) -> None:
    widths: Any = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1]
    assert page.evaluate(BEYOND) == []


def test_texts_stand_out_from_their_background(page: Page) -> None:
    contrasts = dict(page.evaluate(CONTRASTS))
    assert [selector for selector, ratio in contrasts.items() if ratio is None] == []
    assert {selector: ratio for selector, ratio in contrasts.items() if ratio < 4.5} == {}


def test_every_plot_can_be_seen_and_read(page: Page, report: Path) -> None:
    boxes = page.locator(".plot svg").evaluate_all(BOXES)
    assert len(boxes) == len(list((report.parent / "plots").glob("*.svg")))
    assert all(width > 300 and height > 100 for width, height in boxes)
    heights = page.locator(".plot svg text").evaluate_all(BOXES)
    assert min(min(box) for box in heights if box[0]) >= 5  # a single digit's width
    assert page.evaluate(CLIPPED) == []


def test_the_first_column_stays_while_the_table_scrolls(page: Page) -> None:
    at: Any = page.evaluate(
        "() => { const scroll = document.querySelector('.scroll'); scroll.scrollLeft = 300;"
        " return [scroll.scrollLeft, scroll.getBoundingClientRect().left,"
        " scroll.querySelector('tbody th').getBoundingClientRect().left]; }"
    )
    assert at[0] > 0
    assert abs(at[1] - at[2]) < 2


def test_samples_open_without_a_script_and_their_tokens_are_readable(page: Page) -> None:
    cards = page.locator("details.sample")
    assert cards.count() == 2
    for index in range(2):
        if not cards.nth(index).evaluate("(card) => card.open"):
            cards.nth(index).locator("> summary").click()
        for kind in ("accepted", "refused", "cut", "extra"):
            token = cards.nth(index).locator(f".token.{kind}").first
            assert token.is_visible()
            assert float(token.evaluate("(token) => parseFloat(getComputedStyle(token).fontSize)")) >= 12
    boxes = cards.nth(1).locator(".answer").evaluate_all(BOXES)
    assert len(boxes) == 6
    assert all(width > 260 for width, _ in boxes)


def test_what_became_of_a_token_is_not_told_by_colour_alone(page: Page) -> None:
    looks: Any = page.locator(".legend .token").evaluate_all(
        "(tokens) => tokens.map((token) => { const s = getComputedStyle(token);"
        " return [s.textDecorationLine, s.fontWeight, s.borderBottomStyle, s.fontStyle].join(); })"
    )
    assert len(set(looks)) == 4
