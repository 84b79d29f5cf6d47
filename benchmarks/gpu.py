"""Check, measure and write all that a machine with a GPU can show, in one command of minutes.

    python benchmarks/gpu.py [--minutes 8] [--stages tests steps curve]

* `tests` runs the tests that need a GPU (pytest).
* `steps` times a step of each model, executor and precision, with `transformers.Trainer` and plain
  loops beside them. Each variant sets itself up in a process of its own, all at once; then they
  take turns. Writes `benchmarks/results/<phase>_step_<GPU>.csv`.
* `curve` pretrains model 2 on data version 1 with Snakemake, as published, with eight seeds, and
  holds its accuracy against the same from a CPU, in `docs/reproduction`. Writes
  `benchmarks/results/curve_<GPU>.csv`.

Each stage writes what it found before the next begins, as a borrowed GPU's time may be up; what
does not fit into the minutes is left out, and that is said. Needs what `training_step.py` does,
pytest and hypothesis for `tests`, and Snakemake for `curve`.
"""

import argparse
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TextIO

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile
from training_step import (
    MODELS,
    ROOT,
    best_seconds,
    make_tasks,
    ours,
    plain_loop,
    step_flops,
    trainer,
)

from gpt_math_domains.data.vocabulary import LONGEST
from gpt_math_domains.jobs.caches import CHOSEN, private_caches
from gpt_math_domains.results.statistics import difference
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.device import multiply_in, prepare_torch

RESULTS = ROOT / "benchmarks/results"
TURN = 0.3  # seconds that a variant runs in its turn, if a few steps do not take longer
REPETITIONS = 3
TURNS_SECONDS = 150  # for these of all variants, and for what comes after them
TOLD = ("first_step_s", "memory_mb", "launches", "kernels")  # of a variant, by its process
PROFILED_STEPS = 16
UPDATE_BYTES = 24  # of a weight and AdamW's two means of it, each read and written once, in fp32
REPRODUCED = "data_1_model_2"
POINTS = [1000, 2000, 3000, 5000, 7000, 10000, 15000, 20000, 30000, 41000]  # steps of the curve


@dataclass(frozen=True)
class Variant:
    """One way to train, by what a process is told of it."""

    phase: str
    model: int
    implementation: str
    precision: str
    seeds: int

    @property
    def label(self) -> str:
        """What tells the variant from others."""
        seeds = f"{self.seeds} seed{'s' * (self.seeds > 1)}"
        return f"{self.phase} model {self.model}  {self.implementation}, {self.precision}, {seeds}"


class Process:
    """A variant in a process of its own, which takes steps when it is told to."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        told = [variant.phase, str(variant.model), variant.implementation, variant.precision]
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *told, str(variant.seeds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, deadline: float = float("inf")) -> dict[str, Any]:
        """Wait for what the process answers.

        Raises:
            EOFError: it ended instead.
            TimeoutError: it did not answer before the deadline.
        """
        assert self._process.stdout is not None
        left = min(max(0.0, deadline - time.monotonic()), 3600.0)
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise TimeoutError(f"{self.variant.label}: was not ready in time")
        if not (line := self._process.stdout.readline()):
            raise EOFError(f"{self.variant.label}: its process ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, word: str) -> None:
        """Have it do something: take a number of steps, or `profile`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def ask(self, steps: int) -> float:
        """Return the seconds that so many steps take."""
        self.tell(str(steps))
        return float(self.read()["seconds"])

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    stages = {"tests": run_tests, "steps": measure_steps, "curve": compare_curve}
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--stages", nargs="+", default=list(stages), choices=stages)
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        phase, model, implementation, precision, seeds = arguments.serve
        serve(Variant(phase, int(model), implementation, precision, int(seeds)))
        return
    if not torch.cuda.is_available():
        sys.exit("gpu.py: no CUDA device is here")
    RESULTS.mkdir(exist_ok=True)
    deadline = time.monotonic() + 60 * arguments.minutes
    failed = []
    with ExitStack() as until_done:
        # What an earlier run compiled would make a first step look cheap.
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "2"  # of each of many processes
        os.environ[CHOSEN] = f"{until_done.enter_context(tempfile.TemporaryDirectory())}/compiled"
        until_done.enter_context(private_caches(print))
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
        for stage in arguments.stages:
            began = time.monotonic()
            if not stages[stage](deadline):
                failed.append(stage)
            print(f"{stage}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        sys.exit(f"gpu.py: failed: {', '.join(failed)}")


def run_tests(deadline: float) -> bool:
    """Run the tests that need CUDA; tell whether all passed."""
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "8"]
    command += ["-k", "captured or gpu or cuda_graph"]
    command += ["tests/unit/training/test_execution.py", "tests/unit/training/test_resume.py"]
    return in_time(command, deadline)


