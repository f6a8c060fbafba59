"""What the gate found, for those who read it: JUnit for build servers, Markdown for pull requests."""

from __future__ import annotations

from xml.etree import ElementTree

from tandem.evaluation.gate import Comparison

_HEADINGS = ("task", "configuration", "figure", "base", "new", "worse by", "at most", "limit", "verdict")
_MARKS = {"ok": "✅ within limits", "unclear": "❔ cannot tell", "drifted": "❌ drifted"}


def junit(comparison: Comparison) -> str:
    """One test case a check; those that drifted are failures, those that cannot be told are passed with a remark."""
    suite = ElementTree.Element(
        "testsuite",
        name="tandem eval compare",
        tests=str(len(comparison.checks)),
        failures=str(len(comparison.having("drifted"))),
    )
    for check in comparison.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{check.task}.{check.configuration}", name=check.figure
        )
        if check.verdict == "drifted":
            ElementTree.SubElement(case, "failure", message=check.reason)
        elif check.verdict == "unclear":
            ElementTree.SubElement(case, "system-out").text = f"cannot tell: {check.reason}"
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def markdown(comparison: Comparison) -> str:
    """A heading with the verdict, a table with a row a check, and the notes."""
    drifted = comparison.having("drifted")
    lines = [f"### {headline(comparison)}", ""]
    lines += [f"- **{check.reason}**" for check in drifted] + ([""] if drifted else [])
    lines += [f"| {' | '.join(_HEADINGS)} |", "|---" * len(_HEADINGS) + "|"]
    for check in comparison.checks:
        cells = (
            check.task,
            f"`{check.configuration}`",
            check.figure,
            check.base,
            check.new,
            check.drift,
            check.highest,
            check.limit,
            _MARKS[check.verdict],
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [""] + [f"- {note}" for note in comparison.notes]
    return "\n".join(lines).rstrip() + "\n"


def headline(comparison: Comparison) -> str:
    """The verdict in a line."""
    drifted, unclear = comparison.having("drifted"), comparison.having("unclear")
    if drifted:
        return f"Drifted: {len(drifted)} of {len(comparison.checks)} checks fail"
    if unclear:
        return (
            f"No drift beyond noise; {len(unclear)} of {len(comparison.checks)} checks have too few samples to exclude "
            "one beyond its limit"
        )
    return f"No drift: all {len(comparison.checks)} checks are within their limits"
