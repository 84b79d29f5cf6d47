"""Judging pretrained checkpoints equation by equation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gpt_math_domains.data.families import describe_equations
from gpt_math_domains.data.manifest import check_manifest
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import POSITIONS, read_vocabulary
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.answers import SPLITS, write_answers
from gpt_math_domains.training.checkpoint import read_checkpoints
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
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    files = {"train": Path(train), "valid": Path(valid), "vocabulary": Path(vocabulary)}
    check_manifest(Path(manifest), **files)
    known = read_vocabulary(vocabulary)
    parameters, size = read_checkpoints(checkpoints)
    if (size.vocabulary_size, size.num_positions) != (known.size, POSITIONS):
        raise ValueError(f"{checkpoints[0]}: holds {size}, which is not of {vocabulary}")
    dtype = next(iter(parameters.values())).dtype
    frames = []
    for split, path in zip(SPLITS, (train, valid), strict=True):
        equations = read_equations(path)
        with errors_name(path):
            task = NextTokens.of(equations, known, "cpu", dtype)
            described = describe_equations(equations, known)
        _, right = decide(task, parameters, size)
        for seed, row in zip(seeds, right[..., 0].numpy(), strict=True):
            told = described.assign(data=data, model=model, seed=seed, split=split)
            frames.append(told.assign(right=row.astype(np.int64)))
    answers = pd.concat(frames, ignore_index=True)
    write_answers(answers.sort_values(["seed", "split"], kind="stable"), output)
