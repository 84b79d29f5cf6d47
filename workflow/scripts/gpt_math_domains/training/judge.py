"""Judging pretrained checkpoints equation by equation."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gpt_math_domains.data.families import Parts, families_of, parts_of
from gpt_math_domains.data.manifest import check_manifest
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import POSITIONS, read_vocabulary
from gpt_math_domains.files import errors_name, read_json, sha256
from gpt_math_domains.results.answers import (
    SPLITS,
    describe_equations,
    write_answers,
    write_trajectory,
)
from gpt_math_domains.run import STEP, WEIGHTS, ModelSize
from gpt_math_domains.training.checkpoint import read_checkpoints
from gpt_math_domains.training.stack import decide
from gpt_math_domains.training.tasks import NextTokens


def judge_answers(
    data: int,
    model: int,
    seeds: Sequence[int],
    checkpoints: Sequence[Path],
    *,
    size: Mapping[str, Any],
    train: str | Path,
    valid: str | Path,
    vocabulary: str | Path,
    manifest: str | Path,
    output: str | Path,
    threads: int = 1,
) -> None:
    """Write which equations each seed of a pretrained model gets right; see `write_answers`.

    The models run on the CPU in the precision of their weights, dropout off. What is right is
    decided as in the evaluations of training.

    Args:
        data: the data version.
        model: the model version.
        seeds: of the checkpoints.
        checkpoints: directories, one for each seed.
        size: the fields of `run.ModelSize` that do not follow from the data.
        train: the equations trained on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        output: the table of answers.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, or the checkpoints are of another size or vocabulary.
    """
    _prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    frames = []
    for split, parts, right in _judge(checkpoints, size, train, valid, vocabulary):
        described = describe_equations(parts)
        for seed, row in zip(seeds, right, strict=True):
            told = described.assign(data=data, model=model, seed=seed, split=split)
            frames.append(told.assign(right=row.astype(np.int64)))
    answers = pd.concat(frames, ignore_index=True)
    write_answers(answers.sort_values(["seed", "split"], kind="stable"), output)


def judge_trajectory(
    data: int,
    model: int,
    seeds: Sequence[int],
    record: str | Path,
    *,
    size: Mapping[str, Any],
    train: str | Path,
    valid: str | Path,
    vocabulary: str | Path,
    manifest: str | Path,
    output: str | Path,
    threads: int = 1,
) -> None:
    """Write how much of each family a model gets right at its checkpoints along training.

    As `judge_answers` does it; see `write_trajectory`.

    Args:
        data: the data version.
        model: the model version.
        seeds: of the run.
        record: of the run, which names its checkpoints and their checksums; they are beside it.
        size: the fields of `run.ModelSize` that do not follow from the data.
        train: the equations trained on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        output: the table.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, the checkpoints are of another size or vocabulary, or one
            is not what the record says.
    """
    _prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    frames = []
    for step in _recorded_steps(Path(record)):
        name = STEP.format(step=step)
        checkpoints = [Path(record).parent / f"seed_{seed}" / name for seed in seeds]
        for split, parts, right in _judge(checkpoints, size, train, valid, vocabulary):
            families, members = families_of(parts)
            for seed, row in zip(seeds, right, strict=True):
                share = (row[:, None] & members).sum(axis=0) / members.sum(axis=0)
                told = pd.DataFrame(families).assign(
                    data=data, model=model, seed=seed, step=step, split=split
                )
                frames.append(told.assign(accuracy=share))
    trajectory = pd.concat(frames, ignore_index=True)
    write_trajectory(trajectory.sort_values(["seed", "step"], kind="stable"), output)


def _prepare(threads: int, manifest: str | Path, **files: str | Path) -> None:
    """Make torch ready, and check that the files are those of a manifest."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    check_manifest(Path(manifest), **{name: Path(path) for name, path in files.items()})


def _judge(
    checkpoints: Sequence[Path],
    size: Mapping[str, Any],
    train: str | Path,
    valid: str | Path,
    vocabulary: str | Path,
) -> Iterator[tuple[str, Parts, NDArray[np.bool_]]]:
    """Yield each split, the parts of its equations, and which each seed gets right `[R, n]`.

    Raises:
        ValueError: a file is malformed, or the checkpoints are of another size or vocabulary.
    """
    known = read_vocabulary(vocabulary)
    parameters, found = read_checkpoints(checkpoints)
    wanted = ModelSize(**size, vocabulary_size=known.size, num_positions=POSITIONS)
    if found != wanted:
        raise ValueError(f"{checkpoints[0]}: holds {found}, but the run asks for {wanted}")
    dtype = next(iter(parameters.values())).dtype
    for split, path in zip(SPLITS, (train, valid), strict=True):
        equations = read_equations(path)
        with errors_name(path):
            task = NextTokens.of(equations, known, "cpu", dtype)
            parts = parts_of(equations, known)
        _, right = decide(task, parameters, found)
        yield split, parts, right[..., 0].numpy()


def _recorded_steps(record: Path) -> list[int]:
    """Return the steps of a run's checkpoints, each of which is what the record says.

    Raises:
        ValueError: the record names none, or one is not there or another.
    """
    told = read_json(record)
    sums = told.get("checkpoints") if isinstance(told, dict) else None
    if not isinstance(sums, dict) or not sums:
        raise ValueError(f"{record}: names no checkpoints along training")
    steps = set()
    for name, recorded in sums.items():
        known = re.fullmatch(r"seed_\d+/step_(\d+)/" + re.escape(WEIGHTS), name)
        path = record.parent / name
        if known is None or not path.is_file() or sha256(path) != recorded:
            raise ValueError(f"{path}: is not the checkpoint that {record.name} names")
        steps.add(int(known[1]))
    return sorted(steps)
