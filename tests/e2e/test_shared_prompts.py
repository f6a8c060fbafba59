"""A prompt that was computed is not computed again, by target or draft; sessions of another salt compute their own."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tandem import Client
from tandem.tokenization import Tokenizer
from tests.e2e.running import Up

STEM = "select name, age from people where name = 'ann' and age = 3 or name = 'bob' and age = 4 or name = 'eve' "
BLOCK_SIZE = 16


class Counted:
    """What replicas of a role have counted since this was made."""

    def __init__(self, stack: Up, role: str) -> None:
        [self._url] = [process["metrics"] for process in stack.told["processes"] if process["role"] == role]
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        with urllib.request.urlopen(self._url, timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}

    def __call__(self, name: str) -> float:
        return self._read()[f"tandem:{name}"] - self._before[f"tandem:{name}"]


def test_prompts_that_begin_alike_are_computed_once(client: Client, stack: Up, tiny_pair: tuple[Path, Path]) -> None:
    tokenizer = Tokenizer.from_pretrained(tiny_pair[0])
    shared = len(tokenizer.encode(STEM)) // BLOCK_SIZE * BLOCK_SIZE
    assert shared >= 2 * BLOCK_SIZE
    asked = {"method": "coupled", "seed": 4, "max_tokens": 8, "ignore_eos": True}
    first = client.generate(STEM + "a", **asked)  # type: ignore[arg-type]
    for role in ("verify", "draft"):
        count = Counted(stack, role)
        again = client.generate(STEM + "a", **asked)  # type: ignore[arg-type]
        assert again.token_ids == first.token_ids
        salted = client.generate(STEM + "a", cache_salt=f"of {role}", **asked)  # type: ignore[arg-type]
        assert salted.token_ids == first.token_ids
        assert count("prefix_cache_queries_total") == 2 * (len(first.prompt_token_ids) - 1)
        assert shared <= count("prefix_cache_hits_total") < len(first.prompt_token_ids)
        assert count("kv_cache_usage_perc") < 0.1
