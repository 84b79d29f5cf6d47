"""A grid of values: runs beside each other, each as if the study had been made for it by hand."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from gpt_math_domains.study.config import load_study
from study import ROOT, Repository
from training_job import outputs

RUN = {"data": [4], "models": [2], "protocols": ["full", "scratch"]}
KEYS = ["data.train_share", "pretrain.weight_decay"]
GRID: dict[str, list[Any]] = dict(zip(KEYS, [[0.5, 0.7], [0.1, 1]], strict=True))
POINT = "grid/data.train_share~0.5/pretrain.weight_decay~1"
PRETRAINED, FINETUNED = "pretrain/data_4/model_2", "finetune/domain_1/data_4/model_2"


def config(grid: Mapping[str, list[Any]], **other: Any) -> dict[str, Any]:
    """Return a study of one model on one data version, with a grid."""
    return {"run": RUN, "grid": dict(grid), **other}


@pytest.fixture(scope="module")
def varied(untouched: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A study with a grid of two keys, which has run. Not to be changed."""
    repository = untouched.copy_to(tmp_path_factory.mktemp("varied") / "repository")
    ran = repository.snakemake("--cores", "2", config=config(GRID))
    assert ran.returncode == 0, ran.stdout
    return repository


def trainings(jobs: set[str]) -> set[str]:
    """Return the jobs that train or make what is trained on."""
    rules = ("generate_equations", "label_domains", "pretrain_model", "finetune_model")
    return {job for job in jobs if job.startswith(rules)}


def test_the_files_of_a_point_lie_where_its_keys_say_and_nothing_is_made_twice(
    varied: Repository,
) -> None:
    made = {
        str(path.parent.relative_to(varied.results)) for path in varied.results.rglob("run.json")
    }
    share, decay = "grid/data.train_share~0.5", "grid/pretrain.weight_decay~1"
    assert made == {
        *(f"{point}{PRETRAINED}" for point in ("", f"{share}/", f"{decay}/", f"{POINT}/")),
        *(f"{point}{FINETUNED}/full" for point in ("", f"{share}/", f"{decay}/", f"{POINT}/")),
        *(f"{point}{FINETUNED}/scratch" for point in ("", f"{share}/")),
    }
    data = {
        str(path.parent.relative_to(varied.results))
        for path in varied.results.rglob("vocabulary.json")
    }
    assert data == {"data/4", f"{share}/data/4"}


def test_the_table_tells_what_the_metrics_of_each_point_do(varied: Repository) -> None:
    table = pd.read_csv(varied.results / "metrics" / "grid.csv")
    assert len(table) == 2 * (4 + 4 + 2)  # seeds, and runs of each protocol
    for _, row in table.iterrows():
        directory = varied.results / (row["point"] if isinstance(row["point"], str) else "")
        run = PRETRAINED if row["phase"] == "pretrain" else f"{FINETUNED}/{row['protocol']}"
        metrics = pd.read_csv(directory / run / "metrics.csv").query(f"seed == {row['seed']}")
        curve = metrics.set_index("step")[row["metric"]]
        assert (row["steps"], row["final"]) == (curve.index[-1], curve.iloc[-1])
        assert row["final_loss"] == metrics["eval_loss"].iloc[-1]
        assert (row["best"], row["best_step"]) == (curve.max(), curve.idxmax())
        reached = curve.index[curve >= 0.5]
        assert row["by_0.5"] == reached[0] if len(reached) else pd.isna(row["by_0.5"])
        middle = (row["after_0.5"] + row["by_0.5"]) / 2
        assert row["step_0.5"] == middle if len(reached) else pd.isna(row["step_0.5"])

        record = json.loads((directory / run / "run.json").read_text())
        assert record["point"] == (row["point"] if isinstance(row["point"], str) else "")
        if row["phase"] == "pretrain":
            assert record["settings"]["weight_decay"] == row[KEYS[1]]
        counts = {0.5: 25, 0.7: 34}  # of the 50 equations of data version 4
        log = directory_of_logs(varied, directory) / f"{run}.log"
        assert f"{counts[row[KEYS[0]]]} training examples" in log.read_text()
    assert table[table["protocol"] == "scratch"][KEYS[1]].isna().all()
    assert table[table["protocol"] == "full"].groupby(KEYS).size().tolist() == [2, 2, 2, 2]


