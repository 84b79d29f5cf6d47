"""What docs/reproduction says of the published study is what its tables say."""

import re
from pathlib import Path

import pandas as pd
import pytest

from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.reference import compare, read_reference
from gpt_math_domains.results.statistics import mean_interval

DIRECTORY = Path(__file__).parents[3] / "docs" / "reproduction"
PARTS = sorted(path.parent.name for path in DIRECTORY.glob("*/pretrain.csv"))


def expected_rows(part: str) -> list[str]:
    """Return the rows of a part's table at the steps that its page shows."""
    metrics = read_metrics(DIRECTORY / part / "pretrain.csv")
    published = read_reference(DIRECTORY / "published_pretrain_1.csv", "math_acc")
    compared = compare(metrics, published).set_index("step")
    rows = []
    for step, seeds in metrics.groupby("step"):
        if step not in compared.index:
            continue
        told = compared.loc[step]
        lowest, highest = seeds["math_acc"].min(), seeds["math_acc"].max()
        means = seeds[
            ["train_math_acc", "mirrored_math_acc", "unmirrored_math_acc", "eval_loss"]
        ].mean()
        cells = [
            f"{step:,}",
            f"{told['reference']:.3f}",
            f"{told['mean']:.3f} ({lowest:.3f} to {highest:.3f})",
            f"{told['standard_errors']:+.1f}",
            *(f"{mean:.3f}" for mean in means),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def shown_rows(part: str) -> list[str]:
    """Return the rows of a part's table as the page shows them."""
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^### .*`{part}`.*\n((?:.*\n)*?)(?=^#|\Z)", page, re.MULTILINE)
    assert section is not None, f"no section of {part}"
    return [line for line in section[1].splitlines() if re.match(r"\| [\d,]+ \|", line)]


@pytest.mark.parametrize("part", PARTS)
def test_the_page_shows_what_the_tables_say(part: str) -> None:
    shown, expected = shown_rows(part), expected_rows(part)
    assert shown
    assert [row for row in shown if row not in expected] == []
    assert shown[-1] == expected[-1]  # the end is not left out


@pytest.mark.parametrize("part", PARTS)
def test_each_table_has_the_record_of_its_runs(part: str) -> None:
    record = pd.read_json(DIRECTORY / part / "pretrain.json", typ="series")
    metrics = read_metrics(DIRECTORY / part / "pretrain.csv")
    assert metrics["seed"].drop_duplicates().tolist() == record["seeds"]
    assert metrics[["data", "model"]].drop_duplicates().values.tolist() == [
        [record["run"]["data"], record["run"]["model"]]
    ]
    assert record["git"]["dirty"] is False


def gains(part: str, operations: list[str]) -> pd.DataFrame:
    """Return each seed's accuracy on mirrored and on other pairs of some operations."""
    table = pd.read_csv(DIRECTORY / part / "mirrored.csv")
    counts = table[table["operation"].isin(operations)].groupby(["seed", "pair"])
    sums = counts[["equations", "right"]].sum()
    return (sums["right"] / sums["equations"]).unstack()


def test_what_mirrored_pairs_are_worth_is_what_the_tables_say() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| ((?:add|multiply|subtract|divide).*) \|$", page, re.MULTILINE)
    assert len(shown) == 6
    for row in shown:
        operations, *cells = row.split(" | ")
        expected: list[str] = []
        for part in ("data_1_model_2", "data_1_model_2_shuffled"):
            found = gains(part, operations.split(", "))
            gain = mean_interval(found["mirrored"] - found["other"])
            if not expected:
                expected += [f"{found[kind].mean():.3f}" for kind in ("mirrored", "other")]
            expected.append(f"{gain.mean:+.3f} ({gain.low:.3f} to {gain.high:.3f})")
        assert cells == expected


@pytest.mark.parametrize("part", ["data_1_model_2", "data_1_model_2_shuffled"])
def test_mirrored_pairs_are_counted_as_the_last_evaluation_counts_them(part: str) -> None:
    table = pd.read_csv(DIRECTORY / part / "mirrored.csv")
    found = table.groupby("seed")[["equations", "right"]].sum()
    metrics = read_metrics(DIRECTORY / part / "pretrain.csv")
    last = metrics[metrics["step"] == metrics["step"].max()].set_index("seed")
    assert (found["equations"] == 560).all()
    assert (found["right"] / found["equations"]).tolist() == pytest.approx(last["math_acc"])
