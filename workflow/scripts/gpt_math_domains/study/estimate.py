"""What a training takes, roughly, asked before it starts and without torch: time and memory.

The same estimate warns of long training on a CPU and tells a scheduler what to set aside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.vocabulary import LONGEST, POSITIONS
from gpt_math_domains.jobs.memory import training_bytes
from gpt_math_domains.run import PROTOCOLS, ModelSize, Settings, checkpoint_steps

LONG = 3600.0  # seconds of training worth a warning

# A step of so many floating-point operations is worth two threads: `benchmarks/README.md` has what
# they bring. More were not measured.
SHARED_FLOPS = 20e9
SHARED_THREADS = 2
ALONE = 0.27  # of the time of its products, what threads do not share: two take 0.64 of it

# Seconds of a core that a job takes besides steps and evaluations, most of it to start Python and
# import; 0.4 are Snakemake's own. From user and system time of the quick study's 65 jobs on an AMD
# EPYC whose two cores were busy. Compiling, which long trainings do, is not in them.
JOB_SECONDS = {"pretrain_model": 4.5, "finetune_model": 4.5, "judge_answers": 4.0}
OTHER_JOB_SECONDS = 1.0  # tables and figures

START_MINUTES = 10  # of a job: importing, compiling, evaluating and saving
MARGIN = 2  # times the estimated seconds: it is right within a factor of two or so
PROCESS_MB = 4096  # of a job before its model: Snakemake, Python, PyTorch, compiling, CUDA
MEGABYTE = 10**6
WEIGHT_BYTES = 4  # of a parameter in a checkpoint, fp64 apart


@dataclass(frozen=True)
class Speed:
    """How fast a device takes training steps.

    Attributes:
        layer_seconds: fixed cost of a layer in a step.
        seeds_share_it: whether that cost is one for all seeds.
        flops: rate of the matrix products, fp32.
    """

    layer_seconds: float
    seeds_share_it: bool
    flops: float


SPEEDS = {
    # One core: within a third of the steps in `benchmarks/README.md`, busy hours aside.
    "cpu": Speed(layer_seconds=1.5e-3, seeds_share_it=False, flops=90e9),
    # Meant to be slow for a limit: a quarter of the peak rate of an NVIDIA A100. An H100 was two to
    # nine times as fast with captured steps, and eleven with compiled ones of model 6.
    "cuda": Speed(layer_seconds=1e-3, seeds_share_it=True, flops=5e12),
}


def training_threads(
    wanted: Literal["auto"] | int,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    seeds: int,
    device: str = "cpu",
) -> int:
    """Return how many threads of the CPU a run has, the same on every machine.

    Args:
        wanted: as in the configuration.
        model: `num_layers` and `d_model`.
        settings: of the run.
        seeds: how many train side by side.
        device: a key of `SPEEDS`; on a GPU, threads are of no use.
    """
    if wanted != "auto":
        return wanted
    shared = device == "cpu" and seeds * _step_flops(model, settings) >= SHARED_FLOPS
    return SHARED_THREADS if shared else 1


def training_seconds(
    version: DataSettings,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    seeds: int,
    device: str = "cpu",
    threads: int = 1,
    protocol: str | None = None,
) -> float:
    """Return the seconds that a run takes on a core for each thread, or on a GPU.

    A step costs what `_step_flops` tells, and a fixed time per layer. In finetuning, the last block
    computes keys and values of every token, 2 of its 12 d_model^2 weights, and the rest of the last
    token alone; where the head alone is trained, there is no way back, which costs twice the way
    there.

    Args:
        version: settings of the data version.
        model: `num_layers` and `d_model`.
        settings: of the run.
        seeds: how many train side by side.
        device: a key of `SPEEDS`.
        threads: of the CPU.
        protocol: of finetuning; None in pretraining.
    """
    speed, num_layers = SPEEDS[device], model["num_layers"]
    share = ALONE + (1 - ALONE) / threads if device == "cpu" else 1
    products = share * seeds * _step_flops(model, settings) / speed.flops
    layers = num_layers * speed.layer_seconds * (1 if speed.seeds_share_it else seeds)
    if protocol is not None:
        products *= 1 - 10 / 12 * (1 - 1 / LONGEST) / num_layers
    if protocol is not None and PROTOCOLS[protocol].head_only:
        products, layers = products / 3, layers / 3
    return float(_steps(version, settings) * (layers + products))


def evaluation_seconds(
    version: DataSettings,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    seeds: int,
    threads: int = 1,
) -> float:
    """Return the seconds that the evaluations of a run take on a CPU.

    To evaluate an equation is taken to cost as much as to train on it, which is within a factor of
    two of what `benchmarks/README.md` has.

    Args:
        version: settings of the data version.
        model: `num_layers` and `d_model`.
        settings: of the run.
        seeds: how many train side by side.
        threads: of the CPU.
    """
    own, trained = Settings(**settings), version.train_equations
    rows = version.valid_equations + min(own.train_eval_rows or trained, trained)
    steps = _steps(version, settings)
    step = training_seconds(version, model, settings, seeds, threads=threads) / steps
    return steps // own.eval_steps * step * rows / own.step_rows


def job_seconds(rule: str) -> float:
    """Return the seconds of a core that a job takes besides steps and evaluations."""
    return JOB_SECONDS.get(rule, OTHER_JOB_SECONDS)


def _step_flops(model: Mapping[str, Any], settings: Mapping[str, Any]) -> float:
    """Return the floating-point operations of one seed's step.

    There are 6 for each of a layer's 12 d_model^2 weights and each token (Kaplan et al. 2020,
    "Scaling Laws for Neural Language Models", section 2.1).
    """
    tokens = LONGEST * Settings(**settings).step_rows
    return float(6 * 12 * model["num_layers"] * model["d_model"] ** 2 * tokens)


def training_request(
    version: DataSettings,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    seeds: int,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    threads: int = 1,
    protocol: str | None = None,
    attempt: int = 1,
    max_minutes: int | None = None,
) -> dict[str, int]:
    """Return the `minutes` and `megabytes` that a run asks a scheduler for.

    Time is `START_MINUTES` and `MARGIN` times `training_seconds`; memory is `PROCESS_MB` and
    `memory.training_bytes`. Both are taken `attempt` times: a training goes on where the attempt
    before it was stopped, so an estimate that was too low costs one more start.

    Args:
        version: settings of the data version.
        model: `num_layers`, `num_heads` and `d_model`.
        settings: of the run.
        seeds: how many train side by side.
        device: a key of `SPEEDS`.
        precision: as in the configuration.
        threads: of the CPU.
        protocol: of finetuning; None in pretraining.
        attempt: from 1.
        max_minutes: the most that may be asked for.
    """
    seconds = training_seconds(version, model, settings, seeds, device, threads, protocol)
    minutes = attempt * (START_MINUTES + round(MARGIN * seconds / 60))
    size = _size(version, model)
    needed = training_bytes(
        parameters=size.parameters(),
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        d_model=size.d_model,
        num_positions=size.num_positions,
        seeds=seeds,
        batch_size=settings["batch_size"],
        gradient_accumulation_steps=settings["gradient_accumulation_steps"],
        evaluations=_steps(version, settings) // settings["eval_steps"],
        value_bytes=8 if precision == "fp64" else 4,
    )
    return {
        "minutes": min(minutes, max_minutes or minutes),
        "megabytes": attempt * (PROCESS_MB + needed // MEGABYTE),
    }


def checkpoint_bytes(
    version: DataSettings, model: Mapping[str, Any], settings: Mapping[str, Any], seeds: int
) -> int:
    """Return about how many bytes the weights take that a run keeps along training.

    Args:
        version: settings of the data version.
        model: the fields of `run.ModelSize` that do not follow from the data.
        settings: of the run.
        seeds: how many train side by side.
    """
    steps = checkpoint_steps(_steps(version, settings), settings["checkpoints"])
    return len(steps) * seeds * _size(version, model).parameters() * WEIGHT_BYTES


def _size(version: DataSettings, model: Mapping[str, Any]) -> ModelSize:
    return ModelSize(**model, vocabulary_size=version.vocabulary.size, num_positions=POSITIONS)


def _steps(version: DataSettings, settings: Mapping[str, Any]) -> int:
    """Return how many optimizer steps a run has."""
    return Settings(**settings).total_steps(version.train_equations)


def cpu_warning(
    trainings: Iterable[tuple[float, int]], cores: int, slots: int | None = None
) -> str | None:
    """Return what to say before training starts on a CPU.

    None if a CUDA device seems to be there, or it is soon done.

    Args:
        trainings: the seconds that each takes, and its threads.
        cores: that they share.
        slots: how many may train at once, where cores are not the only limit.
    """
    runs = list(trainings)
    taken = sum(seconds * threads for seconds, threads in runs)
    if taken < LONG or has_cuda():
        return None
    used = max(1, min(cores, sum(threads for _, threads in runs)))
    side_by_side = max(taken / used, *(seconds for seconds, _ in runs))
    in_slots = sum(seconds for seconds, _ in runs) / (slots or len(runs))
    way_out = (
        f" With `--config device=cpu` they do not wait for each other's GPU slot, and take "
        f"{_days(side_by_side)}."
        if in_slots > side_by_side
        else ""
    )
    return (
        "No CUDA device found: training runs on the CPU, which takes about "
        f"{_days(max(side_by_side, in_slots))} for these {len(runs)} runs.{way_out} "
        "The quick study, `make quick`, takes minutes."
    )


def _days(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.1f} hours" if hours < 48 else f"{hours / 24:,.1f} days"


def has_cuda() -> bool:
    """Tell whether an NVIDIA driver is loaded, without importing torch."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