def directory_of_logs(study: Repository, directory: Path) -> Path:
    return study.results / "logs" / directory.relative_to(study.results)


def test_the_summary_and_the_page_have_every_point(varied: Repository) -> None:
    summary = pd.read_csv(varied.results / "metrics" / "summary.csv")
    own = summary[summary["point"].isna()]
    assert (len(summary), len(own)) == (10, 3)
    assert own[KEYS[0]].tolist() == [0.7] * 3
    assert own[KEYS[1]].fillna(-1).tolist() == [0.1, 0.1, -1]
    table = pd.read_csv(varied.results / "metrics" / "grid.csv")
    place = ["phase", "protocol", *KEYS]
    both = summary.merge(table, on=place)
    assert len(both) == len(table)
    for _, rows in both.groupby(place, dropna=False):
        assert rows["final"].mean() == pytest.approx(rows["final_mean"].iloc[0])
        if (mean := rows["step_0.5_mean"]).notna().all():
            assert rows["step_0.5"].mean() == pytest.approx(mean.iloc[0])

    page = (varied.results / "index.html").read_text()
    assert '<h2 id="grid">Grid</h2>' in page
    figures = re.findall(r'<div class="plot" id="(\w+_grid)"', page)
    assert figures == ["pretrain_4_grid", "finetune_1_pretrain_4_grid"]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells[cells.index("data.train_share") + 1] == "0.5, 0.7"
    made = (varied.results / "made.html").read_text()
    assert ">data.train_share 0.5, pretrain.weight_decay 1</td>" in made
    assert (varied.results / "report" / "metrics" / "grid.csv").is_file()


def test_the_choice_of_colours_is_that_of_grid_figures_too(varied: Repository) -> None:
    accessible = varied.jobs_to_run(config=config(GRID, figures={"colors": "accessible"}))
    assert {job for job in accessible if "grid" in job} == {
        "plot_pretrain_grid data=4",
        "plot_finetune_grid data=4 domain=1",
    }


def test_a_point_has_the_bits_of_a_study_that_is_configured_by_hand(
    varied: Repository, clone: Repository
) -> None:
    """Weights and metrics, of pretraining and of the finetuning after it."""
    by_hand = {
        "run": RUN,
        "data": {4: {"train_share": 0.5}},
        "pretrain": {"weight_decay": 1},
    }
    targets = [f"results/smoke/{FINETUNED}/full/run.json"]
    ran = clone.snakemake("--cores", "2", *targets, config=by_hand)
    assert ran.returncode == 0, ran.stdout
    for run in (PRETRAINED, f"{FINETUNED}/full"):
        there, here = varied.results / POINT / run, clone.results / run
        assert outputs(there) == outputs(here)
        assert outputs(there) != outputs(varied.results / run)


def test_the_study_itself_is_what_it_is_without_a_grid(
    varied: Repository, finished: Repository
) -> None:
    for run in (PRETRAINED, f"{FINETUNED}/full", f"{FINETUNED}/scratch"):
        assert outputs(varied.results / run) == outputs(finished.results / run)
    for name in ("train", "valid"):
        for place in ("data/4", "domains/1/data_4"):
            file = f"{place}/{name}.csv"
            assert (varied.results / file).read_bytes() == (finished.results / file).read_bytes()


TABLES = {
    "collect_grid",
    "plot_pretrain_grid data=4",
    "plot_finetune_grid data=4 domain=1",
    "summarize_metrics",
    "plot_pretrain_scale",
    "plot_finetune_scale domain=1",
    "write_index",
    "plot_timeline",
    "write_made",
    "bundle_report",
}


