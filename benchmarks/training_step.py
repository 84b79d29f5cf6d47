"""Time a training step beside those that a user could take instead.

These are `transformers.Trainer`, a plain loop around its model, the same under `torch.compile`, and
on a CPU a loop in JAX (`jax_loop.py`, in `.venv-jax`). All train on the same examples with the same
batch size, dropout and clipping on one core, in turns, so that a drift of the machine's speed meets
them all. Needs torch, transformers, NumPy, pandas and pydantic; leaves out JAX where it is not
installed, and draws the figure where plotly is.

    python benchmarks/training_step.py [--phase pretrain] [--models 2 4 6] [--repetitions 5]

Writes `benchmarks/results/<phase>_step_<device>.csv`: milliseconds for a step and seed; how many
times as fast it is as Trainer in fp32 (`speedup`) and as the fastest of the others with the same
precision (`speedup_of_best`); what its matrix products alone take in that precision (`products_ms`)
and what reading and writing once all that AdamW updates takes (`update_ms`), both measured beside;
and the share of the step that the two are (`floor_share`).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import parts_of
from gpt_math_domains.data.labels import LABELS
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import (
    LONGEST,
    read_vocabulary,
)
from gpt_math_domains.jobs.caches import CHOSEN, private_caches
from gpt_math_domains.jobs.record import cpu_name
from gpt_math_domains.run import (
    ModelSize,
    Settings,
)
from gpt_math_domains.training.device import PRECISIONS, has_bf16, multiply_in, prepare_torch
from gpt_math_domains.training.execution import CAPTURED, COMPILED, compile_stack, make_executor
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.stack import BatchOrder, build_stack, torch_generator
from gpt_math_domains.training.tasks import DomainLabels, NextTokens

PUBLISHED = list(LABELS)[:6]  # labels
MODELS = {2: (1, 8, 128), 4: (2, 8, 128), 6: (8, 8, 512)}
SETTINGS = Settings(
    num_train_epochs=1000,
    eval_steps=1000,
    batch_size=32,
    learning_rate=5e-4,
    weight_decay=0.1,
    gradient_accumulation_steps=1,
    num_warmup_steps=1000,
    shuffle=True,
)
SCHEDULE_STEPS = 41_000
JAX_PYTHON = ROOT / ".venv-jax/bin/python"
BenchmarkTask = NextTokens | DomainLabels
TURN_SECONDS = 0.5  # how long a variant runs in its turn, if a few steps do not take longer


@dataclass
class Variant:
    """One way to train: `run(n)` takes n steps and returns the seconds they took."""

    name: str
    precision: str
    seeds: int
    run: Callable[[int], float]
    other: bool = False  # than this project's

    @property
    def label(self) -> str:
        """What tells the variant from others."""
        return f"{self.name}, {self.precision}, {self.seeds} seed{'s' * (self.seeds > 1)}"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phase", default="pretrain", choices=["pretrain", "finetune"])
    parser.add_argument("--models", type=int, nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    device = prepare_torch("auto", threads=1)
    name = torch.cuda.get_device_name() if device == "cuda" else f"one core of {cpu_name()}"
    path = ROOT / f"benchmarks/results/{arguments.phase}_step_{device}.csv"
    path.parent.mkdir(exist_ok=True)
    rows = []
    with ExitStack() as until_done:
        directory = until_done.enter_context(tempfile.TemporaryDirectory())
        # What an earlier run compiled would make the first step look cheap.
        os.environ[CHOSEN] = f"{directory}/compiled"
        until_done.enter_context(private_caches(print))
        task, _, vocabulary_size = make_tasks(Path(directory), device, arguments.phase)
        for model in arguments.models:
            size = ModelSize(*MODELS[model], vocabulary_size, LONGEST + 1)
            found = measure_model(model, size, task, device, arguments.repetitions, directory)
            rows += [{"device": name} | row | {"torch": torch.__version__} for row in found]
            table = pd.DataFrame(rows)
            # After each model, as a borrowed GPU's time may be up before the next.
            table.to_csv(path, index=False, float_format="%.4g")
    print(table.drop(columns=["device", "torch"]).to_string(index=False, float_format="%.4g"))
    draw(table, arguments.phase, path.with_suffix(".png"))


def make_tasks(
    directory: Path, device: str, phase: str = "pretrain"
) -> tuple[BenchmarkTask, BenchmarkTask, int]:
    """Return data version 1 as tasks, training and validation, and its vocabulary's size."""
    files = {name: directory / f"{name}.csv" for name in ("train", "valid")}
    json = {name: directory / f"{name}.json" for name in ("vocabulary", "manifest")}
    generate_equations(DataSettings(10, 5), **files, **json)
    vocabulary = read_vocabulary(json["vocabulary"])

    def make(file: Path) -> BenchmarkTask:
        equations = read_equations(file)
        if phase == "pretrain":
            return NextTokens.of(equations, vocabulary, device, torch.float32)
        parts = parts_of(equations, vocabulary)
        answers = [LABELS[label](parts, parts, vocabulary.digits) for label in PUBLISHED]
        labels = np.stack(answers, axis=1).astype(np.uint8)
        return DomainLabels.of(equations, labels, vocabulary, device, torch.float32)

    return make(files["train"]), make(files["valid"]), vocabulary.size


