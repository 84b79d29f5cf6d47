"""Cards tell of a study's files as they were made, or nothing at all."""

from pathlib import Path

import pytest
import yaml

from finished_study import FINETUNED, POINT, PRETRAINED, SEEDS, change, write_study
from gpt_math_domains.__main__ import main

RUNS = (PRETRAINED, FINETUNED)
MADE_WITH = "is not what the run was made with: its SHA-256 is not the one in {results}/{run}"
WRITTEN_WITH = "is not what {results}/{run} was written with"
LATER = "was changed after it was written: its SHA-256 is not the one in "


def test_points_of_a_grid_have_cards_that_name_them(tmp_path: Path) -> None:
    write_study(tmp_path)
    write_study(tmp_path, POINT)
    assert main(["cards", str(tmp_path)]) == 0
    at = "grid/data.digits~5/"
    models = {f"{p}{run}/seed_{seed}" for p in ("", POINT) for run in RUNS for seed in SEEDS}
    found = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("README.md")}
    assert found == models | {"data/5", f"{at}data/5"}
    for place, title in (
        ("data/5", "GPT Math Domains, data version 5"),
        (f"{at}data/5", "GPT Math Domains, data version 5, data.digits 5"),
        (f"{PRETRAINED}/seed_3", "pretrain data 5 model 2, seed 3"),
        (
            f"{POINT}{PRETRAINED}/seed_3",
            "pretrain data 5 model 2, data.digits 5, pretrain.weight_decay 1, seed 3",
        ),
    ):
        _, front, text = (tmp_path / place / "README.md").read_text().split("---\n", 2)
        assert text.startswith(f"\n# {title}\n")
        assert yaml.safe_load(front)["license"] == "mit"


@pytest.mark.parametrize(
    ("file", "run", "said"),
    [
        ("data/5/train.csv", PRETRAINED, MADE_WITH),
        ("data/5/valid.csv", PRETRAINED, MADE_WITH),
        ("data/5/vocabulary.json", PRETRAINED, MADE_WITH),
        ("data/5/manifest.json", PRETRAINED, MADE_WITH),
        ("domains/1/data_5/train.csv", FINETUNED, MADE_WITH),
        ("domains/1/data_5/valid.csv", FINETUNED, MADE_WITH),
        *(
            (f"{run}/seed_8/{name}", run, WRITTEN_WITH)
            for run in RUNS
            for name in ("model.safetensors", "config.json")
        ),
    ],
)
def test_a_file_that_is_not_on_record_is_named_and_leaves_no_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, run: str, said: str
) -> None:
    write_study(tmp_path)
    change(tmp_path / file)
    assert main(["cards", str(tmp_path)]) == 2
    told = said.format(results=tmp_path, run=f"{run}/run.json")
    assert capsys.readouterr() == ("", f"error: {tmp_path / file}: {told}\n")
    assert not list(tmp_path.rglob("README.md"))


@pytest.mark.parametrize("file", ["train.csv", "valid.csv", "vocabulary.json"])
def test_data_that_no_run_used_is_that_of_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    write_study(tmp_path)
    for run in RUNS:
        (tmp_path / run / "run.json").unlink()
    path = tmp_path / "data" / "5" / file
    change(path)
    assert main(["cards", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: {LATER}")
    assert not list(tmp_path.rglob("README.md"))
