"""A plot's SVG as a part of the page: colours as CSS variables, ids that no other plot has."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from tandem.evaluation.report.palette import LIGHT

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_COLOUR = re.compile("|".join(_VARIABLES))
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_FONTS = re.compile(r"('DejaVu Sans'[^;\"]*)")
_ID = re.compile(r'\sid="([^"]*)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^)"]*)')
_OPENING = re.compile(r"<svg\b[^>]*>")
_SIZE = re.compile(r'\s(?:width|height)="[\d.]+pt"')


def cleaned(svg: str) -> str:
    """As matplotlib wrote it, without its note of itself, the ids that nothing refers to, and its own font."""
    svg = _METADATA.sub("", svg, count=1)
    used = {name for _, name in _REFERENCE.findall(svg)}
    svg = _ID.sub(lambda found: found[0] if found[1] in used else "", svg)
    return _FONTS.sub(FONTS, svg)


def inlined(svg: str, prefix: str, title: str) -> Markup:
    """An SVG file's element, with ``prefix`` before its ids and colours of the palette as variables.

    Texts of the plot were escaped when it was drawn; ``title`` is escaped here.
    """
    svg = svg[svg.index("<svg") :]
    svg = _ID.sub(rf' id="{prefix}-\1"', svg)
    svg = _REFERENCE.sub(rf"\1{prefix}-\2", svg)
    svg = _COLOUR.sub(lambda found: _VARIABLES[found[0]], svg)
    opening = _OPENING.match(svg)
    assert opening is not None
    begin = _SIZE.sub("", opening[0])[:-1] + f' role="img" aria-label="{escape(title)}">'
    return Markup(begin + svg[opening.end() :])
