"""Train model 2 on data 1 with this project and with `transformers.Trainer`, and compare.

    python benchmarks/parity.py

Ten seeds each, 4,100 steps, the settings of the published study, shuffled and in file order. All
weights are judged by the same code on the validation equations. The means count as equal if they
differ by less than margins that were fixed before the first run: 0.02 in accuracy, 0.05 in loss.
Writes `docs/parity/parity.csv` (one row for each seed), the table in `docs/parity/README.md` and,
where Chromium is installed, the figure. Ends with status 1 if a mean lies outside its margin.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.express as px
import torch
from scipy.stats import ttest_ind
from training_step import (
    MODELS,
    SETTINGS,
    BenchmarkTask,
    make_tasks,
    make_trainer,
    reference_model,
    save_figure,
)
from transformers import set_seed

from gpt_math_domains.data.vocabulary import LONGEST
from gpt_math_domains.files import write_text
from gpt_math_domains.jobs.caches import private_caches
from gpt_math_domains.run import ModelSize, Settings
from gpt_math_domains.training.device import PRECISIONS, has_bf16, prepare_torch
from gpt_math_domains.training.execution import make_executor, prepare_execution
from gpt_math_domains.training.model import Parameters, initialize
from gpt_math_domains.training.stack import BatchOrder, build_stack, decide, torch_generator

ROOT = Path(__file__).parents[1]
SEEDS = range(10)
EPOCHS = 100
MARGINS = {"math_acc": 0.02, "eval_loss": 0.05}
BASELINE = "Trainer"


def main() -> None:
    """Train, compare and write."""
    device = prepare_torch("auto", threads=1)
    with tempfile.TemporaryDirectory() as directory, private_caches(print):
        train, valid, vocabulary_size = make_tasks(Path(directory), device)
        size = ModelSize(*MODELS[2], vocabulary_size, LONGEST + 1)
        rows = []
        for shuffle in (False, True):
            settings = Settings(
                **{**vars(SETTINGS), "num_train_epochs": EPOCHS, "shuffle": shuffle}
            )
            executions = [("eager", "fp32"), ("compiled", "fp32"), ("compiled", "bf16")]
            for name, precision in executions if has_bf16(device) else executions[:-1]:
                weights = ours(name, precision, size, train, settings)
                rows += judge(f"{name}, {precision}", weights, size, valid, shuffle)
            for seed in SEEDS:
                weights = theirs(seed, size, train, settings, directory)
                rows += judge(BASELINE, weights, size, valid, shuffle, seed)
    table = pd.DataFrame(rows)
    folder = ROOT / "docs/parity"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "parity.csv", table.to_csv(index=False, float_format="%.6g"))
    summary = compare(table)
    write_text(folder / "README.md", describe(summary))
    draw(table, folder / "parity.png")
    print(summary.to_string(index=False))
    if not summary["equal"].all():
        raise SystemExit("error: a mean lies outside its margin")


def ours(
    execution: str, precision: str, size: ModelSize, task: BenchmarkTask, settings: Settings
) -> Parameters:
    """Train all seeds side by side; return their weights `[R, ...]`."""
    device = str(task.tokens.device)
    weights = initialize(size, [torch_generator(seed, "weights") for seed in SEEDS])
    stack = build_stack(
        task,
        size,
        {name: value.to(device) for name, value in weights.items()},
        settings,
        [torch_generator(seed, "pretrain dropout", device) for seed in SEEDS],
        products=PRECISIONS[precision][1],
    )
    order = BatchOrder(len(task), settings, SEEDS, device)
    prepare_execution(execution, stack, order, settings, print)
    executor = make_executor(execution, stack, order, settings)
    for _ in executor.run(1, settings.total_steps(len(task))):
        pass
    return stack.parameters


def theirs(
    seed: int, size: ModelSize, task: BenchmarkTask, settings: Settings, directory: str
) -> Parameters:
    """Train one seed with Trainer; return its weights `[1, ...]`."""
    device = str(task.tokens.device)
    set_seed(seed)
    model = reference_model(size, device)
    make_trainer(
        model,
        task,
        settings,
        directory,
        num_train_epochs=settings.num_train_epochs,
        seed=seed,
    ).train()
    positions = size.num_positions
    return {
        name: value.detach()[None, :positions] if "wpe" in name else value.detach()[None]
        for name, value in model.named_parameters()
    }


def judge(
    name: str,
    weights: Parameters,
    size: ModelSize,
    valid: BenchmarkTask,
    shuffle: bool,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return a row for each seed of stacked weights; the first is `seed`."""
    losses, right = decide(valid, weights, size)
    accuracies = right.double().mean(dim=(1, 2))
    rows = [
        {
            "order": "shuffled" if shuffle else "file order",
            "implementation": name,
            "seed": seed + place,
            "eval_loss": loss,
            "math_acc": accuracy,
        }
        for place, (loss, accuracy) in enumerate(
            zip(losses.tolist(), accuracies.tolist(), strict=True)
        )
    ]
    print(time.strftime("%H:%M:%S"), rows[-1], flush=True)
    return rows


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each order, implementation and metric: means and their difference.

    The interval is the 90% one of Welch's t, as of two one-sided tests at 5%.
    """
    rows = []
    for (order, name), found in table.groupby(["order", "implementation"], sort=False):
        if name == BASELINE:
            continue
        peer = table[(table["order"] == order) & (table["implementation"] == BASELINE)]
        for metric, margin in MARGINS.items():
            interval = ttest_ind(found[metric], peer[metric], equal_var=False).confidence_interval(
                0.9
            )
            difference = found[metric].mean() - peer[metric].mean()
            rows.append(
                {
                    "order": order,
                    "implementation": name,
                    "metric": metric,
                    "mean": found[metric].mean(),
                    "Trainer": peer[metric].mean(),
                    "difference": difference,
                    "90% low": interval.low,
                    "90% high": interval.high,
                    "margin": margin,
                    "equal": abs(difference) < margin,
                }
            )
    return pd.DataFrame(rows)


def describe(summary: pd.DataFrame) -> str:
    """Return the page that shows the comparison."""
    lines = [
        "# Parity with transformers.Trainer",
        "",
        "Written by `make parity`: model 2 on data 1, 10 seeds, 4,100 steps, the settings of the",
        "published study. Each row compares the mean over seeds with that of Trainer, on the",
        "validation equations; `equal` is whether the difference is within the margin, which was",
        "fixed before the first run. The interval tells what ten seeds can tell: where it is wider",
        "than the margin, more seeds would be needed to exclude a larger difference.",
        "",
        "| " + " | ".join(summary.columns) + " |",
        "| " + " | ".join("---" for _ in summary.columns) + " |",
    ]
    for row in summary.itertuples(index=False):
        cells = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"torch {torch.__version__}. All seeds: [parity.csv](parity.csv).",
        "",
        "![Accuracy and loss of each seed](parity.png)",
        "",
    ]
    return "\n".join(lines)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw each seed's final accuracy and loss, with Chromium's help."""
    long = table.melt(["order", "implementation", "seed"], list(MARGINS), var_name="metric")
    figure = px.strip(
        long,
        x="implementation",
        y="value",
        color="implementation",
        facet_col="order",
        facet_row="metric",
        facet_row_spacing=0.08,
        facet_col_spacing=0.08,
        title="Model 2 on data 1 after 4,100 steps: 10 seeds of each",
        labels={"value": "", "implementation": ""},
        template="plotly_white",
    )
    figure.for_each_annotation(lambda note: note.update(text=note.text.split("=")[-1]))
    figure.update_yaxes(matches=None, showticklabels=True)
    figure.update_layout(showlegend=False, height=700)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
