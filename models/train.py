"""Make the shipped pair.

    python models/train.py tokenizer
    python models/train.py target --minutes 70
    python models/train.py draft --minutes 5
    python models/train.py export target

A run that was cut goes on from its last checkpoint when the same command is given again. The learning rate falls with
the time trained, not with the steps, so that a run ends when it should on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from architectures import configuration
from batches import Batch, batches
from checkpoints import Progress, load, save
from transformers import GenerationConfig, LlamaForCausalLM
from vocabulary import learn
from vocabulary import load as load_tokenizer

from tandem.evaluation.text_to_sql.task import QUESTIONS_PER_SCHEMA

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "models"
WARM_UP_STEPS = 100
LOG_EVERY = 50  # steps
SAVE_EVERY = 180.0  # seconds


def make_optimizers(model: LlamaForCausalLM, muon: bool) -> list[torch.optim.Optimizer]:
    """AdamW for embeddings and norms, and for the layers' matrices AdamW or Muon."""
    matrices = [parameter for name, parameter in model.named_parameters() if "layers." in name and parameter.ndim == 2]
    inside = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    if not muon:
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, betas=(0.9, 0.98))]
    return [
        torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, in nats."""
    mask = torch.zeros(batch.mask.shape).masked_fill_(~batch.mask, -1e9)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(
            input_ids=batch.tokens, attention_mask=mask, position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[batch.answers])
    return torch.nn.functional.cross_entropy(logits.float(), batch.targets)


def share_done(progress: Progress, args: argparse.Namespace) -> float:
    """How much of a run is over, by its time or, where they are limited, by its examples."""
    by_time = progress.elapsed_seconds / (args.minutes * 60)
    return float(max(by_time, progress.num_examples / args.examples) if args.examples else by_time)


def train(role: str, args: argparse.Namespace) -> None:
    """Train one model for `args.minutes`, from its last checkpoint if it has one."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    folder = BUILD / args.run
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(HERE / "target")
    shape = configuration(role, tokenizer)
    shape._attn_implementation = "eager"  # the quicker one here, under autocast with masks of this size
    model = LlamaForCausalLM(shape)
    model.train()
    optimizers = make_optimizers(model, args.muon)
    progress = load(folder, model, optimizers)
    # A resumed run reads a stream of its own: examples are made, not stored, so there is no place to go back to.
    stream = batches(tokenizer, args.seed * 1_000_000 + progress.step, args.rows)
    log = folder / "log.jsonl"
    _append(log, {"begin": role} | {name: value for name, value in vars(args).items() if name not in ("what", "role")})
    _run(model, optimizers, stream, progress, folder, args)
    save(folder, model, optimizers, progress)
    _append(log, {"end": role, "seconds": round(progress.elapsed_seconds), "examples": progress.num_examples})


def _run(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    stream: Iterator[Batch],
    progress: Progress,
    folder: Path,
    args: argparse.Namespace,
) -> None:
    began = time.monotonic() - progress.elapsed_seconds
    saved_at, losses = time.monotonic(), torch.zeros(0)
    while (remaining := 1 - share_done(progress, args)) > 0:
        batch = next(stream)
        learning_rate = args.learning_rate * min(1.0, (progress.step + 1) / WARM_UP_STEPS) * max(remaining, 0.01)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        loss = loss_of(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses = torch.cat([losses, loss.detach()[None]])
        progress.step += 1
        progress.num_examples += len(batch.tokens) * QUESTIONS_PER_SCHEMA
        progress.num_tokens += batch.tokens.numel()
        progress.num_answer_tokens += batch.targets.numel()
        progress.elapsed_seconds = time.monotonic() - began
        if progress.step % LOG_EVERY == 0:
            line = {"step": progress.step, "loss": round(losses.mean().item(), 4), "lr": round(learning_rate, 6)}
            line |= {"seconds": round(progress.elapsed_seconds), "tokens": progress.num_tokens}
            _append(folder / "log.jsonl", line)
            losses = torch.zeros(0)
        if time.monotonic() - saved_at > SAVE_EVERY:
            save(folder, model, optimizers, progress)
            saved_at = time.monotonic()


def _append(path: Path, line: dict[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def export(role: str, run: str) -> None:
    """Write the last checkpoint of a run to the role's folder, in bfloat16, beside the tokenizer."""
    tokenizer = load_tokenizer(HERE / "target")
    model = LlamaForCausalLM(configuration(role, tokenizer))
    load(BUILD / run, model, [])
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=96
    )
    model.bfloat16().save_pretrained(HERE / role)
    if role != "target":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(HERE / "target" / name, HERE / role / name)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tokenizer", "target", "draft", "export"))
    parser.add_argument("role", nargs="?", choices=("target", "draft"), help="what to export")
    parser.add_argument("--run", help="name of the run's folder under build/models (default: the role)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--examples", type=int, help="end after so many training examples, if that is sooner")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rows", type=int, default=8, help="schemas a step, six questions each")
    parser.add_argument("--muon", action="store_true", help="Muon for the layers' matrices instead of AdamW")
    args = parser.parse_args()
    args.run = args.run or (args.role if args.what == "export" else args.what)
    if args.what == "tokenizer":
        learn(HERE / "target", args.seed)
    elif args.what == "export":
        export(args.role, args.run)
    else:
        train(args.what, args)


if __name__ == "__main__":
    main()
