"""What can be chosen on the page, as data: methods, their dials, and how far each goes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orchestrator.openai.served import ServedModel
from orchestrator.playground.bodies import GenerateBody
from tandem.decoding.methods import METHODS
from tandem.decoding.values import Sampling, Speculation
from tandem.requests import default_threshold

MAX_TOKENS = 128
"""Of a text, unless the page asks otherwise."""

IN_A_WORD = {
    "autoregressive": "One token a pass of the target: the reference.",
    "speculative": "Judges one drafted sequence token by token; exactly the target's distribution.",
    "block": "Judges a drafted block as a whole; exactly the target's distribution.",
    "coupled": "Drafts with the target's own noise: the text of autoregressive with the same seed, only faster.",
    "specinfer": "A tree of candidates, judged sibling by sibling; exactly the target's distribution.",
    "typical": "Medusa's rule: keeps what the target finds plausible.",
    "bild": "Big Little Decoder: drafts while the draft is sure, rolls back where the target is surprised.",
    "mtjd": "The target drafts whole blocks for itself: the ideal that mtad approximates.",
    "mtad": "Drafts a whole sequence by joint probability and keeps the longest prefix that the target's supports.",
    "mmtad": "Drafts several beams as one tree and keeps the deepest that the target's joint probability supports.",
}


def choices(served: ServedModel, defaults: Speculation, *, with_examples: bool) -> dict[str, Any]:
    """Everything that the form shows."""
    standard = Sampling()
    methods = [
        {
            "name": method.name,
            "words": IN_A_WORD[method.name],
            "lossless": method.lossless,
            "dials": sorted(method.dials),
            "threshold": round(default_threshold(method, defaults), 4),
        }
        for method in METHODS.values()
    ]
    sampling = {"temperature": standard.temperature, "top_k": standard.top_k, "top_p": standard.top_p}
    return {
        "model": served.id,
        "max_positions": served.max_positions,
        "methods": methods,
        "defaults": asdict(defaults) | sampling | {"max_tokens": MAX_TOKENS},
        "bounds": _bounds(),
        "with_examples": with_examples,
    }


def _bounds() -> dict[str, dict[str, float]]:
    """Of each number that a request can have, as the request's own schema states them."""
    names = {"minimum": "min", "exclusiveMinimum": "above", "maximum": "max", "exclusiveMaximum": "below"}
    found = {}
    for field, schema in GenerateBody.model_json_schema()["properties"].items():
        number = next((one for one in schema.get("anyOf", ()) if one["type"] in ("integer", "number")), None)
        if number is not None:
            found[field] = {short: number[name] for name, short in names.items() if name in number}
            found[field]["whole"] = number["type"] == "integer"
    return found
