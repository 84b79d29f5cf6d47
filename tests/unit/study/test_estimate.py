from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.run import Settings
from gpt_math_domains.study import estimate
from gpt_math_domains.study.config import Study, load_study
from gpt_math_domains.study.estimate import (
    PROCESS_MB,
    START_MINUTES,
    cpu_warning,
    evaluation_seconds,
    training_request,
    training_seconds,
    training_threads,
)
from training_job import SETTINGS

CONFIG = Path(__file__).parents[3] / "config"
BENCHMARKS = CONFIG.parent / "benchmarks" / "results"
HOUR, DAY = 3600, 86_400


def seconds(
    seeds: int = 1,
    digits: int = 10,
    modulo: int | None = 5,
    num_layers: int = 2,
    d_model: int = 128,
    num_train_epochs: int = 100,
    batch_size: int = 32,
    gradient_accumulation_steps: int = 1,
) -> float:
    return training_seconds(
        DataSettings(digits, modulo),
        {"num_layers": num_layers, "d_model": d_model},
        SETTINGS
        | {
            "num_train_epochs": num_train_epochs,
            "batch_size": batch_size,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        },
        seeds,
    )


def study(*overlays: str) -> Study:
    config: dict[str, Any] = load_configfile(CONFIG / "config.yaml")
    for overlay in overlays:
        update_config(config, load_configfile(CONFIG / overlay))
    return load_study(config)


def estimates(study: Study) -> list[tuple[float, int]]:
    """Return the seconds and threads of each run, as the workflow asks for them."""
    found = []
    for run in study.runs():
        data = DataSettings(**study.data[run["data"]].model_dump())
        model = study.models[run["model"]].model_dump()
        what = model, {key: run[key] for key in SETTINGS}, len(study.run.seeds)
        threads = training_threads(study.threads, *what)
        protocol = run["protocol"]
        found.append((training_seconds(data, *what, threads=threads, protocol=protocol), threads))
    return found


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "has_cuda", lambda: False)


@pytest.mark.parametrize(
    ("key", "smaller", "larger"),
    [
        ("num_train_epochs", 100, 101),
        ("digits", 10, 11),
        ("modulo", None, 2),
        ("modulo", 2, 3),
        ("num_layers", 2, 3),
        ("d_model", 128, 136),
        ("seeds", 1, 2),
    ],
)
def test_more_work_takes_longer(key: str, smaller: Any, larger: int) -> None:
    assert 0 < seconds(**{key: smaller}) < seconds(**{key: larger})


def test_larger_batches_of_the_same_equations_take_fewer_steps() -> None:
    assert seconds(batch_size=64) < seconds(batch_size=32)
    assert seconds(gradient_accumulation_steps=4) == seconds(batch_size=128)


@pytest.mark.parametrize(
    ("settings", "fewer"),
    [
        ({"operations": ["add", "multiply"]}, True),
        ({"without_modulus": False}, True),
        ({"train_share": 0.5}, True),
        ({"holdout": {"operation": ["add"], "modulo": []}}, True),
        ({"modulo": None, "moduli": [2, 3, 4, 5]}, False),
        ({"split": "independent", "split_seed": 3}, False),
    ],
)
def test_a_training_takes_as_long_as_it_has_equations(
    settings: dict[str, Any], fewer: bool
) -> None:
    known = {"digits": 10, "modulo": 5}
    model = {"num_layers": 2, "d_model": 128}
    whole, part = (
        training_seconds(DataSettings(**data), model, SETTINGS, 1)
        for data in (known, known | settings)
    )
    assert (part < whole) == fewer
    assert part == whole or fewer


def test_an_estimate_grows_with_the_epochs_in_proportion() -> None:
    assert seconds(num_train_epochs=300) == pytest.approx(3 * seconds(num_train_epochs=100))


