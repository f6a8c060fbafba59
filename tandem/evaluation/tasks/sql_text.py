"""What the text of a query tells without running it."""

from __future__ import annotations

import re

# Comments and everything quoted, then the brackets and words that are left.
_PARTS = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \[[^\]]*\] | (?P<token>[()] | \w+)""",
    re.DOTALL | re.VERBOSE,
)


def orders(sql: str) -> bool:
    """Whether a query orders its result: ``ORDER BY`` outside of all brackets, quotes and comments."""
    depth = 0
    previous = ""
    for match in _PARTS.finditer(sql):
        token = (match["token"] or "").lower()
        if not token:
            continue
        depth += (token == "(") - (token == ")")
        if depth == 0 and (previous, token) == ("order", "by"):
            return True
        previous = token
    return False
