"""The tables of a run of `tandem bench`, from its ``bench.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tandem.bench.report import FILE_NAME, SCHEMA

Row = Mapping[str, Any]


def speed(folder: Path) -> Iterator[str]:
    """What was run, tokens per second with ratios, latencies, rounds and memory."""
    document = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA:
        raise SystemExit(f"{folder} has figures of schema {document['schema']}; expected {SCHEMA}: run it anew")
    yield _what(document)
    yield ""
    yield from _throughput(document)
    yield ""
    yield from _latency(document)
    if document["rounds"]:
        yield ""
        yield from _rounds(document)
    if document["resident_bytes"]:
        yield ""
        yield _memory(document)


def _what(document: Row) -> str:
    where, plan = document["environment"], document["plan"]
    wide = f" widened to {where['widened_to']}" if where["widened_to"] else ""
    compiled = ", our models compiled" if where["compiled"] else ""
    kind = "greedy" if plan["temperature"] == 0 else f"temperature {plan['temperature']:g}"
    return (
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads a process, "
        f"{where['dtype']}{compiled}; target of {where['target_parameters'] / 1e6:.1f}M parameters{wide}, "
        f"draft {where['draft_parameters'] / 1e6:.1f}M; {kind}, γ = {plan['draft_length']}, "
        f"{plan['max_tokens']} tokens a text, {plan['repetitions']} repetitions; "
        f"torch {where['versions']['torch']}, transformers {where['versions']['transformers']}. 95% intervals in "
        "brackets."
    )


def _throughput(document: Row) -> Iterator[str]:
    first = document["figures"][0]["contender"]
    ratios = {
        (each["contender"], each["concurrency"], each["over"], each["over_concurrency"]): each["value"]
        for each in document["ratios"]
    }
    yield f"| at once | | tokens/s | `{first}` over it | over itself alone |"
    yield "|---" * 5 + "|"
    for row in document["figures"]:
        name, level = row["contender"], row["concurrency"]
        over = ratios.get((first, level, name, level))
        alone = ratios.get((name, level, name, 1))
        cells = (_estimate(row["tokens_per_second"], 0), _estimate(over, 2), _estimate(alone, 2))
        yield f"| {level} | `{name}` | {' | '.join(cells)} |"


def _latency(document: Row) -> Iterator[str]:
    yield "| at once | | ms to the first token: p50, p95, p99 | ms a token after it | ms between arrivals |"
    yield "|---" * 5 + "|"
    for row in document["figures"]:
        names = ("time_to_first_token", "time_per_output_token", "inter_token")
        spreads = (_spread(row[name], ("p50", "p95", "p99")) for name in names)
        yield f"| {row['concurrency']} | `{row['contender']}` | {' | '.join(spreads)} |"


def _rounds(document: Row) -> Iterator[str]:
    rounds = document["rounds"]
    yield "| of a round, ms: p50, p95 | " + " | ".join(f"{each['concurrency']} at once" for each in rounds) + " |"
    yield "|---" * (1 + len(rounds)) + "|"
    for name in rounds[0]["stages"]:
        cells = (_spread(each["stages"].get(name), ("p50", "p95")) for each in rounds)
        yield f"| {name} | {' | '.join(cells)} |"


def _memory(document: Row) -> str:
    parts = [
        f"{role} {sizes[0] / 2**20:.0f} → {sizes[-1] / 2**20:.0f}" for role, sizes in document["resident_bytes"].items()
    ]
    return f"Resident memory in MiB, after the first turn → after the last: {', '.join(parts)}."


def _estimate(value: Row | None, digits: int) -> str:
    if value is None:
        return ""
    text = f"{value['value']:.{digits}f}"
    return text if value["low"] is None else f"{text} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _spread(value: Row | None, names: tuple[str, ...]) -> str:
    return "" if value is None else ", ".join(f"{1e3 * value[name]:.2f}" for name in names)