def in_time(command: list[str], deadline: float) -> bool:
    """Run a command at the top of the repository; tell whether it ended well before a deadline."""
    try:
        left = max(1.0, deadline - time.monotonic())
        return subprocess.run(command, cwd=ROOT, timeout=left).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"the minutes are up: {' '.join(command)}")
        return False


def variants() -> Iterator[Variant]:
    """Yield what is timed, the slowest to set up first: no more than a machine sets up at once."""
    for model in sorted(MODELS, reverse=True):
        for precision in ("fp32", "tf32", "bf16"):
            for seeds in (1, 16):
                yield Variant("pretrain", model, "compiled_cuda_graph", precision, seeds)
        for precision in ("fp32", "bf16"):
            yield Variant("pretrain", model, "cuda_graph", precision, 1)
            yield Variant("pretrain", model, "Trainer", precision, 1)
        yield Variant("pretrain", model, "plain loop, compiled", "bf16", 1)
        yield Variant("finetune", model, "cuda_graph", "fp32", 1)
        yield Variant("finetune", model, "Trainer", "fp32", 1)


def measure_steps(deadline: float) -> bool:
    """Time all variants; tell whether each of them ran."""
    processes = [Process(variant) for variant in variants()]
    ready: dict[Process, dict[str, Any]] = {}
    for process in processes:
        try:
            ready[process] = process.read(deadline - TURNS_SECONDS)
        except (EOFError, TimeoutError) as error:
            process.end()  # or it would go on beside the others' turns
            print(error)
    print(f"{len(ready)} of {len(processes)} variants are ready", flush=True)
    if not ready:
        return False
    times: dict[Process, list[float]] = {process: [] for process in ready}
    counts = {}
    for process in ready:  # the first turn after the set-up is slow, but Trainer sets up each time
        counts[process] = max(8, min(4000, round(TURN * 8 / process.ask(8))))
    told = {
        process: found | {"launches": None, "kernels": None} for process, found in ready.items()
    }
    rates = ceilings()
    print(rates, flush=True)
    for _ in range(REPETITIONS):
        for process, steps in counts.items():
            if not times[process] or time.monotonic() < deadline:
                times[process].append(process.ask(steps) / steps / process.variant.seeds)
        write_steps(times, told, rates)
    for process in times:
        process.tell("profile")
    for process in times:
        try:
            told[process] |= process.read(deadline)
        except (EOFError, TimeoutError) as error:
            print(error)
    shown = write_steps(times, told, rates).drop(columns=["device", "torch"])
    print(shown.to_string(index=False, float_format="%.3g"))
    for process in processes:
        process.end()
    if too_fast := int((shown["floor_share"] > 1).sum()):
        print(f"{too_fast} variants took less time than they can: the clock did not wait for them")
    return all(map(times.get, processes)) and not too_fast


def write_steps(
    times: Mapping[Process, Sequence[float]],
    told: Mapping[Process, Mapping[str, Any]],
    rates: Mapping[str, float],
) -> pd.DataFrame:
    """Write the table of each phase; return both."""
    table = pd.DataFrame(
        {"device": torch.cuda.get_device_name()}
        | vars(process.variant)
        | {"ms": 1e3 * median(found), "ms_min": 1e3 * min(found), "ms_max": 1e3 * max(found)}
        | {"floor_ms": 1e3 * floor_seconds(process.variant, told[process]["parameters"], rates)}
        | {name: told[process][name] for name in TOLD}
        for process, found in times.items()
        if found
    )
    baseline = table[(table["implementation"] == "Trainer") & (table["precision"] == "fp32")]
    table = table.merge(
        baseline[["phase", "model", "ms"]], "left", ["phase", "model"], suffixes=("", "_of_trainer")
    )
    table["speedup"] = table.pop("ms_of_trainer") / table["ms"]
    table["floor_share"] = table["floor_ms"] / table["ms"]
    table["torch"] = torch.__version__
    for phase, part in table.groupby("phase", sort=False):
        part.to_csv(RESULTS / f"{phase}_step_{device_key()}.csv", index=False, float_format="%.4g")
    return table


