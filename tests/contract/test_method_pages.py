"""Each method has a page and a picture, and they say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tandem.decoding.methods import METHODS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "methods"
DRAWING = "import sys; sys.path.insert(0, sys.argv[1]); from draw import draw; sys.stdout.write(draw(sys.argv[2]))"


@pytest.mark.parametrize("method", METHODS)
def test_the_picture_is_what_the_script_draws(method: str) -> None:
    command = [sys.executable, "-B", "-X", "utf8", "-c", DRAWING, str(FOLDER), method]
    drawn = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert (FOLDER / f"{method}.svg").read_text(encoding="utf-8") == drawn, "run python docs/methods/draw.py"
    picture = ElementTree.fromstring(drawn)
    width, height = (float(picture.attrib[name]) for name in ("width", "height"))
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height
    assert "prefers-color-scheme: dark" in drawn


@pytest.mark.parametrize("method", METHODS)
def test_the_page_shows_the_picture_and_the_dials(method: str) -> None:
    page = (FOLDER / f"{method}.md").read_text()
    assert f"({method}.svg)" in page
    told = page.split("**Dials.**")[1]
    assert set(re.findall(r"^- `(\w+)`", told, re.MULTILINE)) == METHODS[method].dials
    flags = set(re.findall(r"--([\w-]+)", told)) - {"method", "trace"}
    assert {flag.replace("-", "_") for flag in flags} == METHODS[method].dials
    default = re.search(r"`threshold` \([^,]+, ([\d.]+) unless given", told)
    if default is not None:
        assert float(default[1]) == pytest.approx(METHODS[method].default_threshold, abs=5e-4)
    lossless = re.search(r"\bLossless\b|\bLossy\b", page)
    assert lossless is None or (lossless[0] == "Lossless") == METHODS[method].lossless


def test_the_overview_links_every_page() -> None:
    overview = (FOLDER.parent / "methods.md").read_text()
    assert re.findall(r"\(methods/(\w+)\.md\)", overview) == list(METHODS)
    assert {path.stem for path in FOLDER.glob("*.svg")} == {path.stem for path in FOLDER.glob("*.md")} == set(METHODS)
