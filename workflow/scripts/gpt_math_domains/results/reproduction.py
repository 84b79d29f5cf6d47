"""The published curves beside this study's own, as the tables of `docs/reproduction`.

    python -m gpt_math_domains.results.reproduction results/reproduce docs/reproduction

prints the tables of each part of the study that has run below the first directory, against the
points in the second.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import lgamma, log, pi
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gpt_math_domains.results.baselines import of_labels
from gpt_math_domains.results.findings import COMPARISONS, FINAL, THRESHOLDS, find
from gpt_math_domains.results.metrics import read_metrics, seed_values
from gpt_math_domains.results.reference import compare, read_reference
from gpt_math_domains.results.statistics import difference
from gpt_math_domains.results.summary import summarize
from gpt_math_domains.run import ACCURACY, RUN

# What a table of pretraining tells beside accuracy: the column of the metrics, and its heading.
BESIDE = {
    "train_math_acc": "training",
    "mirrored_math_acc": "mirrored",
    "unmirrored_math_acc": "others",
    "eval_loss": "loss",
}
# Of data version 1 alone.
PUBLISHED = {
    "pretrain": "published_pretrain_1.csv",
    "finetune": "published_finetune_1_pretrain_1.csv",
}
ORDER_STEPS = (5000, 10_000, 20_000)
ORDERS_DIFFER_AT = 10_000
SHOWN = (1, 1.5, 2, 3, 5, 7)  # times powers of ten: the steps of a table


def reproduction_table(metrics: pd.DataFrame, published: pd.DataFrame | None) -> Iterator[str]:
    """Yield the lines of a table in Markdown, with a row for each step.

    Steps are those in `SHOWN` and the last one; where there are published curves, of those that
    these have, and what stands beside them. Of finetuning, each protocol has a column, with the
    difference after a comma.

    Args:
        metrics: of one data and model version, as `metrics.read_metrics` returns them.
        published: as `reference.read_reference` returns them; None if there are none.
    """
    phase = metrics["phase"].iloc[0]
    protocols = [] if phase == "pretrain" else metrics["protocol"].unique().tolist()
    if published is not None:
        at = [*RUN, "step"]
        told = compare(metrics, published)[[*at, "reference", "standard_errors"]]
        metrics = metrics.merge(told, on=at)
    heads = ["step", "published", *(protocols or ["ours", "difference", *BESIDE.values()])]
    if published is None:
        heads = [head for head in heads if head not in ("published", "difference")]
    yield _line(heads)
    yield _line("---:" for _ in heads)
    for step in sorted(metrics["step"].unique()):
        if not (is_shown(step) or step == metrics["step"].max()):
            continue
        rows = metrics[metrics["step"] == step]
        cells = [f"{step:,}"]
        if published is not None:
            cells.append(_number(rows["reference"].iloc[0], ".3f"))
        if protocols:
            found = dict(list(rows.groupby("protocol")))
            each = [_accuracy(found[name], phase) if name in found else [] for name in protocols]
            cells += [", ".join(filter(None, part)) for part in each]
        else:
            cells += _accuracy(rows, phase)
            cells += [f"{mean:.3f}" for mean in rows[list(BESIDE)].mean()]
        yield _line(cells)


def _accuracy(seeds: pd.DataFrame, phase: str) -> list[str]:
    """Return the mean and the band of some seeds' accuracy, and how far published ones are off."""
    found = seeds[ACCURACY[phase]]
    band = f"{found.mean():.3f} ({found.min():.3f} to {found.max():.3f})"
    if "standard_errors" not in seeds:
        return [band]
    return [band, _number(seeds["standard_errors"].iloc[0], "+.1f")]


def published_points(directory: Path, metrics: pd.DataFrame) -> pd.DataFrame | None:
    """Return the published points of what metrics are of, None where there are none.

    Args:
        directory: with the points.
        metrics: of one phase and data version, as `metrics.read_metrics` returns them.
    """
    phase = metrics["phase"].iloc[0]
    known = (metrics["data"] == 1).all()
    return read_reference(directory / PUBLISHED[phase], ACCURACY[phase]) if known else None


