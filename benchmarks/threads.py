"""Time a training step with one thread and with more, for `threads: auto`.

All variants train on the same examples in one process, in turns. Needs as many free cores as
threads are tried.

    python benchmarks/threads.py [--models 2 4 6] [--threads 1 2] [--repetitions 5]

Writes `benchmarks/results/threads_cpu.csv`: milliseconds for a step, and how many times as fast as
with one thread it is.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd

os.environ["OMP_WAIT_POLICY"] = "passive"  # as `jobs.cores` has it
import torch
from training_step import MODELS, ROOT, TURN_SECONDS, make_tasks, ours

from gpt_math_domains.data.vocabulary import LONGEST
from gpt_math_domains.jobs.caches import CHOSEN, private_caches
from gpt_math_domains.jobs.record import cpu_name
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.device import has_bf16, prepare_torch


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    prepare_torch("cpu", threads=1)
    path = ROOT / "benchmarks/results/threads_cpu.csv"
    rows = []
    with ExitStack() as until_done:
        directory = until_done.enter_context(tempfile.TemporaryDirectory())
        os.environ[CHOSEN] = f"{directory}/compiled"
        until_done.enter_context(private_caches(print))
        task, _, vocabulary_size = make_tasks(Path(directory), "cpu")
        for model in arguments.models:
            size = ModelSize(*MODELS[model], vocabulary_size, LONGEST + 1)
            for precision in ("fp32", "bf16") if has_bf16("cpu") else ("fp32",):
                for seeds in arguments.seeds if size.num_layers <= 2 else arguments.seeds[:1]:
                    runs = {
                        threads: with_threads(
                            threads, partial(ours, "compiled", precision, size, task, seeds)
                        )
                        for threads in arguments.threads
                    }
                    found = take_turns(runs, arguments.repetitions)
                    told = {"device": cpu_name(), "model": model, "precision": precision}
                    for threads, times in found.items():
                        pairs = zip(found[arguments.threads[0]], times, strict=True)
                        rows.append(
                            told
                            | {"seeds": seeds, "threads": threads, "ms": 1e3 * median(times)}
                            | {"speedup": median(first / own for first, own in pairs)}
                            | {"torch": torch.__version__}
                        )
                        print(rows[-1], flush=True)
                    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g")


def with_threads(
    threads: int, make: Callable[[], Callable[[int], float]]
) -> Callable[[int], float]:
    """Return a run that is compiled for some threads, and takes its steps with them."""
    torch.set_num_threads(threads)
    steps_of = make()

    def run(steps: int) -> float:
        torch.set_num_threads(threads)
        return steps_of(steps)

    run(1)  # compiles
    return run


def take_turns(runs: dict[int, Callable[[int], float]], repetitions: int) -> dict[int, list[float]]:
    """Return the seconds for a step of each run, in each repetition."""
    counts = {name: max(1, min(500, round(TURN_SECONDS / run(1)))) for name, run in runs.items()}
    times: dict[int, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            times[name].append(run(counts[name]) / counts[name])
    return times


if __name__ == "__main__":
    main()