def measure_model(
    model: int, size: ModelSize, task: BenchmarkTask, device: str, repetitions: int, directory: str
) -> list[dict[str, Any]]:
    """Return a row for each variant of one model version."""
    variants = [
        *others(size, task, device, directory),
        *(
            Variant(execution, precision, seeds, ours(execution, precision, size, task, seeds))
            for execution, precision, seeds in combinations(size, device)
        ),
    ]
    counts, start_up = {}, {}
    for variant in variants:
        try:
            start_up[id(variant)] = variant.run(1)
        except torch._dynamo.exc.TorchDynamoException as error:
            print(f"model {model}  {variant.label}: left out, it does not compile: {error!r}"[:500])
            continue
        counts[id(variant)] = max(1, min(500, round(TURN_SECONDS / variant.run(1))))
        variant.run(counts[id(variant)])  # JAX compiles for several steps once more
    variants = [variant for variant in variants if id(variant) in counts]
    times: dict[int, list[float]] = {id(variant): [] for variant in variants}
    products: dict[str, list[float]] = {variant.precision: [] for variant in variants}
    updates = []
    for repetition in range(repetitions):
        turn = repetition % len(variants)
        for precision, found in products.items():
            found.append(product_seconds(size, task, device, precision))
        updates.append(update_seconds(size, device))
        for variant in variants[turn:] + variants[:turn]:
            steps = counts[id(variant)]
            times[id(variant)].append(variant.run(steps) / steps / variant.seeds)
    baseline = times[id(variants[0])]
    rows = []
    for variant in variants:
        found = times[id(variant)]
        peers = [times[id(v)] for v in variants if v.other and v.precision == variant.precision]
        rows.append(
            {
                "model": model,
                "implementation": variant.name,
                "precision": variant.precision,
                "seeds": variant.seeds,
                "ms": 1e3 * median(found),
                "ms_min": 1e3 * min(found),
                "ms_max": 1e3 * max(found),
                "speedup": median(b / f for b, f in zip(baseline, found, strict=True)),
                "speedup_of_best": min(
                    (median(b / f for b, f in zip(peer, found, strict=True)) for peer in peers),
                    default=None,
                ),
                "products_ms": 1e3 * median(products[variant.precision]),
                "update_ms": 1e3 * median(updates),
                "floor_share": median(
                    (p + u) / f
                    for p, u, f in zip(products[variant.precision], updates, found, strict=True)
                ),
                "first_step_s": start_up[id(variant)],
            }
        )
        print(f"model {model}  {variant.label}: {rows[-1]['ms']:.3g} ms", flush=True)
    return rows


