"""Cards are read by the Hub's own libraries, and what they tell is what the study's files tell."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard  # noqa: TID251 - reads files alone

from checkpoints import FINETUNED, PRETRAINED, STUDY, equations, name, rows
from gpt_math_domains.__main__ import main

CHECKPOINTS = [*PRETRAINED, *FINETUNED]


@pytest.fixture(scope="module")
def carded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the study with cards."""
    directory = tmp_path_factory.mktemp("carded") / "study"
    shutil.copytree(STUDY, directory)
    assert main(["cards", str(directory)]) == 0
    return directory


def test_every_checkpoint_and_data_version_has_a_card(carded: Path) -> None:
    found = {path.parent.relative_to(carded) for path in carded.rglob("README.md")}
    assert found == {Path("data/5"), *(path.relative_to(STUDY) for path in CHECKPOINTS)}


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=name)
def test_a_models_card_has_valid_metadata_and_the_metrics_of_its_seed(
    carded: Path, checkpoint: Path
) -> None:
    card = ModelCard.load(carded / name(checkpoint) / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "transformers")
    pretrained = checkpoint in PRETRAINED
    kind, metric = ("generation", "math_acc") if pretrained else ("classification", "domain_acc")
    assert card.data.pipeline_tag == f"text-{kind}"
    table = rows(checkpoint.parent / "metrics.csv")
    ends = {row["seed"]: float(row[metric]) for row in table}  # the last evaluation stays
    [told] = card.data.eval_results
    assert (told.metric_name, told.metric_value) == (
        metric,
        ends[checkpoint.name.removeprefix("seed_")],
    )
    mean = sum(ends.values()) / len(ends)
    spread = f"{mean:.4f} ({min(ends.values()):.4f} to {max(ends.values()):.4f})"
    assert f"| mean of 2 seeds (lowest to highest) | {spread} |" in card.text
    assert f"| {baseline(pretrained):.4f} |" in card.text


def baseline(pretrained: bool) -> float:
    """Return the share of validation that is right if the most frequent of training is said."""
    told: list[bool] = []
    if pretrained:
        frequent: dict[tuple[str, str], Counter[str]] = {}
        for split in ("train", "valid"):
            table = rows(STUDY / f"data/5/{split}.csv")
            for row, equation in zip(table, equations(split), strict=True):
                counts = frequent.setdefault((row["operation"], row["modulo"]), Counter())
                if split == "train":
                    counts[equation.answer] += 1
                else:
                    [(best, _)] = counts.most_common(1)  # of several, the one that came first
                    told.append(best == equation.answer)
    else:
        train, valid = (rows(STUDY / f"domains/1/data_5/{s}.csv") for s in ("train", "valid"))
        for label in list(train[0])[1:]:
            yes = sum(row[label] == "1" for row in train) > len(train) / 2
            told += [(row[label] == "1") == yes for row in valid]
    return sum(told) / len(told)


def test_datasets_finds_both_splits_in_a_data_version(carded: Path, tmp_path: Path) -> None:
    card = DatasetCard.load(carded / "data/5/README.md")
    assert (card.data.license, card.data.size_categories) == ("mit", ["n<1K"])
    data = load_dataset(str(carded / "data" / "5"), cache_dir=str(tmp_path))
    assert list(data) == ["train", "validation"]
    for split, file in (("train", "train"), ("validation", "valid")):
        told = [row["equation"] for row in rows(STUDY / f"data/5/{file}.csv")]
        assert data[split]["equation"][:] == told
    assert set(data["train"].column_names) == set(rows(STUDY / "data/5/train.csv")[0])


@pytest.mark.parametrize("directory", [name(PRETRAINED[0]), name(FINETUNED[0]), "data/5"])
def test_what_a_card_shows_runs_in_its_directory(
    carded: Path, directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    text = (carded / directory / "README.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=carded / directory, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_a_directory_without_results_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cards", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told == f"error: {tmp_path}: has no data version and no finished run\n"


def test_a_damaged_file_leaves_no_card_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "study"
    shutil.copytree(STUDY, directory)
    record = directory / "finetune/domain_1/data_5/model_2/full/run.json"
    record.write_text("{}")
    assert main(["cards", str(directory)]) == 2
    assert f"error: {record}: is no record of a run" in capsys.readouterr().err
    assert not list(directory.rglob("README.md"))
