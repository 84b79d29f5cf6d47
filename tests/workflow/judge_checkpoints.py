"""Judge checkpoints with plain transformers, as somebody would who has nothing else.

Usage: judge_checkpoints.py RESULTS, where RESULTS is a study's directory of results. Writes one
JSON object: the evaluation loss and accuracy of each checkpoint directory.
"""

import csv
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)


def main(results: Path) -> None:
    """Judge every checkpoint of a study on its validation equations."""
    assert importlib.util.find_spec("gpt_math_domains") is None
    judged = {
        str(directory.relative_to(results)): judge(directory)
        for phase, judge in (("pretrain", judge_answers), ("finetune", judge_labels))
        for directory in results.glob(f"{phase}/**/seed_*")
    }
    print(json.dumps(judged))


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def encode(directory: Path, equations: list[dict[str, str]]) -> Any:
    """Return the equations' tokens, padded with the end, and their mask."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    batch = tokenizer(
        [row["equation"] for row in equations],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    for row, tokens in zip(equations, batch["input_ids"].tolist(), strict=True):
        told = [int(token) for token in row["tokens"].split()]
        assert tokens == told + [tokenizer.eos_token_id] * (len(tokens) - len(told)), row
    return batch


@torch.no_grad()
def judge_answers(directory: Path) -> dict[str, float]:
    """Judge a language model: pretrain/data_D/model_M/seed_S."""
    results, data = directory.parents[3], directory.parents[1].name.removeprefix("data_")
    equations = rows(results / "data" / data / "valid.csv")
    tokens = encode(directory, equations)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    end = torch.tensor([model.config.eos_token_id])
    loss, terms, right = 0.0, 0, 0
    for row, sequence in zip(equations, tokens, strict=True):
        length, start = len(row["tokens"].split()), int(row["answer_start"])
        sequence = torch.cat([sequence[:length], end])
        scores = model(sequence[None, :-1]).logits[0].log_softmax(-1)
        targets = sequence[1:]
        loss -= scores.gather(1, targets[:, None]).sum().item()
        terms += length
        predicted = scores.argmax(-1)[start - 1 : length - 1]
        right += bool((predicted == targets[start - 1 : length - 1]).all())
    return {"eval_loss": loss / terms, "accuracy": right / len(equations)}


@torch.no_grad()
def judge_labels(directory: Path) -> dict[str, float]:
    """Judge a classifier: finetune/domain_L/data_D/model_M/PROTOCOL/seed_S."""
    results, data = directory.parents[5], directory.parents[2].name
    domain = directory.parents[3].name.removeprefix("domain_")
    equations = rows(results / "data" / data.removeprefix("data_") / "valid.csv")
    labelled = rows(results / "domains" / domain / data / "valid.csv")
    assert [row["tokens"] for row in labelled] == [row["tokens"] for row in equations]
    batch = encode(directory, equations)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    targets = torch.tensor([[float(row[name]) for name in names] for row in labelled])
    logits = model(**batch).logits
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    right = (logits > 0) == (targets > 0)
    return {"eval_loss": loss.item(), "accuracy": right.double().mean().item()}


main(Path(sys.argv[1]))
