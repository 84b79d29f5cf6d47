"""How long training takes on a CPU, roughly; asked before a study starts, without torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LAYER_SECONDS = 1.5e-3  # fixed cost of a layer in a step, on one core
FLOPS_PER_SECOND = 90e9  # rate of the matrix products, fp32, on one core
LONG = 3600.0  # seconds of training worth a warning


def training_seconds(
    version: Mapping[str, Any], model: Mapping[str, Any], settings: Mapping[str, Any], seeds: int
) -> float:
    """Return the seconds that a run takes on one core, within a factor of two or so.

    A step costs 6 FLOPs for each of a layer's 12 d_model^2 weights and each token (Kaplan et al.
    2020, "Scaling Laws for Neural Language Models", section 2.1), and a fixed time per layer. With
    the two constants, the compiled steps in `benchmarks/results/training_step_cpu.csv` come out
    within a third.

    Args:
        version: `digits` and `modulo` of the data version.
        model: `num_layers` and `d_model`.
        settings: `num_train_epochs`, `batch_size` and `gradient_accumulation_steps`.
        seeds: how many train side by side.
    """
    examples = 0.7 * 4 * version["digits"] ** 2 * (version["modulo"] or 1)
    rows = settings["batch_size"] * settings["gradient_accumulation_steps"]
    steps = settings["num_train_epochs"] * -(-examples // rows)
    flops = 6 * 12 * model["num_layers"] * model["d_model"] ** 2 * 6 * rows
    step = seeds * (model["num_layers"] * LAYER_SECONDS + flops / FLOPS_PER_SECOND)
    return float(steps * step)


def cpu_warning(seconds: Iterable[float], cores: int) -> str | None:
    """Return what to say before training that takes `seconds` a run starts on a CPU.

    None if a CUDA device seems to be there, or it is soon done.
    """
    runs = list(seconds)
    if sum(runs) < LONG or has_cuda():
        return None
    hours = max(sum(runs) / max(1, min(cores, len(runs))), max(runs)) / 3600
    span = f"{hours:,.1f} hours" if hours < 48 else f"{hours / 24:,.1f} days"
    return (
        f"No CUDA device found: training runs on the CPU, which takes about {span} for "
        f"these {len(runs)} runs. The quick study, `make quick`, takes minutes."
    )


def has_cuda() -> bool:
    """Tell whether an NVIDIA driver is loaded, without importing torch."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