@pytest.mark.parametrize(
    ("grid", "runs"),
    [
        (GRID, set()),
        (dict(reversed(GRID.items())), set()),
        (
            GRID | {"pretrain.weight_decay": [0.1, 1, 0]},
            TABLES
            | {
                f"{job} point={point}pretrain.weight_decay~0/{end}"
                for point in ("grid/", "grid/data.train_share~0.5/")
                for job, end in (
                    ("pretrain_model data=4 model=2", ""),
                    ("finetune_model data=4 domain=1 model=2", " protocol=full"),
                )
            },
        ),
        (
            GRID | {"finetune.num_train_epochs": [4, 5]},  # of which 4 are what there is
            TABLES
            | {"trace_rules", "plot_rules"}  # keys of other phases might ask for other figures
            | {
                f"finetune_model data=4 domain=1 model=2 point=grid/{share}"
                f"finetune.num_train_epochs~5/{decay} protocol={protocol}"
                for protocol, decays in (
                    ("full", ("", "pretrain.weight_decay~1/")),
                    ("scratch", ("",)),
                )
                for share in ("", "data.train_share~0.5/")
                for decay in decays
            },
        ),
        (GRID | {"models.dropout": [0.1]}, TABLES),  # which the model has anyway
        (GRID | {"data.train_share": [0.5]}, TABLES),
    ],
    ids=["nothing", "keys in another order", "a value", "a key", "own values", "a value fewer"],
)
def test_what_is_new_in_a_grid_runs_alone(
    varied: Repository, grid: dict[str, list[Any]], runs: set[str]
) -> None:
    assert varied.jobs_to_run(config=config(grid)) == runs


def test_a_changed_setting_runs_the_points_again_that_it_concerns(varied: Repository) -> None:
    changed = {"overrides": [{"phase": "finetune", "protocol": "scratch", "batch_size": 8}]}
    jobs = varied.jobs_to_run(config=config(GRID, **changed))
    assert trainings(jobs) == {
        f"finetune_model data=4 domain=1 model=2{point} protocol=scratch"
        for point in ("", " point=grid/data.train_share~0.5/")
    }


def test_a_lost_checkpoint_of_a_point_is_made_again(varied: Repository, tmp_path: Path) -> None:
    study = varied.copy_to(tmp_path / "repository")
    (study.results / POINT / FINETUNED / "full" / "seed_1" / "model.safetensors").unlink()
    assert trainings(study.jobs_to_run(config=config(GRID))) == {
        f"finetune_model data=4 domain=1 model=2 point={POINT}/ protocol=full"
    }


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (
            f"grid/pretrain.weight_decay~3/{PRETRAINED}/run.json",
            "grid/pretrain.weight_decay~3/: no point of the grid at which there is such a file; "
            "there are grid/data.train_share~0.5/, ",
        ),
        (  # the study's own
            f"grid/pretrain.weight_decay~0.1/{PRETRAINED}/run.json",
            "grid/pretrain.weight_decay~0.1/: no point of the grid at which there is such a file",
        ),
        (
            "grid/pretrain.weight_decay~1/data/4/train.csv",
            "grid/pretrain.weight_decay~1/: no point of the grid at which there is such a file; "
            "there are grid/data.train_share~0.5/\n",
        ),
        (
            "grid/pretrain.weight_decay~1/pretrain/data_9/model_2/run.json",
            "data 9: not defined under data, which has [1, 3, 4, 5]",
        ),
    ],
)
def test_a_target_at_a_point_that_is_not_there_is_refused_by_name(
    clone: Repository, target: str, line: str
) -> None:
    ran = clone.snakemake("--cores", "1", f"results/smoke/{target}", config=config(GRID))
    assert ran.returncode != 0
    assert ran.stdout.count(line) == 1, ran.stdout
    assert "Traceback (most recent call last)" not in ran.stdout
    assert not clone.results.exists()


def test_a_combination_that_cannot_run_is_refused_before_any_job(clone: Repository) -> None:
    ran = clone.snakemake("--cores", "1", config=config({"models.d_model": [16, 15]}))
    assert ran.returncode != 0
    line = "config: grid: models.d_model = 15 for models.2: num_heads = 2: must divide d_model = 15"
    assert ran.stdout.count(line) == 1, ran.stdout
    assert "Traceback" not in ran.stdout
    assert not clone.results.exists()


def test_a_trajectory_is_judged_at_the_points_that_keep_checkpoints(clone: Repository) -> None:
    kept = config({"pretrain.checkpoints": ["none", "log"]})
    jobs = clone.jobs_to_run("trajectories", config=kept)
    point = "grid/pretrain.checkpoints~log/"
    assert {job for job in jobs if job.startswith("judge")} == {
        f"judge_trajectory data=4 model=2 point={point}"
    }


def test_the_grid_that_the_documentation_shows_is_nine_points() -> None:
    text = (ROOT / "config" / "README.md").read_text()
    [shown] = re.findall(r"```yaml\n(grid:.*?)```", text, re.S)
    study = yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | yaml.safe_load(shown)
    assert len({run.name for run in load_study(study).grid_runs()}) == 9