def recipes_table(recipes: Mapping[str, pd.DataFrame], published: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table in Markdown: how near each recipe is to the published curve.

    Of the steps that all of them have, it tells the mean difference, the mean of its absolute value
    in standard errors, and the mean log-likelihood of a published point: that of one more seed,
    whose accuracy is Student's t with n - 1 degrees of freedom around the mean of n seeds, with the
    standard error of `reference.compare`. The points of a curve hang together, so a sum over them
    would count the same chance many times.

    Args:
        recipes: metrics of one data and model version, as `metrics.read_metrics` returns them.
        published: as `reference.read_reference` returns them.
    """
    heads = ["recipe", "seeds", "points", "difference", "standard errors", "log-likelihood"]
    yield _line(heads)
    yield _line(["---", *("---:" for _ in heads[1:])])
    for name, at in _compare_all(recipes, published).items():
        cells = [at["seeds"].iloc[0], len(at), f"{at['difference'].mean():+.3f}"]
        cells += [f"{at['standard_errors'].abs().mean():.1f}", f"{at['log_likelihood'].mean():.2f}"]
        yield _line([name, *map(str, cells)])


def recognition_table(
    recipes: Mapping[str, pd.DataFrame], published: pd.DataFrame
) -> Iterator[str]:
    """Yield the lines of a table in Markdown: for which recipe each recipe's seeds would be taken.

    A seed's curve is held against all recipes at the published steps, as `recipes_table` does with
    the published one, and counts for the recipe that it is likeliest under. No recipe has that seed
    then, as it starts from the same weights in all of them.

    Args:
        recipes: see `recipes_table`; of three seeds or more, as two must be left for a band.
        published: see `recipes_table`.
    """
    yield _line(["trained with", *(f"taken for {name}" for name in recipes)])
    yield _line(["---", *("---:" for _ in recipes)])
    for name, metrics in recipes.items():
        taken: Counter[str] = Counter()
        for seed, curve in metrics.groupby("seed"):
            curve = curve.merge(published[["model", "step"]])[
                ["model", "step", ACCURACY["pretrain"]]
            ]
            others = {other: table[table["seed"] != seed] for other, table in recipes.items()}
            found = _compare_all(others, curve)
            taken[max(found, key=lambda other: found[other]["log_likelihood"].mean())] += 1
        yield _line([name, *(str(taken[other]) for other in recipes)])


def _compare_all(
    recipes: Mapping[str, pd.DataFrame], curve: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return how far each recipe is from a curve, at the steps that all of them have.

    The column `log_likelihood` is the logarithm of a point's density; see `recipes_table`.
    """
    found = {name: compare(metrics, curve).set_index("step") for name, metrics in recipes.items()}
    steps = sorted(set.intersection(*(set(table.index) for table in found.values())))
    return {
        name: table.loc[steps].assign(log_likelihood=_log_likelihood(table.loc[steps]))
        for name, table in found.items()
    }


def _log_likelihood(at: pd.DataFrame) -> "pd.Series[float]":
    """Return the logarithm of the density at each of some differences; see `recipes_table`."""
    freedom = at["seeds"].iloc[0] - 1
    constant = lgamma((freedom + 1) / 2) - lgamma(freedom / 2) - log(freedom * pi) / 2
    fall = (freedom + 1) / 2 * np.log1p(at["standard_errors"] ** 2 / freedom)
    likelihood: pd.Series[float] = constant - fall - np.log(at["standard_error"])
    return likelihood


def starts_table(metrics: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of two tables in Markdown: what each protocol needs, and what a start saves.

    The first has a row for each protocol with the steps to each of `findings.THRESHOLDS` and the
    last accuracy; the second, one for each two protocols that differ in the start alone. Means and
    their 95% intervals over seeds are those of `summary.summarize` and of `findings.find`.

    Args:
        metrics: of finetuning on one data version, as `metrics.read_metrics` returns them.
    """
    summary = summarize([metrics])
    yield _line(["protocol", *(f"steps to {limit}" for limit in THRESHOLDS), "at the end"])
    yield _line(["---", *("---:" for _ in THRESHOLDS), "---:"])
    for row in summary.to_dict("records"):
        steps = [
            _interval(row, f"step_{limit}", ",.0f")
            if row[f"reached_{limit}"] == row["seeds"]
            else f"{row[f'reached_{limit}']} of {row['seeds']} seeds"
            for limit in THRESHOLDS
        ]
        yield _line([row["protocol"], *steps, _interval(row, FINAL, ".3f")])
    yield ""
    told = [*(f"steps saved to {limit}" for limit in THRESHOLDS), "final difference"]
    yield _line(["a pretrained start", "a random one", *told])
    yield _line(["---", "---", *("---:" for _ in told)])
    for pair in find(pd.DataFrame(columns=metrics.columns), metrics, summary).comparisons:
        yield _line([pair["pretrained"], pair["random"], *(pair[name] for name in told)])


def labels_table(labels: pd.DataFrame, baselines: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table in Markdown: how often a head alone tells each label.

    At the last step that both starts have, means over seeds, and the pretrained start's less the
    random one's, with its 95% interval (`statistics.difference`).

    Args:
        labels: of finetuning one model on one data version, as `metrics.read_parts` returns them.
        baselines: of the labels, as `baselines.read_baselines` returns them.
    """
    pretrained, random, *_ = COMPARISONS[-1]
    found = {name: labels[labels["protocol"] == name] for name in (pretrained, random)}
    step = max(set.intersection(*(set(rows["step"]) for rows in found.values())))
    own, other = (
        rows[rows["step"] == step].pivot(index="seed", columns="label", values="accuracy")
        for rows in found.values()
    )
    yield _line(["label", "baseline", pretrained, random, "difference"])
    yield _line(["---", *["---:"] * 4])
    for label, baseline in of_labels(baselines).items():
        means = baseline, own[label].mean(), other[label].mean()
        gap = _difference(own[label], other[label])
        yield _line([label, *(f"{mean:.3f}" for mean in means), gap])


def order_curves(directory: Path, data: int) -> dict[str, pd.DataFrame]:
    """Return the accuracy of pretraining model 2 by the order of its training equations.

    Args:
        directory: with the tables of the parts, and those of `orders.py` in `orders`.
        data: the data version.

    Returns:
        Accuracies by the order's name, a row for each step and a column for each seed, file order
        first and a new one each epoch second.

    Raises:
        ValueError: a table of a part is malformed.
        OSError: a table cannot be read.
    """
    metric, part = ACCURACY["pretrain"], directory / f"data_{data}_model_2"
    curves = {
        name: seed_values(read_metrics(path / "pretrain.csv"), metric)
        for name, path in {"file": part, "each_epoch": Path(f"{part}_shuffled")}.items()
    }
    for path in sorted((directory / "orders").glob(f"*_data_{data}.csv")):
        table = pd.read_csv(path)
        name = path.stem.removesuffix(f"_data_{data}")
        curves[name] = table.pivot(index="step", columns="seed", values=metric)
    return curves


def orders_table(curves: Mapping[int, Mapping[str, pd.DataFrame]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: how soon model 2 learns in which order.

    Means over the seeds that an order has, and at one step how far it is from file order, with the
    95% interval (`statistics.difference`, of the same seeds).

    Args:
        curves: by data version, as `order_curves` returns them.
    """
    steps = [f"{step:,}" for step in ORDER_STEPS]
    yield _line(["data", "order", "seeds", *steps, f"from file order, {ORDERS_DIFFER_AT:,}"])
    yield _line(["---:", "---", *["---:"] * (len(steps) + 2)])
    for data, orders in curves.items():
        for name, values in orders.items():
            cells = [str(data), f"`{name}`", str(values.shape[1])]
            cells += [f"{values.loc[step].mean():.3f}" for step in ORDER_STEPS]
            if name == "file":
                yield _line([*cells, ""])
                continue
            there, in_file = (found.T[ORDERS_DIFFER_AT] for found in (values, orders["file"]))
            yield _line([*cells, _difference(there, in_file[there.index])])


def is_shown(step: int) -> bool:
    """Tell whether a step is one of `SHOWN`, times a power of ten."""
    return float(f"{step:e}".partition("e")[0]) in SHOWN


def _interval(row: Mapping[Any, Any], name: str, form: str) -> str:
    mean, low, high = (row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    return f"{mean:{form}} ({low:{form}} to {high:{form}})"


def _difference(values: "pd.Series[float]", others: "pd.Series[float]") -> str:
    """Return `statistics.difference` in words; without an interval where there is none."""
    gap = difference(values, others)
    interval = "" if pd.isna(gap.low) else f" ({gap.low:.3f} to {gap.high:.3f})"
    return f"{gap.mean:+.3f}{interval}"


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(results: Path, published: Path) -> None:
    """Print the tables."""
    for part in sorted(path for path in results.glob("*") if path.is_dir()):
        for phase in ACCURACY:
            path = part / "metrics" / f"{phase}.csv"
            metrics = read_metrics(path) if path.exists() else pd.DataFrame()
            if metrics.empty:
                continue
            print(f"\n{part.name}, {phase}\n")
            print(*reproduction_table(metrics, published_points(published, metrics)), sep="\n")
            if phase == "finetune":
                print("", *starts_table(metrics), sep="\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
