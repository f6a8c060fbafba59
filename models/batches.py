"""Training batches in which the questions about one schema share its tokens.

A row is one schema followed by several questions with their answers. Each question sees the schema and itself, never
its neighbours, and its positions continue the schema's: to the model it is the prompt that a server will send, but the
schema is read once for all of them, which halves the tokens of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from transformers import PreTrainedTokenizerBase

from tandem.evaluation.text_to_sql import TrainingExample, training
from tandem.evaluation.text_to_sql.task import QUESTIONS_PER_SCHEMA

LENGTH_STEP = 32  # rows are padded to a multiple of it, so that few shapes occur


@dataclass(frozen=True)
class Batch:
    """`targets` are the tokens that follow at the `answers` positions of the flattened batch."""

    tokens: torch.Tensor  # [rows, length]
    positions: torch.Tensor  # [rows, length]
    mask: torch.Tensor  # [rows, 1, length, length], true where attention is allowed
    answers: torch.Tensor  # [answers], indices into rows * length
    targets: torch.Tensor  # [answers]


@dataclass(frozen=True)
class _Row:
    tokens: list[int]
    positions: list[int]
    segments: list[int]  # 0 for the schema, then the number of the question
    answers: list[int]
    targets: list[int]


def batches(tokenizer: PreTrainedTokenizerBase, seed: int, num_rows: int) -> Iterator[Batch]:
    """Batches of `num_rows` schemas without end."""
    examples = training(seed)
    while True:
        rows = [_row(tokenizer, list(islice(examples, QUESTIONS_PER_SCHEMA))) for _ in range(num_rows)]
        yield _batch(rows)


def _row(tokenizer: PreTrainedTokenizerBase, examples: list[TrainingExample]) -> _Row:
    head, _ = examples[0].prompt.split("\n", 1)
    tails = [example.prompt[len(head) :] for example in examples]
    answers = [f" {example.annotated_sql}{tokenizer.eos_token}" for example in examples]
    encoded: list[list[int]] = tokenizer([head, *tails, *answers])["input_ids"]
    schema, questions, replies = encoded[0], encoded[1 : len(tails) + 1], encoded[len(tails) + 1 :]
    row = _Row(list(schema), list(range(len(schema))), [0] * len(schema), [], [])
    for number, (question, reply) in enumerate(zip(questions, replies, strict=True), start=1):
        first = len(row.tokens) + len(question) - 1  # the last token of the prompt predicts the first of the answer
        row.answers.extend(range(first, first + len(reply)))
        row.targets.extend(reply)
        added = [*question, *reply[:-1]]
        row.tokens.extend(added)
        row.positions.extend(range(len(schema), len(schema) + len(added)))
        row.segments.extend([number] * len(added))
    return row


def _batch(rows: list[_Row]) -> Batch:
    length = -(-max(len(row.tokens) for row in rows) // LENGTH_STEP) * LENGTH_STEP
    tokens, positions = (torch.zeros(len(rows), length, dtype=torch.long) for _ in range(2))
    segments = torch.full((len(rows), length), -1)
    for index, row in enumerate(rows):
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        positions[index, : len(row.tokens)] = torch.tensor(row.positions)
        segments[index, : len(row.tokens)] = torch.tensor(row.segments)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    related = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    answers = [index * length + place for index, row in enumerate(rows) for place in row.answers]
    targets = [token for row in rows for token in row.targets]
    return Batch(tokens, positions, (causal & related)[:, None], torch.tensor(answers), torch.tensor(targets))
