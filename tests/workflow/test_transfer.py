"""Finetuning on one data version from models pretrained on another."""

import json

import torch
from safetensors.torch import load_file

from gpt_math_domains.run import EMBEDDING
from study import Repository

FROM = {
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
