"""What a finished study leaves behind."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file

from gpt_math_domains.results.cards import write_cards
from study import ROOT, SMOKE, Repository

DATA, MODELS, PROTOCOLS, SEEDS = (4, 5), (2, 4), ("full", "scratch"), (0, 1)
PRETRAINED = [f"pretrain/data_{data}/model_{model}" for data, model in product(DATA, MODELS)]
FINETUNED = [
    f"finetune/domain_1/data_{data}/model_{model}/{protocol}"
    for data, model, protocol in product(DATA, MODELS, PROTOCOLS)
]
CHECKPOINT = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
LABELS = ["first_odd", "first_even", "both_odd", "both_even", "has_zero", "no_zero"]


PRETRAIN_FIGURES = ("answers", "families", "generalization", "norms")
FINETUNE_FIGURES = ("labels", "transfer", "generalization", "norms")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def header(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[0].split(",")


def without_seconds(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(path)]


def settings(phase: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / SMOKE).read_text())[phase])


def test_the_results_are_the_promised_files_and_no_others(finished: Repository) -> None:
    promised = {"index.html", "made.html"}
    promised |= {f"metrics/{name}.csv" for name in ("pretrain", "finetune", "summary")}
    promised |= {f"plots/{name}" for name in ("plotly.min.js", "rules.html", "timeline.html")}
    promised |= {"rules.mmd"}
    promised |= {"plots/pretrain_scale.html", "plots/finetune_1_scale.html"}
    for data in DATA:
        files = ("train.csv", "valid.csv", "vocabulary.json", "manifest.json", "baselines.csv")
        promised |= {f"data/{data}/{name}" for name in files}
        labelled = ("train.csv", "valid.csv", "manifest.json", "baselines.csv")
        promised |= {f"domains/1/data_{data}/{name}" for name in labelled}
        for figure, accuracy in (
            (f"pretrain_{data}", "math"),
            (f"finetune_1_pretrain_{data}", "domain"),
        ):
            promised |= {f"plots/{figure}.html", f"plots/{figure}_eval_loss.html"}
            promised |= {f"plots/{figure}_eval_{accuracy}_acc.html"}
            promised |= {f"plots/{figure}_{name}.html" for name in ("generalization", "norms")}
        answers = ("operations", "operands", "families")
        promised |= {f"plots/pretrain_{data}_{name}.html" for name in answers}
        figure = f"plots/finetune_1_pretrain_{data}"
        promised |= {f"{figure}_{name}.html" for name in ("labels", "transfer")}
    bundled = {name for name in promised if name.startswith(("index", "made", "metrics", "plots"))}
    promised |= {f"report/{name}" for name in (*bundled, "config.yaml", ".snakemake_timestamp")}
    for run in PRETRAINED + FINETUNED:
        promised |= {f"{run}/metrics.csv", f"{run}/run.json"}
        tables = ("labels",) if run in FINETUNED else ("answers", "families")
        promised |= {f"{run}/{name}.csv" for name in tables}
        promised |= {f"{run}/seed_{seed}/{name}" for seed, name in product(SEEDS, CHECKPOINT)}
    promised |= {f"{run}/seed_{s}/generation_config.json" for run, s in product(PRETRAINED, SEEDS)}

    found = {
        str(path.relative_to(finished.results))
        for path in finished.results.rglob("*")
        if path.is_file()
    }
    aside = ("logs/", "benchmarks/")
    assert {name for name in found if not name.startswith(aside)} == promised


def test_every_figure_says_what_to_see_and_leads_back_to_where_it_is(finished: Repository) -> None:
    pages = sorted(finished.results.glob("plots/*.html"))
    assert len(pages) > 20
    for path in pages:
        page = path.read_text()
        [caption] = re.findall(r'<p class="caption"><strong>[^<]+</strong> ([^<]*)</p>', page)
        assert len(caption) > 60, path.name
        [(other, _, anchor)] = re.findall(r'<a href="\.\./(\w+\.html)(#([^"]*))?">', page)
        assert not anchor or f'id="{anchor}"' in (finished.results / other).read_text(), path.name
    made = (finished.results / "made.html").read_text()
    assert re.findall(r'<figcaption><a href="#([^"]+)">Figure (\w+)</a>\. \w', made) == [
        ("figure-rules", "A1"),
        ("figure-timeline", "A2"),
    ]


def test_cards_make_nothing_run_again(study: Repository) -> None:
    assert len(write_cards(study.results)) == len(DATA) + len(SEEDS) * len(PRETRAINED + FINETUNED)
    assert study.jobs_to_run() == set()


def test_a_second_run_has_nothing_to_do(finished: Repository) -> None:
    ran = finished.snakemake("--cores", "1")
    assert ran.returncode == 0
    assert "Nothing to be done" in ran.stdout


@pytest.mark.parametrize("part", ["train", "valid"])
@pytest.mark.parametrize("data", DATA)
def test_equations_and_their_labels_stand_row_by_row(
    finished: Repository, data: int, part: str
) -> None:
    equations = finished.results / f"data/{data}/{part}.csv"
    labelled = finished.results / f"domains/1/data_{data}/{part}.csv"
    assert header(equations) == ["equation", "tokens", "operation", "modulo", "answer_start"]
    assert header(labelled) == ["tokens", *LABELS]
    assert [row["tokens"] for row in rows(equations)] == [row["tokens"] for row in rows(labelled)]
    for row in rows(labelled):
        assert {row[label] for label in LABELS} <= {"0", "1"}


@pytest.mark.parametrize("run", PRETRAINED + FINETUNED)
def test_a_runs_metrics_have_every_seed_at_every_evaluation(finished: Repository, run: str) -> None:
    phase = run.partition("/")[0]
    accuracy = "math_acc" if phase == "pretrain" else "domain_acc"
    metrics = finished.results / run / "metrics.csv"
    assert header(metrics) == [
        *("phase", "data", "model", "domain", "protocol", "seed", "step", "epoch"),
        *("learning_rate", "train_loss", "train_eval_loss", "eval_loss"),
        *(accuracy, f"train_{accuracy}", f"mirrored_{accuracy}", f"unmirrored_{accuracy}"),
        *("grad_norm", "weight_norm", "seconds"),
    ]
    data = re.findall(r"data_(\d+)", run)[0]
    examples = len(rows(finished.results / f"data/{data}/train.csv"))
    total = settings(phase)["num_train_epochs"] * -(-examples // settings(phase)["batch_size"])
    early = {step for step in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if step <= total}
    regular = set(range(settings(phase)["eval_steps"], total + 1, settings(phase)["eval_steps"]))
    steps = sorted(early | regular | {total})
    assert [(int(row["seed"]), int(row["step"])) for row in rows(metrics)] == list(
        product(SEEDS, steps)
    )


@pytest.mark.parametrize("run", PRETRAINED)
def test_math_acc_is_the_mean_of_the_families_accuracies(finished: Repository, run: str) -> None:
    families = rows(finished.results / run / "families.csv")
    data = re.findall(r"data_(\d+)", run)[0]
    equations = len(rows(finished.results / f"data/{data}/valid.csv"))
    for row in rows(finished.results / run / "metrics.csv"):
        here = [one for one in families if (one["seed"], one["step"]) == (row["seed"], row["step"])]
        assert sum(int(one["equations"]) for one in here) == equations
        right = [float(one["accuracy"]) * int(one["equations"]) for one in here]
        assert right == pytest.approx([round(count) for count in right])
        assert float(row["math_acc"]) == pytest.approx(sum(map(round, right)) / equations)


@pytest.mark.parametrize("run", FINETUNED)
def test_domain_acc_is_the_mean_of_the_labels_accuracies(finished: Repository, run: str) -> None:
    labelled = rows(finished.results / run / "labels.csv")
    data = re.findall(r"data_(\d+)", run)[0]
    equations = len(rows(finished.results / f"data/{data}/valid.csv"))
    told = [(row["seed"], row["step"], row["label"]) for row in labelled]
    metrics = rows(finished.results / run / "metrics.csv")
    assert told == [(row["seed"], row["step"], label) for row in metrics for label in LABELS]
    for place, row in enumerate(metrics):
        here = labelled[place * len(LABELS) : (place + 1) * len(LABELS)]
        right = [float(one["accuracy"]) * equations for one in here]
        assert right == pytest.approx([round(count) for count in right])
        exact = sum(map(round, right)) / (equations * len(LABELS))
        assert float(row["domain_acc"]) == exact


@pytest.mark.parametrize("run", PRETRAINED)
def test_the_answers_are_those_that_math_acc_counts(finished: Repository, run: str) -> None:
    answers = rows(finished.results / run / "answers.csv")
    data = re.findall(r"data_(\d+)", run)[0]
    metrics = rows(finished.results / run / "metrics.csv")
    for seed in SEEDS:
        last = [row for row in metrics if row["seed"] == str(seed)][-1]
        for split in ("train", "valid"):
            own = [row for row in answers if (row["seed"], row["split"]) == (str(seed), split)]
            equations = rows(finished.results / f"data/{data}/{split}.csv")
            told = [(row["operation"], row["modulo"], row["a"], row["b"]) for row in own]
            assert told == [
                (row["operation"], row["modulo"], *row["equation"].split()[0:3:2])
                for row in equations
            ]
        right = [row["right"] == "1" for row in own]
        assert sum(right) / len(right) == float(last["math_acc"])


@pytest.mark.parametrize(("phase", "runs"), [("pretrain", PRETRAINED), ("finetune", FINETUNED)])
def test_a_phases_table_has_the_rows_of_all_its_runs(
    finished: Repository, phase: str, runs: list[str]
) -> None:
    collected = rows(finished.results / f"metrics/{phase}.csv")
    single = [row for run in runs for row in rows(finished.results / run / "metrics.csv")]
    assert collected == single


def test_the_summary_has_a_row_for_each_run(finished: Repository) -> None:
    told = [
        (row["phase"], row["data"], row["model"], row["domain"], row["protocol"])
        for row in rows(finished.results / "metrics/summary.csv")
    ]
    pretrained = [("pretrain", str(d), str(m), "", "") for d, m in product(DATA, MODELS)]
    finetuned = [
        ("finetune", str(d), str(m), "1", p) for d, m, p in product(DATA, MODELS, PROTOCOLS)
    ]
    assert told == pretrained + finetuned


def test_each_run_stands_beside_the_baseline_of_its_equations_or_labels(
    finished: Repository,
) -> None:
    for row in rows(finished.results / "metrics/summary.csv"):
        place = f"domains/1/data_{row['data']}" if row["domain"] else f"data/{row['data']}"
        baselines = rows(finished.results / place / "baselines.csv")
        [overall] = [one for one in baselines if not one["operation"] and not one["label"]]
        assert row["baseline"] == overall["accuracy"]


@pytest.mark.parametrize("run", [PRETRAINED[0], FINETUNED[0], FINETUNED[1]])
def test_a_runs_record_tells_its_configuration_and_the_files_it_read(
    finished: Repository, run: str
) -> None:
    record = json.loads((finished.results / run / "run.json").read_text(encoding="utf-8"))
    phase, protocol = run.partition("/")[0], run.rpartition("/")[2]
    assert record["run"]["phase"] == phase
    assert record["settings"].items() >= settings(phase).items()
    size = {"num_layers": 1, "num_heads": 2, "d_model": 16}
    assert record["model"] == size | {"dropout": 0.1, "tie_word_embeddings": True}
    assert record["checkpoints"] == {}
    assert (record["seeds"], record["precision"], record["execution"]) == ([0, 1], "fp32", "eager")
    assert (record["threads"], record["resumes"]) == (1, 0)
    files = ("train.csv", "valid.csv", "vocabulary.json", "manifest.json")
    read = {f"data/4/{name}" for name in files}
    if phase == "finetune":
        read |= {f"domains/1/data_4/{name}" for name in ("train.csv", "valid.csv", "manifest.json")}
    if protocol == "full":
        weights = product(SEEDS, ("config.json", "model.safetensors"))
        read |= {f"{PRETRAINED[0]}/seed_{seed}/{name}" for seed, name in weights}
    assert record["inputs"] == {
        f"results/smoke/{name}": hashlib.sha256((finished.results / name).read_bytes()).hexdigest()
        for name in read
    }
    assert record["git"] is None  # the copy has no repository


def test_plain_transformers_load_every_checkpoint_and_find_the_last_evaluation(
    finished: Repository,
) -> None:
    ran = subprocess.run(
        [
            *(sys.executable, "-I"),  # neither PYTHONPATH nor this directory
            Path(__file__).with_name("judge_checkpoints.py"),
            finished.results,
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0
    judged = json.loads(ran.stdout)
    assert set(judged) == {f"{run}/seed_{s}" for run in PRETRAINED + FINETUNED for s in SEEDS}
    for run in PRETRAINED + FINETUNED:
        metrics = rows(finished.results / run / "metrics.csv")
        accuracy = "math_acc" if run.startswith("pretrain") else "domain_acc"
        for seed in SEEDS:
            last = [row for row in metrics if row["seed"] == str(seed)][-1]
            here = judged[f"{run}/seed_{seed}"]
            assert here["accuracy"] == pytest.approx(float(last[accuracy])), (run, seed)
            assert here["eval_loss"] == pytest.approx(float(last["eval_loss"]), rel=1e-4)


def test_every_job_leaves_a_log_and_a_benchmark(finished: Repository) -> None:
    jobs = {f"generate_equations/data_{data}" for data in DATA}
    jobs |= {f"label_domains/domain_1_data_{data}" for data in DATA}
    jobs |= {f"metrics/baselines_data_{data}" for data in DATA}
    jobs |= {f"metrics/baselines_domain_1_data_{data}" for data in DATA}
    jobs |= {*PRETRAINED, *FINETUNED}
    jobs |= {"metrics/pretrain", "metrics/finetune", "metrics/summary"}
    jobs |= {f"judge_answers/data_{data}_model_{model}" for data, model in product(DATA, MODELS)}
    jobs |= {"figures/plotly", "figures/index", "figures/trace_rules", "figures/rules"}
    jobs |= {"figures/timeline", "figures/made", "figures/bundle"}
    jobs |= {"figures/pretrain_scale", "figures/finetune_1_scale"}
    jobs |= {f"figures/pretrain_{d}_{name}" for d in DATA for name in PRETRAIN_FIGURES}
    jobs |= {f"figures/finetune_1_pretrain_{d}_{name}" for d in DATA for name in FINETUNE_FIGURES}
    jobs |= {f"figures/pretrain_{data}" for data in DATA}
    jobs |= {f"figures/finetune_1_pretrain_{data}" for data in DATA}

    def left(directory: str, suffix: str) -> set[str]:
        found = (finished.results / directory).rglob(f"*{suffix}")
        return {
            str(path.relative_to(finished.results / directory).with_suffix("")) for path in found
        }

    assert left("logs", ".log") == jobs
    # The timeline is drawn from the benchmarks of all others.
    assert left("benchmarks", ".tsv") == jobs - {"figures/timeline"}


@pytest.mark.parametrize("run", [PRETRAINED[0], FINETUNED[0]])
def test_a_training_log_tells_progress_speed_and_time_left(finished: Repository, run: str) -> None:
    log = (finished.results / f"logs/{run}.log").read_text()
    last = rows(finished.results / run / "metrics.csv")[-1]
    accuracy = "math_acc" if run.startswith("pretrain") else "domain_acc"
    [end] = [line for line in log.splitlines() if f"step {last['step']}/{last['step']}" in line]
    for told in ("steps/s", "left", "epoch", "loss", "eval_loss", accuracy):
        assert told in end, end


def test_a_frozen_backbone_keeps_its_pretrained_bits(study: Repository) -> None:
    frozen = "finetune/domain_1/data_4/model_2/frozen"
    ran = study.snakemake("--cores", "1", f"results/smoke/{frozen}/metrics.csv")
    assert ran.returncode == 0, ran.stdout
    for seed in SEEDS:
        before = load_file(study.results / f"pretrain/data_4/model_2/seed_{seed}/model.safetensors")
        after = load_file(study.results / f"{frozen}/seed_{seed}/model.safetensors")
        full = frozen.replace("frozen", f"full/seed_{seed}/model.safetensors")
        changed = load_file(study.results / full)
        assert set(after) - set(before) == {"score.weight"}
        assert all((after[name] == before[name]).all() for name in before)
        assert all((changed[name] != before[name]).any() for name in before)


def test_lost_results_come_back_the_same(study: Repository, finished: Repository) -> None:
    """Bit by bit, but for the clock."""
    run, figure = "pretrain/data_4/model_2", "plots/pretrain_5.html"
    lost = [f"{run}/seed_{seed}/{name}" for seed, name in product(SEEDS, CHECKPOINT)]
    lost += [f"data/4/{name}" for name in ("train.csv", "valid.csv", "vocabulary.json")]
    lost += [figure]
    for name in [*lost, f"{run}/metrics.csv"]:
        (study.results / name).unlink()

    ran = study.snakemake(
        "--cores", "1", f"results/smoke/{run}/metrics.csv", f"results/smoke/{figure}"
    )

    assert ran.returncode == 0, ran.stdout
    for name in lost:
        assert (study.results / name).read_bytes() == (finished.results / name).read_bytes(), name
    again, first = (place.results / run / "metrics.csv" for place in (study, finished))
    assert without_seconds(again) == without_seconds(first)


def test_a_study_with_reference_curves_tells_the_distance_on_its_page(study: Repository) -> None:
    (study.directory / "published.csv").write_text("model,step,math_acc\n2,1,0.5\n")
    curves = {"figures": {"reference_curves": {"pretrain_4": "published.csv"}}}
    ran = study.snakemake("--cores", "2", config=curves)
    assert ran.returncode == 0, ran.stdout
    page = (study.results / "index.html").read_text()
    assert '<h2 id="reference">Reference and reproduced</h2>' in page
