"""Judging pretrained checkpoints equation by equation."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gpt_math_domains.data.families import Parts, families_of, parts_of
from gpt_math_domains.data.manifest import check_manifest
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import POSITIONS, Vocabulary, read_vocabulary
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.answers import (
    SPLITS,
    describe_equations,
    write_answers,
    write_trajectory,
)
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.checkpoint import kept_checkpoints, read_checkpoints
from gpt_math_domains.training.model import Parameters
from gpt_math_domains.training.stack import decide
from gpt_math_domains.training.tasks import NextTokens


def judge_answers(
    data: int,
    model: int,
    seeds: Sequence[int],
    checkpoints: Sequence[Path],
    *,
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
        train: the equations trained on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        output: the table of answers.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, or the checkpoints are of another vocabulary.
    """
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    frames = []
    for split, parts, right in _judge(checkpoints, train, valid, vocabulary):
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
        train: the equations trained on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        output: the table.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, the checkpoints are of another vocabulary, or one is not
            what the record says.
    """
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    kept = kept_checkpoints(Path(record), seeds)
    if not kept:
        raise ValueError(f"{record}: names no checkpoints along training")
    frames = []
    for step, checkpoints in kept.items():
        for split, parts, right in _judge(checkpoints, train, valid, vocabulary):
            families, members = families_of(parts)
            for seed, row in zip(seeds, right, strict=True):
                share = (row[:, None] & members).sum(axis=0) / members.sum(axis=0)
                told = pd.DataFrame(families).assign(
                    data=data, model=model, seed=seed, step=step, split=split
                )
                frames.append(told.assign(accuracy=share))
    trajectory = pd.concat(frames, ignore_index=True)
    write_trajectory(trajectory.sort_values(["seed", "step"], kind="stable"), output)


def prepare(threads: int, manifest: str | Path, **files: str | Path) -> None:
    """Make torch ready, and check that the files are those of a manifest."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    check_manifest(Path(manifest), **{name: Path(path) for name, path in files.items()})


def read_models(
    checkpoints: Sequence[Path], vocabulary: Vocabulary
) -> tuple[Parameters, ModelSize]:
    """Return the stacked parameters `[R, ...]` of checkpoints, without a head, and their size.

    Raises:
        ValueError: a checkpoint is malformed or of another vocabulary, or their sizes differ.
    """
    parameters, size = read_checkpoints(checkpoints)
    if (size.vocabulary_size, size.num_positions) != (vocabulary.size, POSITIONS):
        raise ValueError(
            f"{checkpoints[0]}: holds {size}, which is not of a vocabulary with "
            f"{vocabulary.digits} digit symbols"
        )
    return parameters, size


def _judge(
    checkpoints: Sequence[Path], train: str | Path, valid: str | Path, vocabulary: str | Path
) -> Iterator[tuple[str, Parts, NDArray[np.bool_]]]:
    """Yield each split, the parts of its equations, and which each seed gets right `[R, n]`.

    Raises:
        ValueError: a file is malformed, or the checkpoints are of another vocabulary.
    """
    known = read_vocabulary(vocabulary)
    parameters, size = read_models(checkpoints, known)
    dtype = next(iter(parameters.values())).dtype
    for split, path in zip(SPLITS, (train, valid), strict=True):
        equations = read_equations(path)
        with errors_name(path):
            task = NextTokens.of(equations, known, "cpu", dtype)
            parts = parts_of(equations, known)
        _, right = decide(task, parameters, size)
        yield split, parts, right[..., 0].numpy()
