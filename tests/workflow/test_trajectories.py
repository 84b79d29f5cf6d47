"""Weights kept along training: checkpoints like any other, named by the record, and judged."""

import json
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpt_math_domains.files import sha256
from study import Repository

KEEPING = {
    "run": {"data": [4], "models": [2], "domains": []},
    "pretrain": {"checkpoints": "log", "num_train_epochs": 60},
}
RUN = "pretrain/data_4/model_2"


def test_checkpoints_along_training_load_are_recorded_and_judged(clone: Repository) -> None:
    ran = clone.snakemake("trajectories", "--cores", "1", config=KEEPING)
    assert ran.returncode == 0, ran.stdout
    assert "Checkpoints along training take up to " in ran.stdout

    run = clone.results / RUN
    recorded = json.loads((run / "run.json").read_text())["checkpoints"]
    files = [*run.rglob("step_*/model.safetensors"), *run.rglob("step_*/config.json")]
    found = {str(path.relative_to(run)): sha256(path) for path in files}
    assert recorded == found
    assert {Path(name).parts[1] for name in found} >= {"step_0", "step_1", "step_16"}

    directory = run / "seed_0" / "step_16"
    model = AutoModelForCausalLM.from_pretrained(directory)
    prompt = AutoTokenizer.from_pretrained(directory)("1 + 2 =", return_tensors="pt")
    assert model(input_ids=prompt["input_ids"]).logits.shape == (1, 4, 12)

    # Powers of two are evaluated in training too.
    keys = ["seed", "step", "operation", "equations", "accuracy"]
    judged = pd.read_csv(run / "trajectory.csv").query("split == 'valid' and step > 0")
    evaluated = pd.read_csv(run / "families.csv")
    evaluated = evaluated[evaluated["step"].isin(judged["step"])]
    assert judged[keys].values.tolist() == evaluated[keys].values.tolist()
    assert judged["accuracy"].max() > 0

    again = clone.jobs_to_run("trajectories", config=KEEPING)
    assert again == set()

    (directory / "model.safetensors").unlink()
    (run / "trajectory.csv").unlink()
    refused = clone.snakemake("trajectories", "--cores", "1", config=KEEPING)
    assert refused.returncode != 0
    said = "seed_0/step_16/model.safetensors: is not the checkpoint that run.json names"
    assert said in refused.stdout


def test_finetuned_checkpoints_along_training_are_judged_by_label(clone: Repository) -> None:
    keeping = {
        "run": {"data": [4], "models": [2], "domains": [1], "protocols": ["scratch"]},
        "finetune": {"checkpoints": "log", "train_eval_rows": None},
    }
    ran = clone.snakemake("trajectories", "--cores", "1", config=keeping)
    assert ran.returncode == 0, ran.stdout
    assert not (clone.results / "pretrain").exists()  # which keeps none, and `scratch` needs none

    run = clone.results / "finetune/domain_1/data_4/model_2/scratch"
    judged = pd.read_csv(run / "trajectory.csv")
    assert set(judged["split"]) == {"train", "valid"}
    evaluated = pd.read_csv(run / "labels.csv")
    keys = ["seed", "step", "label", "accuracy"]
    valid = judged.query("split == 'valid' and step > 0")
    evaluated = evaluated[evaluated["step"].isin(valid["step"])]
    assert len(valid) > 8
    assert valid[keys].values.tolist() == evaluated[keys].values.tolist()
    trained = judged.query("split == 'train'").groupby(["seed", "step"])["accuracy"].mean()
    metrics = pd.read_csv(run / "metrics.csv").set_index(["seed", "step"])["train_domain_acc"]
    both = trained.index.intersection(metrics.index)
    assert trained[both].tolist() == pytest.approx(metrics[both].tolist())
    assert clone.jobs_to_run("trajectories", config=keeping) == set()


def test_a_study_that_keeps_none_is_told_what_to_set(untouched: Repository) -> None:
    ran = untouched.snakemake("trajectories", "--dry-run", smoke=False)
    assert ran.returncode != 0
    assert "trajectories: no run keeps checkpoints; set pretrain.checkpoints or" in ran.stdout


def test_a_new_run_removes_the_checkpoints_of_the_one_before(clone: Repository) -> None:
    every = {**KEEPING, "pretrain": {"checkpoints": {"every": 3}}}
    for config in (KEEPING, every):
        ran = clone.snakemake(f"results/smoke/{RUN}/metrics.csv", "-c1", config=config)
        assert ran.returncode == 0, ran.stdout
    kept = {path.name for path in (clone.results / RUN / "seed_1").glob("step_*")}
    last = pd.read_csv(clone.results / RUN / "metrics.csv")["step"].max()
    assert kept == {f"step_{step}" for step in range(0, last, 3)}
