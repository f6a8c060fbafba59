"""Execution accuracy of one model of the pair on held-out questions, greedy and sampled.

python models/evaluate.py models/target models/draft --questions 300
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tandem.evaluation.text_to_sql import Example, execution_match, held_out

SAMPLING = {"do_sample": True, "temperature": 1.0, "top_k": 10, "top_p": 0.9}
GREEDY = {"do_sample": False}


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: list[Example], batch_size: int, **how: object
) -> list[str]:
    """The model's query for each example, in order."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].prompt))
    texts = [""] * len(examples)
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        inputs = tokenizer([examples[index].prompt for index in chosen], return_tensors="pt", padding=True)
        output = model.generate(  # type: ignore[operator]
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=96, **how
        )
        new = output[:, inputs["input_ids"].shape[1] :]
        for index, text in zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            texts[index] = text
    return texts


def accuracy(examples: list[Example], texts: list[str]) -> float:
    """The share of queries that match, in percent."""
    return 100 * sum(map(execution_match, examples, texts)) / len(examples)


def main() -> None:
    """Evaluate the folders named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the held-out questions and of sampling")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--show", type=int, default=0, help="how many wrong greedy answers to print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    examples = held_out(args.questions, args.seed)
    for folder in args.folders:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        began = time.monotonic()
        greedy = answers(model, tokenizer, examples, args.batch, **GREEDY)
        torch.manual_seed(args.seed)
        sampled = answers(model, tokenizer, examples, args.batch, **SAMPLING)
        figures = {
            "model": str(folder),
            "questions": len(examples),
            "greedy": round(accuracy(examples, greedy), 1),
            "sampled": round(accuracy(examples, sampled), 1),
            "seconds": round(time.monotonic() - began),
        }
        print(json.dumps(figures), flush=True)
        wrong = [pair for pair in zip(examples, greedy, strict=True) if not execution_match(*pair)]
        for example, text in wrong[: args.show]:
            print(f"{example.prompt}\n  right: {example.gold_sql}\n  given:{text}\n")


if __name__ == "__main__":
    main()