def test_the_published_study_on_a_cpu_is_warned_of_with_the_way_out() -> None:
    warning = cpu_warning(estimates(study()), cores=2)
    assert warning is not None
    assert "No CUDA device found" in warning
    assert "days for these 12 runs" in warning
    assert "`make quick`" in warning
    assert len(warning.splitlines()) == 1


def test_the_quick_study_is_not_warned_of() -> None:
    assert cpu_warning(estimates(study("quick.yaml")), cores=2) is None


def test_a_device_makes_the_warning_needless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "has_cuda", lambda: True)
    assert cpu_warning(estimates(study()), cores=2) is None


def test_nothing_to_train_is_not_warned_of() -> None:
    assert cpu_warning([], cores=2) is None


@pytest.mark.parametrize(
    ("runs", "cores", "span"),
    [
        ([(2 * HOUR, 1)], 4, "2.0 hours"),
        ([(HOUR, 1), (HOUR, 1)], 1, "2.0 hours"),
        ([(HOUR, 1), (HOUR, 1)], 2, "1.0 hours"),
        ([(DAY, 1), (HOUR, 1)], 2, "24.0 hours"),
        ([(4 * DAY, 1), (4 * DAY, 1)], 1, "8.0 days"),
        ([(1000 * DAY, 1)] * 3, 2, "1,500.0 days"),
        ([(2 * HOUR, 2)], 4, "2.0 hours"),
        ([(2 * HOUR, 2)] * 2, 2, "4.0 hours"),
        ([(2 * HOUR, 2)] * 2, 4, "2.0 hours"),
        ([(2 * HOUR, 2)], 1, "4.0 hours"),
    ],
)
def test_the_time_told_is_that_of_runs_side_by_side_on_the_cores(
    runs: list[tuple[float, int]], cores: int, span: str
) -> None:
    warning = cpu_warning(runs, cores)
    assert warning is not None
    assert f"takes about {span} for these {len(runs)} runs." in warning
    assert "device=cpu" not in warning


@pytest.mark.parametrize(
    ("runs", "slots", "span", "without"),
    [
        ([(2 * HOUR, 2)] * 2, 1, "4.0 hours", "2.0 hours"),
        ([(2 * HOUR, 1)] * 4, 1, "8.0 hours", "2.0 hours"),
        ([(2 * HOUR, 1)] * 4, 2, "4.0 hours", "2.0 hours"),
        ([(2 * HOUR, 1)] * 4, 4, "2.0 hours", None),
        ([(2 * HOUR, 2)] * 2, 4, "2.0 hours", None),
    ],
)
def test_runs_that_wait_for_each_others_gpu_slot_take_longer_and_need_not(
    runs: list[tuple[float, int]], slots: int, span: str, without: str | None
) -> None:
    warning = cpu_warning(runs, 4, slots)
    assert warning is not None
    assert f"takes about {span} for these {len(runs)} runs." in warning
    assert ("With `--config device=cpu`" in warning) == (without is not None)
    assert without is None or f"and take {without}." in warning


SMALL: dict[str, Any] = {
    "version": DataSettings(10, 5),
    "model": {"num_layers": 2, "num_heads": 8, "d_model": 128},
    "settings": SETTINGS | {"num_train_epochs": 5000, "eval_steps": 5000, "batch_size": 32},
    "seeds": 1,
}


def changed(section: str, **keys: int) -> dict[str, Any]:
    return SMALL | {section: SMALL[section] | keys}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "more",
    [
        changed("settings", num_train_epochs=20_000),
        SMALL | {"version": DataSettings(20, 5)},
        changed("model", num_layers=8, d_model=512),
    ],
    ids=["steps", "data", "model"],
)
def test_a_longer_training_asks_for_more_time(more: dict[str, Any], device: str) -> None:
    small, large = (training_request(**run, device=device) for run in (SMALL, more))
    assert START_MINUTES < small["minutes"] < large["minutes"]


