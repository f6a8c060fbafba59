"""The text-to-SQL task: its splits, its annotator, its databases and the shipped tokenizer, on real SQLite."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tandem.evaluation.text_to_sql import Example, execution_match, held_out, training
from tandem.evaluation.text_to_sql.annotator import ERROR_SHARES, annotate
from tandem.evaluation.text_to_sql.questions import random_draft
from tandem.evaluation.text_to_sql.schemas import is_held_out_pair, random_schema

TOKENIZER = Path(__file__).parents[2] / "models" / "target" / "tokenizer.json"


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return held_out(1000)


def test_held_out_is_the_same_every_time_and_a_limit_only_cuts_it(examples: list[Example]) -> None:
    assert held_out(50) == examples[:50]
    assert held_out(50, seed=1) != examples[:50]
    assert len(held_out()) >= 2000


def test_every_gold_query_runs_and_matches_itself(examples: list[Example]) -> None:
    assert all(execution_match(example, example.gold_sql) for example in examples)


def test_gold_queries_seldom_give_nothing(examples: list[Example]) -> None:
    empty = sum(not example.database().execute(example.gold_sql).fetchall() for example in examples)
    assert empty < len(examples) * 0.03


def test_no_schema_or_linked_pair_of_tables_is_in_both_splits(examples: list[Example]) -> None:
    trained = {example.schema for example in islice(training(seed=1), 6000)}
    assert not trained & {example.schema for example in examples}
    assert not any(is_held_out_pair(c.name, p.name) for schema in trained for c, p in schema.links())
    assert all(is_held_out_pair(c.name, p.name) for example in examples for c, p in example.schema.links())


def test_training_is_the_same_for_one_seed_only() -> None:
    first, again, other = (list(islice(training(seed), 30)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_annotator_errs_in_the_shares_it_states() -> None:
    rng = random.Random(0)
    seen: Counter[str] = Counter()
    erred: Counter[str] = Counter()
    for _ in range(20_000):
        draft = random_draft(rng, random_schema(rng, held_out=False))
        decisions = draft.decisions()
        if len(decisions) == 1:  # with one decision, any difference is its error
            seen[decisions[0].kind] += 1
            erred[decisions[0].kind] += annotate(draft, rng) != draft.sql()
    for kind, share in ERROR_SHARES.items():
        if seen[kind] > 400:
            assert erred[kind] / seen[kind] == pytest.approx(share, abs=0.06), kind
    assert sum(count > 400 for count in seen.values()) >= 3


def test_every_error_share_survives_truncation_and_never_wins() -> None:
    assert all(0.12 < share < 0.4 for share in ERROR_SHARES.values())


def test_favourite_errors_mostly_change_the_result() -> None:
    rng = random.Random(1)
    num_decisions = num_noticed = 0
    for index in range(600):
        schema = random_schema(rng, held_out=True)
        draft = random_draft(rng, schema)
        example = Example(str(index), "", draft.question, schema, draft.sql(), draft.ordered)
        for place in range(len(draft.decisions())):
            num_decisions += 1
            num_noticed += not execution_match(example, draft.sql(frozenset({place})))
    assert num_decisions / 600 > 1.5
    assert num_noticed / num_decisions > 0.8


def test_order_counts_only_where_the_gold_query_orders(examples: list[Example]) -> None:
    example = next(e for e in examples if e.ordered and "LIMIT" not in e.gold_sql and "DESC" in e.gold_sql)
    backwards = example.gold_sql.replace(" DESC", "")
    assert not execution_match(example, backwards)
    assert execution_match(replace(example, ordered=False), backwards)


def test_repeated_rows_count(examples: list[Example]) -> None:
    example = next(e for e in examples if e.gold_sql.startswith("SELECT DISTINCT"))
    assert not execution_match(example, example.gold_sql.replace("DISTINCT ", ""))


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT",
        "SELECT nothing FROM nowhere",
        "DELETE FROM sqlite_master",
        "SELECT 1; SELECT 2",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
        "SELECT '\x00",
    ],
)
def test_broken_and_runaway_queries_do_not_match(examples: list[Example], sql: str) -> None:
    assert not execution_match(examples[0], sql)


def test_a_database_is_always_the_same_and_cannot_be_written(examples: list[Example]) -> None:
    first, again = examples[0].database(), examples[0].database()
    assert list(first.iterdump()) == list(again.iterdump())
    name = examples[0].schema.tables[0].name
    with pytest.raises(sqlite3.OperationalError):
        first.execute(f"DELETE FROM {name}")


def test_a_prompt_is_tokenized_as_the_beginning_of_the_whole(examples: list[Example]) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    for example in examples[:200]:
        prompt = tokenizer.encode(example.prompt).ids
        whole = tokenizer.encode(f"{example.prompt} {example.gold_sql}<|end|>").ids
        assert whole[: len(prompt)] == prompt
        assert tokenizer.decode(whole[len(prompt) :], skip_special_tokens=True) == f" {example.gold_sql}"
        assert len(prompt) <= 150
        assert len(whole) - len(prompt) <= 60