def others(size: ModelSize, task: BenchmarkTask, device: str, directory: str) -> Iterator[Variant]:
    """Yield what a user could take instead; Trainer in fp32 is the first."""
    for precision in ("fp32", "bf16") if has_bf16(device) else ("fp32",):
        loop = trainer(size, task, device, directory, precision)
        yield Variant("Trainer", precision, 1, loop, True)
        loop = plain_loop(size, task, device, precision)
        yield Variant("plain loop", precision, 1, loop, True)
        loop = plain_loop(size, task, device, precision, compiled=True)
        yield Variant("plain loop, compiled", precision, 1, loop, True)
        if device == "cpu" and JAX_PYTHON.exists():
            yield Variant("JAX", precision, 1, jax_loop(size, task, directory, precision), True)
    if device == "cpu" and not JAX_PYTHON.exists():
        print(f"JAX is left out: there is no {JAX_PYTHON}; `make bench` installs it")


def combinations(size: ModelSize, device: str) -> Iterator[tuple[str, str, int]]:
    """Yield the executors, precisions and seeds to measure."""
    yield from (("eager", "fp32", seeds) for seeds in (1, 4, 16))
    if device == "cuda":
        for precision in ("fp32", "tf32", "bf16"):
            for execution in CAPTURED:
                yield from ((execution, precision, seeds) for seeds in (1, 4, 16))
    # Compiling a deep model for the CPU takes a minute and a half each time.
    several = size.num_layers <= 2
    yield from (("compiled", "fp32", seeds) for seeds in ((1, 4, 16) if several else (1,)))
    if has_bf16(device):
        yield "compiled", "bf16", 1


def ours(
    execution: str, precision: str, size: ModelSize, task: BenchmarkTask, seeds: int
) -> Callable[[int], float]:
    """Return a run of this project's step with an executor."""
    device = str(task.tokens.device)
    multiply_in(precision)  # a captured step keeps it, others read it at each step
    generators = [torch_generator(seed, "weights") for seed in range(seeds)]
    weights = initialize(size, generators, len(PUBLISHED) if task.last_only else None)
    stack = build_stack(
        task,
        size,
        {name: value.to(device) for name, value in weights.items()},
        SETTINGS,
        [torch_generator(seed, "dropout", device) for seed in range(seeds)],
        products=PRECISIONS[precision][1],
    )
    if execution in COMPILED:
        compile_stack(stack)
    order = BatchOrder(len(task), SETTINGS, range(seeds), device)
    executor = make_executor(execution, stack, order, SETTINGS)
    done = 0

    def run(steps: int) -> float:
        nonlocal done
        multiply_in(precision)
        started = now(device)
        *_, done = executor.run(done + 1, done + steps)
        return now(device) - started

    return run


def reference_model(size: ModelSize, device: str, *, labels: bool = False) -> Any:
    """Return the same model as `transformers` builds it, with a head where it tells labels."""
    config = GPT2Config(
        vocab_size=size.vocabulary_size,
        n_embd=size.d_model,
        n_layer=size.num_layers,
        n_head=size.num_heads,
        bos_token_id=size.vocabulary_size - 1,
        eos_token_id=size.vocabulary_size - 1,
        pad_token_id=size.vocabulary_size - 1 if labels else None,  # to find the last token by
    )
    if labels:
        config.num_labels, config.problem_type = len(PUBLISHED), "multi_label_classification"
    model: Any = (GPT2ForSequenceClassification if labels else GPT2LMHeadModel)(config)
    model.to(device).train()
    return model


def examples(task: BenchmarkTask) -> dict[str, torch.Tensor]:
    """Return sequences and what is learnt of them, as `transformers` takes them."""
    if isinstance(task, DomainLabels):
        return {"input_ids": task.tokens[:-1], "labels": task.targets[:-1]}
    sequences = torch.cat([task.tokens, task.targets[:, -1:]], dim=1)[:-1]
    padding = torch.cat([task.weights[:, :1], task.weights], dim=1)[:-1] == 0
    return {"input_ids": sequences, "labels": sequences.masked_fill(padding, -100)}


