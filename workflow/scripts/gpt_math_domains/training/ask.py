"""Asking the models of a finished run: answers to equations, or which labels hold for them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gpt_math_domains.data.questions import Question, parse_question
from gpt_math_domains.data.tables import Equations, read_equations, read_labels
from gpt_math_domains.data.vocabulary import LONGEST, Vocabulary, read_vocabulary
from gpt_math_domains.files import read_json
from gpt_math_domains.jobs.record import require_inputs
from gpt_math_domains.results.answers import SPLITS
from gpt_math_domains.run import HEAD, RECORD
from gpt_math_domains.training.answers import answer_number, answer_prompts, written_answers
from gpt_math_domains.training.checkpoint import read_checkpoints, read_classifiers
from gpt_math_domains.training.model import forward, keep

OTHERS = 3
"""How many answers are told beside the one given."""


class Asked(NamedTuple):
    """A run that is asked.

    run: its keys.
    seeds: in the order of `checkpoints`.
    checkpoints: a directory for each seed.
    vocabulary: of the models.
    tables: the equations trained on, and those of validation, by split.
    files: what it was made with, as `require_inputs` returns it.
    """

    run: Mapping[str, Any]
    seeds: Sequence[int]
    checkpoints: Sequence[Path]
    vocabulary: Vocabulary
    tables: Mapping[str, Equations]
    files: Mapping[str, Path]


def ask(directory: str | Path, equations: Sequence[str]) -> list[dict[str, Any]]:
    """Ask all seeds of a finished run.

    Args:
        directory: of the run, such as `results/pretrain/data_1/model_2`.
        equations: such as `3 + 4 =(m) 5` or `2-5=`; an answer may follow.

    Returns:
        For each equation a mapping with `equation`, as the models were shown it, and `split`, the
        part of the data that it stood in, or None. Of pretrained models also `truth`, and for each
        of `seeds` and over all of them (`mean`, from the mean probabilities) the `answer`, its
        `probability`, whether it is `right`, and `others`, the most probable other answers. Of
        finetuned ones also the `labels`: `truth`, None if it is not known, the probability
        that each of `seeds` gives to each label, and the `mean` of these.

    Raises:
        ValueError: an equation is none of the models' vocabulary, or a file is malformed or not the
            one that the run was made with; one line.
        OSError: a file cannot be read.
    """
    asked = _read_run(Path(directory))
    questions = [parse_question(text, asked.vocabulary) for text in equations]
    if not questions:
        return []
    if asked.run["phase"] == "pretrain":
        return list(_answers(asked, questions))
    shown = [
        _complete(question, text, asked.vocabulary)
        for question, text in zip(questions, equations, strict=True)
    ]
    return list(_labels(asked, shown))


def describe(told: Mapping[str, Any]) -> str:
    """Return what `ask` tells of one equation, as lines of text."""
    where = "not in the data" if told["split"] is None else f"in {told['split']}"
    if "labels" in told:
        lines = [f"{told['equation']}   {where}"]
        names = [f"seed {seed}" for seed in told["seeds"]]
        lines.append(f"  {'':16}{'truth':>8}{'mean':>8}" + "".join(f"{n:>9}" for n in names))
        for label, found in told["labels"].items():
            truth = {True: "yes", False: "no", None: "?"}[found["truth"]]
            shares = "".join(f"{share:9.4f}" for share in found["seeds"])
            lines.append(f"  {label:16}{truth:>8}{found['mean']:8.4f}{shares}")
        return "\n".join(lines)
    lines = [f"{told['equation']}   truth {told['truth']}, {where}"]
    for seed in told["seeds"]:
        lines.append(_line(f"seed {seed['seed']}", seed))
    return "\n".join([*lines, _line(f"mean of {len(told['seeds'])}", told["mean"])])


def _line(who: str, told: Mapping[str, Any]) -> str:
    others = ", ".join(f"{other} {share:.4f}" for other, share in told["others"])
    verdict = "right" if told["right"] else "wrong"
    return f"  {who:10} {told['answer']:>5}  {told['probability']:.4f}  {verdict}   then {others}"


def _read_run(directory: Path) -> Asked:
    """Return a run whose data and labels are those of its record.

    Raises:
        ValueError: the directory is no run's, or a file of its data or labels is another.
    """
    record = directory / RECORD
    if not record.is_file():
        raise ValueError(f"{directory}: is no finished run, which has a {RECORD}")
    told = read_json(record)
    files = require_inputs(record, told)
    try:
        run, seeds = told["run"], list(told["seeds"])
    except (KeyError, TypeError):
        raise ValueError(f"{record}: is no record of a run") from None
    return Asked(
        run=run,
        seeds=seeds,
        checkpoints=[directory / f"seed_{seed}" for seed in seeds],
        vocabulary=read_vocabulary(files["vocabulary"]),
        tables={split: read_equations(files[split]) for split in SPLITS},
        files=files,
    )


def _answers(asked: Asked, questions: Sequence[Question]) -> Iterator[dict[str, Any]]:
    """Yield what pretrained models answer to each question."""
    vocabulary, names = asked.vocabulary, written_answers(asked.vocabulary)
    parameters, size = read_checkpoints(asked.checkpoints)
    prompts = torch.tensor(
        [[*q.prompt, *[-1] * (LONGEST - len(q.prompt))] for q in questions], dtype=torch.int64
    )
    given, probabilities = answer_prompts(parameters, size, prompts, vocabulary)
    known = _splits(asked)
    for place, question in enumerate(questions):
        answer = question.answer(vocabulary)
        truth = None if answer is None else answer_number(answer, vocabulary)

        def tell(number: int, shares: torch.Tensor, truth: int | None = truth) -> dict[str, Any]:
            order = [other for other in shares.argsort(descending=True).tolist() if other != number]
            return {
                "answer": names[number],
                "probability": float(shares[number]),
                "right": number == truth,
                "others": [[names[other], float(shares[other])] for other in order[:OTHERS]],
            }

        mean = probabilities[:, place].mean(dim=0)
        yield {
            "equation": _written(question.prompt, vocabulary),
            "truth": str(question.truth) if truth is None else names[truth],
            "split": None if answer is None else known.get((*question.prompt, *answer)),
            "seeds": [
                {"seed": seed, **tell(int(number), shares)}
                for seed, number, shares in zip(
                    asked.seeds, given[:, place], probabilities[:, place], strict=True
                )
            ],
            "mean": tell(int(mean.argmax()), mean),
        }


def _labels(asked: Asked, equations: Sequence[tuple[int, ...]]) -> Iterator[dict[str, Any]]:
    """Yield which labels finetuned models tell of each equation."""
    parameters, size, labels = read_classifiers(asked.checkpoints)
    head = parameters.pop(HEAD)
    known, truths = _splits(asked), dict[tuple[int, ...], Sequence[bool]]()
    for split, table in asked.tables.items():
        path = asked.files[f"{split}_labels"]
        columns, held = read_labels(path)
        if columns != labels or len(held) != len(table.tokens):
            raise ValueError(f"{path}: its labels are not those that the run was made with")
        truths |= dict(zip(_rows(table), held.astype(bool).tolist(), strict=True))
    padded = np.full((len(equations), LONGEST), asked.vocabulary.eos, dtype=np.int64)
    for row, equation in zip(padded, equations, strict=True):
        row[: len(equation)] = equation
    tokens = torch.from_numpy(padded)
    last = torch.tensor([len(equation) - 1 for equation in equations])
    with torch.no_grad():
        states = torch.vmap(lambda one: forward(one, size, tokens, keep, last))(parameters)
        probabilities = (states @ head.mT).sigmoid()
    for place, equation in enumerate(equations):
        truth = truths.get(equation, [None] * len(labels))
        shares = probabilities[:, place].T
        yield {
            "equation": _written(equation, asked.vocabulary),
            "split": known.get(equation),
            "seeds": list(asked.seeds),
            "labels": {
                label: {"truth": yes, "mean": float(own.mean()), "seeds": own.tolist()}
                for label, yes, own in zip(labels, truth, shares, strict=True)
            },
        }


def _complete(question: Question, text: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Return the tokens of an equation with the answer that was typed, else the right one.

    Raises:
        ValueError: none was typed, and the right one has no symbol.
    """
    answer = question.given or question.answer(vocabulary)
    if answer is None:
        raise ValueError(
            f"equation {text!r}: its answer {question.truth} has no symbol; add one that has"
        )
    return (*question.prompt, *answer)


def _splits(asked: Asked) -> dict[tuple[int, ...], str]:
    """Return the split of each equation, by its tokens."""
    return {row: split for split, table in asked.tables.items() for row in _rows(table)}


def _rows(table: Equations) -> list[tuple[int, ...]]:
    """Return the tokens of each equation."""
    return [
        tuple(row[:length])
        for row, length in zip(table.tokens.tolist(), table.lengths.tolist(), strict=True)
    ]


def _written(tokens: Sequence[int], vocabulary: Vocabulary) -> str:
    return " ".join(vocabulary.written[token] for token in tokens)
