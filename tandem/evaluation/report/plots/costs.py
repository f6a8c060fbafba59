"""Where a round's time goes and, where it was measured, where a token's energy goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.canvas import Drawn, begin_axes
from tandem.evaluation.report.palette import LIGHT, Look
from tandem.evaluation.report.plots.axes import name_rows, row_height

STAGES = ("draft", "serialise", "wire", "queue", "forward", "judge", "commit", "emit")
ROLES = ("draft", "verify")
LEGEND_COLUMNS = 6


def stages(rows: Sequence[Figures], looks: dict[str, Look]) -> Drawn | None:
    """Median time by stage of a round; None where no round was traced."""
    shown = [row for row in rows if row.stage_seconds]
    if not shown:
        return None
    parts = [{stage: 1e3 * row.stage_seconds.get(stage, 0.0) for stage in STAGES} for row in shown]
    caption = (
        "Median of each stage over the rounds of traced samples. Draft: the draft model; serialise: messages; wire: "
        "to the verify service and back; queue: waiting there; forward: the target's pass; judge: accept or refuse; "
        "commit: to the store; emit: to the client. A median round need not take the sum of these."
    )
    drawn = _stacked(shown, parts, STAGES, "milliseconds a round", "{:.1f}", looks)
    return Drawn("stages", "Time by stage of a round", caption, drawn)


def energy(rows: Sequence[Figures], looks: dict[str, Look]) -> Drawn | None:
    """Joules a token by role; None where they were not measured in any configuration."""
    shown = [row for row in rows if row.draft_joules_per_token is not None or row.verify_joules_per_token is not None]
    if not shown:
        return None
    parts = [
        {"draft": row.draft_joules_per_token or 0.0, "verify": row.verify_joules_per_token or 0.0} for row in shown
    ]
    missing = [
        f"{row.label}: {role} not measured"
        for row in rows
        for role, joules in (("draft", row.draft_joules_per_token), ("verify", row.verify_joules_per_token))
        if joules is None
    ]
    caption = "Joules a generated token, from hardware counters." + "".join(f" {note}." for note in missing)
    drawn = _stacked(shown, parts, ROLES, "joules a token (lower is better)", "{:.3g}", looks)
    return Drawn("energy", "Energy by role", caption, drawn)


def _stacked(
    rows: Sequence[Figures],
    parts: Sequence[Mapping[str, float]],
    names: Sequence[str],
    axis: str,
    form: str,
    looks: dict[str, Look],
) -> Figure:
    legend_rows = -(-len(names) // LEGEND_COLUMNS)
    figure, axes = begin_axes(76 + 16 * legend_rows + row_height(len(rows)) * len(rows))
    ends = [0.0] * len(rows)
    for name in names:
        widths = [part[name] for part in parts]
        axes.barh(
            range(len(rows)),
            widths,
            left=ends,
            height=0.66,
            color=LIGHT["forward" if name == "verify" else name],
            edgecolor=LIGHT["paper"],
            linewidth=0.6,
            label=name,
        )
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for index, end in enumerate(ends):
        axes.annotate(
            form.format(end),
            (end, index),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=LIGHT["muted"],
        )
    name_rows(axes, rows, looks)
    axes.set_xlabel(axis)
    axes.set_xlim(0, 1.14 * max(ends, default=0.0) or 1.0)
    columns = -(-len(names) // legend_rows)
    figure.legend(loc="outside upper left", ncols=columns, handlelength=1.1, columnspacing=1.0, handletextpad=0.4)
    return figure
