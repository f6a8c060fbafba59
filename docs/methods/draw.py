"""Draws the pictures of these pages: ``python docs/methods/draw.py`` writes one SVG a method beside this file."""

from __future__ import annotations

from html import escape
from pathlib import Path

from rounds import ACCEPTED, EXTRA, OWN, PICTURES, REFUSED, SKIPPED, Picture, Row

LEFT, TOP = 104, 46
COLUMN, LINE = 112, 58
BOX_WIDTH, BOX_HEIGHT = 92, 28
LEGEND = {
    ACCEPTED: "drafted, kept",
    REFUSED: "drafted, refused",
    SKIPPED: "not used",
    EXTRA: "the extra token",
    OWN: "the target's own",
}

# Colours that stand on white and on black; the page behind decides which set is read.
STYLE = """
text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328; text-anchor: middle }
.says, .label { font-family: system-ui, sans-serif; text-anchor: start }
.label, .note { font-size: 11px; fill: #59636e }
rect { stroke: #8c959f; fill: none; stroke-width: 1.5 }
path { stroke: #8c959f; fill: none }
.accepted rect { stroke: #1a7f37; fill: #dafbe1 }
.refused rect { stroke: #cf222e; fill: #ffebe9 }
.refused .word { text-decoration: line-through }
.skipped rect { stroke-dasharray: 3 3 }
.skipped .word { fill: #59636e }
.extra rect { stroke: #0969da; fill: #ddf4ff; stroke-width: 2.5 }
.own rect { stroke: #0969da }
.cut { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 6 4 }
.cutlabel { fill: #bc4c00; font-size: 11px }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.label, .note, .skipped .word { fill: #9198a1 }
.accepted rect { stroke: #3fb950; fill: #12351d }
.refused rect { stroke: #f85149; fill: #3d1519 }
.extra rect { stroke: #58a6ff; fill: #10294a }
.own rect { stroke: #58a6ff }
.cut { stroke: #db6d28 }
.cutlabel { fill: #f0883e }
}
"""


def draw(name: str) -> str:
    """The picture of a method, as SVG text."""
    picture = PICTURES[name]
    columns = max(row.start + len(row.tokens) for row in picture.rows)
    kinds = {token.kind for row in picture.rows for token in row.tokens}
    width = max(LEFT + columns * COLUMN, 720)
    height = TOP + len(picture.rows) * LINE + 34
    parts = [f'<text class="says" x="12" y="24">{escape(picture.says)}</text>']
    for number, row in enumerate(picture.rows):
        parts += _row(number, row)
    parts += _cut(picture)
    parts += _legend([kind for kind in LEGEND if kind in kinds], height)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n<title>{escape(name)}: {escape(picture.says)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _place(row: int, column: int) -> tuple[int, int]:
    """The upper left corner of a token's box."""
    return LEFT + column * COLUMN, TOP + row * LINE


def _row(number: int, row: Row) -> list[str]:
    middle = TOP + number * LINE + BOX_HEIGHT // 2
    parts = [f'<text class="label" x="12" y="{middle + 4}">{escape(row.label)}</text>'] if row.label else []
    if row.parent is not None:
        x, y = _place(*row.parent)
        start_x, start_y = x + BOX_WIDTH, y + BOX_HEIGHT // 2
        end_x = _place(number, row.start)[0]
        bend = start_x + (COLUMN - BOX_WIDTH) // 2
        parts.append(f'<path d="M{start_x} {start_y}H{bend}V{middle}H{end_x}"/>')
    for index, token in enumerate(row.tokens):
        x, y = _place(number, row.start + index)
        if index:
            parts.append(f'<path d="M{x - COLUMN + BOX_WIDTH} {middle}H{x}"/>')
        centre = x + BOX_WIDTH // 2
        parts.append(
            f'<g class="{token.kind}"><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5"/>'
            f'<text class="word" x="{centre}" y="{y + 19}">{escape(token.text)}</text></g>'
        )
        if token.note:
            parts.append(f'<text class="note" x="{centre}" y="{y + BOX_HEIGHT + 14}">{escape(token.note)}</text>')
    return parts


def _cut(picture: Picture) -> list[str]:
    """A line through what was drafted, not through the text that came of it."""
    if picture.cut is None:
        return []
    x = _place(0, picture.cut)[0] + BOX_WIDTH + (COLUMN - BOX_WIDTH) // 2
    bottom = TOP + (len(picture.rows) - 1) * LINE - 10
    return [
        f'<path class="cut" d="M{x} {TOP - 6}V{bottom}"/>',
        f'<text class="cutlabel" x="{x}" y="{TOP - 8}">cut</text>',
    ]


def _legend(kinds: list[str], height: int) -> list[str]:
    parts = []
    for index, kind in enumerate(kinds):
        x, y = 12 + index * 140, height - 22
        parts.append(f'<g class="{kind}"><rect x="{x}" y="{y}" width="14" height="12" rx="3"/></g>')
        parts.append(f'<text class="label" x="{x + 20}" y="{y + 10}">{LEGEND[kind]}</text>')
    return parts


if __name__ == "__main__":
    for method in PICTURES:
        Path(__file__).with_name(f"{method}.svg").write_text(draw(method), encoding="utf-8")
