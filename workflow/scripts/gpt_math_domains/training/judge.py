"""Judging checkpoints: pretrained ones equation by equation, finetuned ones label by label."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gpt_math_domains.data.families import Parts, families_of, parts_of
from gpt_math_domains.data.manifest import check_labelled, check_manifest
from gpt_math_domains.data.tables import (
    Equations,
    read_equations,
    read_labels,
    require_known,
)
from gpt_math_domains.data.vocabulary import LONGEST, POSITIONS, Vocabulary, read_vocabulary
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.answers import (
    SPLITS,
    describe_equations,
    write_answers,
    write_label_trajectory,
    write_trajectory,
)
from gpt_math_domains.run import EMBEDDING, ModelSize
from gpt_math_domains.training.answers import answer_prompts, written_answers
from gpt_math_domains.training.checkpoint import (
    kept_checkpoints,
    read_checkpoints,
    read_classifiers,
)
from gpt_math_domains.training.model import Parameters
from gpt_math_domains.training.stack import decide
from gpt_math_domains.training.tasks import DomainLabels, NextTokens


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
    """Write what each seed of a pretrained model answers to each equation; see `write_answers`.

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
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    frames = []
    known = read_vocabulary(vocabulary)
    parameters, found = read_models(checkpoints, size, known)
    names = written_answers(known)
    for split, path in zip(SPLITS, (train, valid), strict=True):
        equations, parts = _read_equations(path, known)
        described = describe_equations(parts)
        every = np.arange(len(parts))
        asked = np.arange(LONGEST) < equations.answer_starts[:, None]
        prompts = torch.from_numpy(np.where(asked, equations.tokens, -1))
        right = np.where(parts.answer < 0, known.size, 0) + np.abs(parts.answer)
        for seed, given, probabilities in zip(
            seeds, *answer_prompts(parameters, found, prompts, known), strict=True
        ):
            told = described.assign(data=data, model=model, seed=seed, split=split)
            frames.append(
                told.assign(
                    right=(given.numpy() == right).astype(np.int64),
                    answer=[names[number] for number in given.tolist()],
                    probability=probabilities[every, given].double().numpy(),
                )
            )
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
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    frames = []
    for step, checkpoints in _kept(record, seeds).items():
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


def judge_label_trajectory(
    run: Mapping[str, Any],
    seeds: Sequence[int],
    record: str | Path,
    *,
    size: Mapping[str, Any],
    train: str | Path,
    valid: str | Path,
    vocabulary: str | Path,
    manifest: str | Path,
    train_labels: str | Path,
    valid_labels: str | Path,
    labels_manifest: str | Path,
    output: str | Path,
    threads: int = 1,
) -> None:
    """Write how often a finetuned model tells each label right at its checkpoints along training.

    As the evaluations of training do it, of the equations trained on too; see
    `write_label_trajectory`.

    Args:
        run: the keys of the run.
        seeds: of the run.
        record: of the run, which names its checkpoints and their checksums; they are beside it.
        size: the fields of `run.ModelSize` that do not follow from the data.
        train: the equations trained on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        train_labels: labels of the equations trained on.
        valid_labels: labels of the validation equations.
        labels_manifest: the checksums of these two, and of the equations that they are of.
        output: the table.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, the checkpoints are of another size, vocabulary or of other
            labels, or one is not what the record says.
    """
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    labels_json = Path(labels_manifest)
    check_manifest(labels_json, train=Path(train_labels), valid=Path(valid_labels))
    check_labelled(labels_json, train=Path(train), valid=Path(valid))
    known = read_vocabulary(vocabulary)
    frames = []
    for step, checkpoints in _kept(record, seeds).items():
        parameters, found, told = read_classifiers(checkpoints)
        _require_size(checkpoints[0], found, size, known)
        dtype = parameters[EMBEDDING].dtype
        files = ((train, train_labels), (valid, valid_labels))
        for split, (path, labels_path) in zip(SPLITS, files, strict=True):
            equations, _ = _read_equations(path, known)
            names, labels = read_labels(labels_path)
            if names != told:
                raise ValueError(f"{checkpoints[0]}: tells {told}, but {labels_path} has {names}")
            task = DomainLabels.of(equations, labels, known, "cpu", dtype)
            _, right = decide(task, parameters, found)
            for seed, shares in zip(seeds, right.double().mean(dim=1).tolist(), strict=True):
                frame = pd.DataFrame({"label": names, "accuracy": shares})
                frames.append(frame.assign(**run, seed=seed, step=step, split=split))
    trajectory = pd.concat(frames, ignore_index=True)
    write_label_trajectory(trajectory.sort_values(["seed", "step"], kind="stable"), output)


def prepare(threads: int, manifest: str | Path, **files: str | Path) -> None:
    """Make torch ready, and check that the files are those of a manifest."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    check_manifest(Path(manifest), **{name: Path(path) for name, path in files.items()})


def read_models(
    checkpoints: Sequence[Path], size: Mapping[str, Any], vocabulary: Vocabulary
) -> tuple[Parameters, ModelSize]:
    """Return the stacked parameters `[R, ...]` of checkpoints, without a head, and their size.

    Args:
        checkpoints: directories, one for each seed.
        size: the fields of `run.ModelSize` that do not follow from the vocabulary.
        vocabulary: of the models.

    Raises:
        ValueError: a checkpoint is malformed, or of another size or vocabulary.
    """
    parameters, found = read_checkpoints(checkpoints)
    _require_size(checkpoints[0], found, size, vocabulary)
    return parameters, found


def _require_size(
    checkpoint: Path, found: ModelSize, size: Mapping[str, Any], vocabulary: Vocabulary
) -> None:
    """Refuse a checkpoint of another size than a run asks for."""
    wanted = ModelSize(**size, vocabulary_size=vocabulary.size, num_positions=POSITIONS)
    if found != wanted:
        raise ValueError(f"{checkpoint}: holds {found}, but the run asks for {wanted}")


def _kept(record: str | Path, seeds: Sequence[int]) -> dict[int, list[Path]]:
    """Return the checkpoints along a training, of which there must be some."""
    kept = kept_checkpoints(Path(record), seeds)
    if not kept:
        raise ValueError(f"{record}: names no checkpoints along training")
    return kept


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
    parameters, found = read_models(checkpoints, size, known)
    dtype = next(iter(parameters.values())).dtype
    for split, path in zip(SPLITS, (train, valid), strict=True):
        equations, parts = _read_equations(path, known)
        _, right = decide(NextTokens.of(equations, known, "cpu", dtype), parameters, found)
        yield split, parts, right[..., 0].numpy()


def _read_equations(path: str | Path, vocabulary: Vocabulary) -> tuple[Equations, Parts]:
    """Return equations and their parts.

    Raises:
        ValueError: the file is malformed, or not of this vocabulary.
    """
    equations = read_equations(path)
    with errors_name(path):
        require_known(equations.tokens, vocabulary)
        return equations, parts_of(equations, vocabulary)