def serve(variant: Variant) -> None:
    """Set a variant up, then take steps as standard input says and answer in JSON, line by line."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print too
    prepare_torch("cuda", threads=1, precision=variant.precision)
    with tempfile.TemporaryDirectory() as directory:
        task, _, vocabulary = make_tasks(Path(directory), "cuda", variant.phase)
        size = ModelSize(*MODELS[variant.model], vocabulary, LONGEST + 1)
        precision = variant.precision
        loops: dict[str, Callable[[], Callable[[int], float]]] = {
            "Trainer": lambda: trainer(size, task, "cuda", directory, precision),
            "plain loop, compiled": lambda: plain_loop(
                size, task, "cuda", precision, compiled=True
            ),
        }
        began = time.perf_counter()
        if variant.implementation in loops:
            run = loops[variant.implementation]()
        else:
            run = ours(variant.implementation, precision, size, task, variant.seeds)
        run(1)
        first = time.perf_counter() - began
        answer(
            answers,
            first_step_s=first,
            memory_mb=torch.cuda.max_memory_allocated() / 1e6,
            parameters=size.parameters(),
        )
        for line in sys.stdin:
            if line.strip() == "profile":
                answer(answers, **launches(run))
            else:
                answer(answers, seconds=run(int(line)))


def answer(stream: TextIO, **told: Any) -> None:
    """Write one line of JSON."""
    print(json.dumps(told), file=stream, flush=True)


def launches(run: Callable[[int], float]) -> dict[str, float | None]:
    """Return what a step launches from the CPU, and the kernels that run on the GPU for it."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        run(PROFILED_STEPS)
    events = seen.events() or []
    kernels = sum(event.device_type.name == "CUDA" for event in events)
    calls = sum(bool(re.fullmatch(r"cu(da)?\w*Launch\w*", event.name)) for event in events)
    if not kernels:  # the profiler is not let at the GPU
        return {"launches": None, "kernels": None}
    return {"launches": calls / PROFILED_STEPS, "kernels": kernels / PROFILED_STEPS}


def ceilings() -> dict[str, float]:
    """Return what this GPU can: products in operations a second, copies in bytes a second."""
    rates = {}
    left, right = torch.randn(2, 8192, 8192, device="cuda")
    for precision in ("fp32", "tf32", "bf16"):
        multiply_in(precision)
        pair = [x.bfloat16() for x in (left, right)] if precision == "bf16" else [left, right]
        rates[precision] = 2 * 8192**3 / best_seconds(lambda: torch.mm(*pair), "cuda")  # noqa: B023 - called here
    multiply_in("fp32")
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    return rates | {"copy": 2 * source.nbytes / best_seconds(lambda: target.copy_(source), "cuda")}


def floor_seconds(variant: Variant, parameters: int, rates: Mapping[str, float]) -> float:
    """Return what a step and seed cannot do without: its products, and AdamW's memory traffic."""
    size = ModelSize(*MODELS[variant.model], 1, LONGEST + 1)
    flops = step_flops(size, last_only=variant.phase == "finetune")
    return flops / rates[variant.precision] + UPDATE_BYTES * parameters / rates["copy"]


def compare_curve(deadline: float) -> bool:
    """Pretrain as published and compare; tell whether the run came to its end."""
    path = f"results/reproduce/{REPRODUCED}/pretrain/data_1/model_2/metrics.csv"
    command = [sys.executable, "-m", "snakemake", path, "--cores", "4", "--resources", "gpu=1"]
    command += ["--config", "device=cuda", "--configfile", "config/reproduce.yaml"]
    command += [f"config/reproduce/{REPRODUCED}.yaml"]
    if not in_time(command, deadline):
        return False
    tables = {
        "cpu": pd.read_csv(ROOT / f"docs/reproduction/{REPRODUCED}/pretrain.csv"),
        "gpu": pd.read_csv(ROOT / path),
    }
    rows = []
    for step in POINTS:
        found = {
            name: table[table["step"] == step].set_index("seed")["math_acc"].add_suffix(f" {name}")
            for name, table in tables.items()
        }
        means = {name: values.mean() for name, values in found.items()}
        rows.append({"step": step} | means | vars(difference(found["gpu"], found["cpu"])))
    table = pd.DataFrame(rows)
    table.insert(0, "device", torch.cuda.get_device_name())
    table.to_csv(RESULTS / f"curve_{device_key()}.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.3g"))
    return True


def device_key() -> str:
    """Return the GPU's name as part of a file's name."""
    return re.sub(r"\W+", "_", torch.cuda.get_device_name().lower())


if __name__ == "__main__":
    main()
