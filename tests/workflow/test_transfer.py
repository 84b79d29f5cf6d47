"""Finetuning from models pretrained on another data version, or with other seeds."""

import json
from typing import Any

import torch
from safetensors.torch import load_file

from gpt_math_domains.run import EMBEDDING
from study import Repository

FROM: dict[str, Any] = {
    "run": {"models": [2], "protocols": ["full", "frozen"]},
    "overrides": [{"phase": "finetune", "finetune_from": 4}],
}
PRETRAINED = "pretrain/data_4/model_2"
FINETUNED = "finetune/domain_1/data_5/model_2/frozen"


def test_symbols_keep_what_was_learned_of_them_on_another_data_version(clone: Repository) -> None:
    ran = clone.snakemake(f"results/smoke/{FINETUNED}/metrics.csv", "-c2", config=FROM)
    assert ran.returncode == 0, ran.stdout
    assert not (clone.results / "pretrain" / "data_5").exists()

    record = json.loads((clone.results / FINETUNED / "run.json").read_text())
    assert (record["settings"]["finetune_from"], record["new_symbols"]) == (4, ["4"])
    assert f"results/smoke/{PRETRAINED}/seed_0/model.safetensors" in record["inputs"]

    # A frozen model changes in its head alone: its embedding is what it started from.
    for seed in ("seed_0", "seed_1"):
        before = load_file(clone.results / PRETRAINED / seed / "model.safetensors")
        after = load_file(clone.results / FINETUNED / seed / "model.safetensors")
        symbols = [place for place in range(13) if place != 4]
        assert torch.equal(after[EMBEDDING][symbols], before[EMBEDDING])
        for name in before.keys() - {EMBEDDING}:
            assert torch.equal(after[name], before[name]), name


def test_what_was_not_pretrained_is_made_and_what_differs_runs_again(clone: Repository) -> None:
    jobs = clone.jobs_to_run(f"results/smoke/{FINETUNED}/metrics.csv", config=FROM)
    assert "pretrain_model data=4 model=2" in jobs
    assert "pretrain_model data=5 model=2" not in jobs


def test_seeds_of_finetuning_start_from_the_pretraining_that_is_named(clone: Repository) -> None:
    seeds = {"seeds": [0, 1, 2], "pretrain_seeds": [7, 5, 7]}
    config = FROM | {"run": {**FROM["run"], **seeds}}
    ran = clone.snakemake(f"results/smoke/{FINETUNED}/metrics.csv", "-c2", config=config)
    assert ran.returncode == 0, ran.stdout

    pretrained = clone.results / PRETRAINED
    assert json.loads((pretrained / "run.json").read_text())["seeds"] == [7, 5]
    record = json.loads((clone.results / FINETUNED / "run.json").read_text())
    assert (record["seeds"], record["pretrain_seeds"]) == ([0, 1, 2], [7, 5, 7])
    name = "transformer.h.0.attn.c_attn.weight"
    for seed, source in zip((0, 1, 2), (7, 5, 7), strict=True):
        before = load_file(pretrained / f"seed_{source}" / "model.safetensors")
        after = load_file(clone.results / FINETUNED / f"seed_{seed}" / "model.safetensors")
        assert torch.equal(after[name], before[name])

    swapped = FROM | {"run": {**FROM["run"], **seeds, "pretrain_seeds": [7, 7, 5]}}
    jobs = clone.jobs_to_run(f"results/smoke/{FINETUNED}/metrics.csv", config=swapped)
    assert jobs == {"finetune_model data=5 domain=1 model=2 protocol=frozen"}