def plain_loop(
    size: ModelSize, task: BenchmarkTask, device: str, precision: str, *, compiled: bool = False
) -> Callable[[int], float]:
    """Return a plain training loop around the model of `transformers`."""
    model, data = reference_model(size, device, labels=task.last_only), examples(task)
    decaying = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay, fused=True
    )
    schedule = get_linear_schedule_with_warmup(optimizer, SETTINGS.num_warmup_steps, SCHEDULE_STEPS)
    called = torch.compile(model, dynamic=False) if compiled else model

    def run(steps: int) -> float:
        started = now(device)
        for _ in range(steps):
            rows = torch.randperm(len(task), device=device)[: SETTINGS.batch_size]
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                loss = called(data["input_ids"][rows], labels=data["labels"][rows]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        return now(device) - started

    return run


def jax_loop(
    size: ModelSize, task: BenchmarkTask, directory: str, precision: str
) -> Callable[[int], float]:
    """Return a run of `jax_loop.py`, which waits in a process of its own between turns."""
    kind = "last" if isinstance(task, DomainLabels) else "weights"
    told = asdict(size) | {
        "batch_size": SETTINGS.batch_size,
        "learning_rate": SETTINGS.learning_rate,
        "weight_decay": SETTINGS.weight_decay,
        "max_grad_norm": SETTINGS.max_grad_norm,
        "warmup": SETTINGS.num_warmup_steps,
        "steps": SCHEDULE_STEPS,
        "precision": precision,
        "labels": len(PUBLISHED) if task.last_only else 0,
        "examples": {
            name: getattr(task, name)[:-1].tolist() for name in ("tokens", "targets", kind)
        },
    }
    path = f"{directory}/{size.num_layers}_{size.d_model}_{precision}.json"
    Path(path).write_text(json.dumps(told), encoding="utf-8")
    command = [str(JAX_PYTHON), str(ROOT / "benchmarks/jax_loop.py"), path]
    process: subprocess.Popen[str] | None = None

    def run(steps: int) -> float:
        nonlocal process
        process = process or subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None and process.stdout is not None
        print(steps, file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return run


class Clock(TrainerCallback):
    """Notes when Trainer's first and last step ended."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Note the time after the first and the last step."""
        if state.global_step in (1, state.max_steps):
            self.times.append(now(self.device))


class OrderedTrainer(Trainer):
    """Trainer that keeps the order of the file."""

    def _get_train_sampler(self, *args: Any, **more: Any) -> Any:
        dataset: Any = self.train_dataset
        return torch.utils.data.SequentialSampler(dataset)


def make_trainer(
    model: Any, task: BenchmarkTask, settings: Settings, directory: str, **arguments: Any
) -> Trainer:
    """Return Trainer with sensible settings: fused AdamW, data as tensors, no reports."""
    data = {name: value.cpu() for name, value in examples(task).items()}
    rows: Any = range(len(task))
    trainer = (Trainer if settings.shuffle else OrderedTrainer)(
        model=model,
        args=TrainingArguments(
            output_dir=directory,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=settings.num_warmup_steps,
            optim="adamw_torch_fused",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=not task.tokens.is_cuda,
            remove_unused_columns=False,
            **arguments,
        ),
        train_dataset=rows,
        data_collator=lambda rows: {
            name: value[torch.tensor(rows)] for name, value in data.items()
        },
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def trainer(
    size: ModelSize, task: BenchmarkTask, device: str, directory: str, precision: str
) -> Callable[[int], float]:
    """Return a run of `transformers.Trainer`, its set-up left out of the time."""
    model = reference_model(size, device, labels=task.last_only)

    def run(steps: int) -> float:
        clock = Clock(device)
        peer = make_trainer(
            model, task, SETTINGS, directory, max_steps=steps + 1, bf16=precision == "bf16"
        )
        peer.add_callback(clock)
        peer.train()
        return clock.times[1] - clock.times[0]

    return run


def step_flops(size: ModelSize, *, last_only: bool) -> float:
    """Return the floating-point operations of the matrix products of a step and seed."""
    rows, width = SETTINGS.batch_size * LONGEST, size.d_model
    read = SETTINGS.batch_size if last_only else rows  # states, and what the last block needs
    outputs = len(PUBLISHED) if last_only else size.vocabulary_size
    keys_values, others = 4 * width**2, 20 * width**2 + 4 * LONGEST * width  # of a block
    forward = rows * ((size.num_layers - 1) * (keys_values + others) + keys_values)
    return float(3 * (forward + read * (others + 2 * width * outputs)))


def product_seconds(size: ModelSize, task: BenchmarkTask, device: str, precision: str) -> float:
    """Return what the matrix products of a step and seed take at this moment's best rate."""
    multiply_in(precision)
    rows, width = SETTINGS.batch_size * LONGEST, size.d_model
    batch = 1 if device == "cpu" else 64  # a GPU needs several products at once to be filled
    dtype = PRECISIONS[precision][1]
    left = torch.randn(batch, rows, width, device=device).to(dtype)
    right = torch.randn(batch, width, 4 * width, device=device).to(dtype)
    flops = step_flops(size, last_only=task.last_only)
    best = best_seconds(lambda: torch.bmm(left, right), device)
    return flops * best / (8 * batch * rows * width**2)


def update_seconds(size: ModelSize, device: str) -> float:
    """Return what it takes to read and write, once, the weights and AdamW's two means of them."""
    state = torch.randn(3, size.parameters(), device=device)
    copy = torch.empty_like(state)
    return best_seconds(lambda: copy.copy_(state), device)


def best_seconds(work: Callable[[], object], device: str) -> float:
    """Return the seconds that something takes, five times in a row, at the best of 20 times."""
    best = float("inf")
    for _ in range(20):
        started = now(device)
        for _ in range(5):
            work()
        best = min(best, (now(device) - started) / 5)
    return best


def now(device: str) -> float:
    """Return the time in seconds, after all work on the device, such as `cuda:0`, is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def draw(table: pd.DataFrame, phase: str, path: Path) -> None:
    """Draw the speed-ups, where plotly is installed."""
    try:
        import plotly.express as px
    except ModuleNotFoundError:
        print(f"plotly is not installed: no figure at {path}")
        return
    shown = table.assign(
        model="model " + table["model"].astype(str),
        variant=table["implementation"]
        + ", "
        + table["precision"]
        + table["seeds"].map(lambda seeds: f", {seeds} seeds" if seeds > 1 else ""),
    )
    figure = px.bar(
        shown,
        x="speedup",
        y="variant",
        facet_col="model",
        color="implementation",
        text_auto=".2g",
        title=f"A {phase} step and seed, on {table['device'][0]}",
        labels={"speedup": "times as fast as Trainer", "variant": ""},
        hover_data=["ms", "ms_min", "ms_max", "floor_share"],
        template="plotly_white",
    )
    figure.for_each_annotation(lambda note: note.update(text=note.text.split("=")[-1]))
    figure.update_yaxes(categoryorder="array", categoryarray=shown["variant"].unique()[::-1])
    figure.update_layout(showlegend=False, height=500)
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Write a Plotly figure as a page under `results/benchmarks`, and with Chromium as PNG."""
    page = ROOT / f"results/benchmarks/{path.stem}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(page, div_id=path.stem, config={"displayModeBar": False})
    print(f"figure: {page}")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print(f"no Chromium was found to make {path.name} of it")
        return
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--virtual-time-budget=5000"]
    command += [f"--window-size=1000,{figure.layout.height}", f"--screenshot={path}", page.as_uri()]
    subprocess.run(command, check=True, timeout=120, capture_output=True)


if __name__ == "__main__":
    main()
