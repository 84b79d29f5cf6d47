"""What docs/reproduction/trials.py trains is what its trials are called."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import LABELS, label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import read_equations, read_labels
from gpt_math_domains.data.vocabulary import read_vocabulary
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.checkpoint import write_checkpoints
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.stack import torch_generator

SCRIPT = Path(__file__).parents[3] / "docs" / "reproduction" / "trials.py"
PUBLISHED = list(LABELS)[:6]
Count = Callable[[int, int], int]


@pytest.fixture(scope="module")
def trials() -> ModuleType:
    specification = importlib.util.spec_from_file_location("trials", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["trials"] = module  # its dataclasses look there
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data version 1 with its labels, and two small models that were not trained."""
    study = tmp_path_factory.mktemp("results") / "data_1_model_2"
    data, domains = study / "data/1", study / "domains/1/data_1"
    names = {"train": "csv", "valid": "csv", "vocabulary": "json", "manifest": "json"}
    files = {name: data / f"{name}.{end}" for name, end in names.items()}
    data.mkdir(parents=True)
    domains.mkdir(parents=True)
    generate_equations(DataSettings(10, 5), **files)
    label_domains(
        PUBLISHED,
        **files,
        labelled_train=domains / "train.csv",
        labelled_valid=domains / "valid.csv",
        labelled_manifest=domains / "manifest.json",
    )
    vocabulary = read_vocabulary(files["vocabulary"])
    size = ModelSize(1, 2, 8, vocabulary.size, 7)
    seeds = [study / f"pretrain/data_1/model_2/seed_{seed}" for seed in range(2)]
    for seed in seeds:
        seed.mkdir(parents=True)
    weights = initialize(size, [torch_generator(seed, "test") for seed in range(2)])
    write_checkpoints(seeds, weights, size, vocabulary)
    return study


def slots_of(trials: ModuleType, study: Path, trial: str, split: str = "train") -> Any:
    return trials.Slots.of(
        study / f"data/1/{split}.csv",
        study / f"domains/1/data_1/{split}.csv",
        read_vocabulary(study / "data/1/vocabulary.json"),
        trials.TRIALS[trial],
        valid=split == "valid",
    )


@pytest.mark.parametrize("row", [0, 500, 1286])
@pytest.mark.parametrize(
    ("trial", "first_word", "counted"),
    [
        ("base", 0, lambda length, width: 6),
        ("new_words", 18, lambda length, width: 6),
        ("aligned", 0, lambda length, width: 6),
        ("equation_too", 0, lambda length, width: length + 6),
        ("padding_too", 0, lambda length, width: width),
        ("generated", 0, lambda length, width: 6),
    ],
)
def test_labels_are_told_in_words_after_the_equation(
    trials: ModuleType, study: Path, trial: str, first_word: int, counted: Count, row: int
) -> None:
    task = slots_of(trials, study, trial)
    equations = read_equations(study / "data/1/train.csv")
    labels = read_labels(study / "domains/1/data_1/train.csv")[1][row]
    length, width = int(equations.lengths[row]), task.tokens.shape[1]
    slots = task.slots[row]
    eos = read_vocabulary(study / "data/1/vocabulary.json").eos

    assert slots.tolist() == list(range(6 if trial == "aligned" else length, width)[:6])
    assert (task.targets[row, slots] - first_word).tolist() == labels.tolist()
    assert task.tokens[row, :length].tolist() == equations.tokens[row, :length].tolist()
    told = [eos, *labels[:-1]] if trial == "generated" else [eos] * 6
    assert task.tokens[row, slots].tolist() == told
    assert task.weights[row].sum() == counted(length, width)
    assert task.weights[len(task)].sum() == 0


def test_what_is_generated_is_not_told_before(trials: ModuleType, study: Path) -> None:
    task = slots_of(trials, study, "generated", "valid")
    eos = read_vocabulary(study / "data/1/vocabulary.json").eos
    assert task.generates
    assert (task.tokens.gather(1, task.slots) == eos).all()


@pytest.mark.parametrize("trial", ["new_words", "generated"])
def test_a_trial_trains_and_writes_what_it_finds(study: Path, tmp_path: Path, trial: str) -> None:
    command = [sys.executable, str(SCRIPT), trial, "--steps", "2", "--seeds", "2"]
    command += ["--results", str(study.parent), "--output", str(tmp_path / "found")]
    subprocess.run(command, check=True)
    table = pd.read_csv(tmp_path / f"found/{trial}_model_2.csv")
    assert table["step"].tolist() == [2, 2]
    assert table["seed"].tolist() == [0, 1]
    assert table["domain_acc"].between(0, 1).all()
    assert (table["eval_loss"] > 1).all()  # it has learned nothing yet