def test_more_seeds_and_larger_models_ask_for_more_memory() -> None:
    one = training_request(**SMALL)["megabytes"]
    large = changed("model", num_layers=8, d_model=512)
    assert PROCESS_MB < one < training_request(**large)["megabytes"]
    assert one < training_request(**SMALL | {"seeds": 16})["megabytes"]
    assert (
        training_request(**large)["megabytes"]
        < training_request(**large, precision="fp64")["megabytes"]
    )


def test_each_attempt_asks_for_more_up_to_the_most_that_it_may() -> None:
    first, third = (training_request(**SMALL, attempt=attempt) for attempt in (1, 3))
    assert third == {what: 3 * asked for what, asked in first.items()}
    limited = training_request(**SMALL, attempt=3, max_minutes=first["minutes"])
    assert limited == third | {"minutes": first["minutes"]}


def test_a_run_asks_for_more_time_than_it_is_estimated_to_take() -> None:
    for run in (SMALL, changed("model", num_layers=8, d_model=512)):
        assert 60 * training_request(**run)["minutes"] > 1.9 * training_seconds(**run)


def test_large_models_have_two_threads_small_ones_one_and_what_is_asked_for_is_given() -> None:
    version, settings = study(), SMALL["settings"]
    models = {number: found.model_dump() for number, found in version.models.items()}
    threads = {n: training_threads("auto", model, settings, 1) for n, model in models.items()}
    assert threads == {2: 1, 4: 1, 6: 2}
    assert training_threads("auto", models[6], settings, 1, device="cuda") == 1
    assert training_threads(3, models[2], settings, 1) == 3


def test_finetuning_takes_less_than_pretraining_and_a_head_alone_least() -> None:
    pretraining, full, scratch, frozen = (
        training_seconds(**SMALL, protocol=protocol)
        for protocol in (None, "full", "scratch", "frozen")
    )
    assert frozen < full / 2 < full == scratch < pretraining


@pytest.mark.parametrize("protocol", [None, "full"])
def test_the_estimate_is_near_the_steps_of_the_benchmark(protocol: str | None) -> None:
    phase = "pretrain" if protocol is None else "finetune"
    table = pd.read_csv(BENCHMARKS / f"{phase}_step_cpu.csv")
    ours = table[(table["precision"] == "fp32") & (table["seeds"] == 1)]
    measured = ours[ours["implementation"] == "compiled"].set_index("model")["ms"]
    version = DataSettings(10, 5)
    for number, model in study().models.items():
        settings = SETTINGS | {"num_train_epochs": 1, "batch_size": 32}
        steps = Settings(**settings).total_steps(version.train_equations)
        seconds = training_seconds(version, model.model_dump(), settings, 1, protocol=protocol)
        assert 0.4 < 1e3 * seconds / steps / measured[number] < 2.5


def test_the_estimate_is_near_the_evaluations_of_the_benchmark() -> None:
    measured = pd.read_csv(BENCHMARKS / "evaluation_cpu.csv").set_index("model")["evaluation_ms"]
    version = DataSettings(10, 5)
    assert version.valid_equations == 560
    settings = SETTINGS | {"num_train_epochs": 1, "batch_size": 32, "train_eval_rows": None}
    steps = Settings(**settings).total_steps(version.train_equations)
    for number in measured.index:
        model = study().models[number].model_dump()
        seconds = evaluation_seconds(version, model, settings | {"eval_steps": steps}, 1)
        assert 0.4 < 1e3 * seconds / measured[number] < 2.5
        assert evaluation_seconds(version, model, settings | {"eval_steps": steps + 1}, 1) == 0


def test_threads_shorten_what_products_take() -> None:
    large = changed("model", num_layers=8, d_model=512)
    one, two = (training_seconds(**large, threads=threads) for threads in (1, 2))
    assert 1.5 < one / two < 2
    asked = [training_request(**large, threads=threads)["minutes"] for threads in (1, 2)]
    assert asked[1] < asked[0]
