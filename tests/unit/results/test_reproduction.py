"""What docs/reproduction says of the published study is what its tables say."""

import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.results.baselines import compute_baselines, read_baselines
from gpt_math_domains.results.metrics import read_metrics, read_parts
from gpt_math_domains.results.reference import read_reference
from gpt_math_domains.results.reproduction import (
    PUBLISHED,
    labels_table,
    order_curves,
    orders_table,
    published_points,
    recipes_table,
    recognition_table,
    reproduction_table,
    starts_table,
)
from gpt_math_domains.results.statistics import mean_interval
from metric_rows import row, table

DIRECTORY = Path(__file__).parents[3] / "docs" / "reproduction"
TABLES = sorted(
    path.relative_to(DIRECTORY).as_posix()
    for phase in PUBLISHED
    for path in DIRECTORY.glob(f"*/{phase}.csv")
)
# Of trainings that have not run to their end, or not on one machine.
UNRECORDED = {
    "data_1_model_6/pretrain.csv",
    "data_3_model_2_shuffled/pretrain.csv",
    "data_3_model_4/pretrain.csv",
    "data_3_model_4/finetune.csv",
}

# Each recipe's tables, of different seeds.
RECIPES = {
    "model 2": {
        "decay of matrices, clip 1": [
            "data_1_model_2/pretrain.csv",
            "data_1_model_2_recipes/clip.csv",
        ],
        "decay of all, clip 1": [
            "data_1_model_2_decay_all/pretrain.csv",
            "data_1_model_2_recipes/decay_all_clip.csv",
        ],
        "decay of matrices, no clip": ["data_1_model_2_recipes/no_clip.csv"],
        "decay of all, no clip": ["data_1_model_2_recipes/decay_all_no_clip.csv"],
    },
    "model 4": {
        "decay of matrices, clip 1": ["data_1_model_4/pretrain.csv"],
        "decay of all, clip 1": ["data_1_model_4_decay_all/pretrain.csv"],
    },
    "model 4, without clipping too": {
        "decay of matrices, clip 1": ["data_1_model_4/pretrain.csv"],
        "decay of all, clip 1": ["data_1_model_4_decay_all/pretrain.csv"],
        "decay of all, no clip": ["data_1_model_4_recipes/decay_all_no_clip.csv"],
    },
}


def shown_tables(table: str) -> list[str]:
    """Return the lines of the tables that the page shows of one, which its heading names."""
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^### .*`{table}`.*\n((?:.*\n)*?)(?=^#|\Z)", page, re.MULTILINE)
    assert section is not None, f"no section of {table}"
    return [line for line in section[1].splitlines() if line.startswith("|")]


@pytest.mark.parametrize("table", TABLES)
def test_the_page_shows_what_the_tables_say(table: str) -> None:
    metrics = read_metrics(DIRECTORY / table)
    told = [*reproduction_table(metrics, published_points(DIRECTORY, metrics))]
    if Path(table).stem == "finetune":
        told += filter(None, starts_table(metrics))
        part = (DIRECTORY / table).parent
        labels = read_parts([part / "finetune_labels.csv"], "finetune")
        told += labels_table(labels, read_baselines([part / "finetune_baselines.csv"]))
    assert shown_tables(table) == told


@pytest.mark.parametrize("model", RECIPES)
def test_the_page_judges_recipes_as_their_tables_do(model: str) -> None:
    recipes = {
        name: pd.concat([read_metrics(DIRECTORY / path) for path in paths], ignore_index=True)
        for name, paths in RECIPES[model].items()
    }
    published = read_reference(DIRECTORY / PUBLISHED["pretrain"], "math_acc")
    shown, told = shown_tables(model), list(recipes_table(recipes, published))
    assert shown[: len(told)] == told
    if all(metrics["seed"].nunique() > 2 for metrics in recipes.values()):
        told = list(recognition_table(recipes, published))
        assert shown[-len(told) :] == told


def test_a_part_without_published_curves_has_the_same_table_without_them() -> None:
    metrics = read_metrics(DIRECTORY / "data_1_model_2" / "pretrain.csv")
    published = read_reference(DIRECTORY / PUBLISHED["pretrain"], "math_acc")
    alone, beside = (
        [[cell.strip() for cell in line.split("|")] for line in reproduction_table(metrics, points)]
        for points in (None, published)
    )
    assert alone[0][:3] == ["", "step", "ours"]
    last_alone, last_beside = alone[-1], beside[-1]
    assert last_alone[1] == last_beside[1] == "41,000"
    assert last_alone[2:] == [last_beside[3], *last_beside[5:]]
    assert len(alone) > len(beside)  # evaluations before the first published point


def test_finetuning_has_a_column_for_each_protocol(tmp_path: Path) -> None:
    found = {"full": {1000: [0.5, 0.7]}, "scratch": {1000: [1.0, 1.0], 2000: [0.9, 1.0]}}
    rows = [
        row("finetune", seed, step, accuracy, protocol=protocol)
        for protocol, steps in found.items()
        for step, accuracies in steps.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    metrics = read_metrics(table(tmp_path, rows, "finetune"))
    published = read_reference(DIRECTORY / PUBLISHED["finetune"], "domain_acc")
    assert [*reproduction_table(metrics, published)] == [
        "| step | published | full | scratch |",
        "| ---: | ---: | ---: | ---: |",
        "| 1,000 | 0.499 | 0.600 (0.500 to 0.700), +0.6 | 1.000 (1.000 to 1.000) |",
        "| 2,000 | 0.663 |  | 0.950 (0.900 to 1.000), +3.3 |",
    ]
    *_, line = reproduction_table(metrics, None)
    assert line == "| 2,000 |  | 0.950 (0.900 to 1.000) |"


def test_a_recipe_is_judged_by_what_one_more_seed_would_do(tmp_path: Path) -> None:
    points = read_reference(DIRECTORY / PUBLISHED["pretrain"], "math_acc")
    at = points[points["model"] == 2].set_index("step")["math_acc"]
    seeds = {1000: [0.3, 0.4, 0.38], 2000: [0.5, 0.42, 0.4]}
    rows = [
        row("pretrain", seed, step, accuracy)
        for step, accuracies in seeds.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    metrics = read_metrics(table(tmp_path, rows, "pretrain"))
    *_, line = recipes_table({"mine": metrics}, points)
    spreads = {step: pd.Series(found).std() * (4 / 3) ** 0.5 for step, found in seeds.items()}
    means = {step: sum(found) / 3 for step, found in seeds.items()}
    told = sum(t.logpdf(at[step], 2, loc=means[step], scale=spreads[step]) for step in seeds) / 2
    gap = sum(means[step] - at[step] for step in seeds) / 2
    errors = sum(abs(means[step] - at[step]) / spreads[step] for step in seeds) / 2
    assert line == f"| mine | 3 | 2 | {gap:+.3f} | {errors:.1f} | {told:.2f} |"


def test_recipes_that_differ_are_recognized_by_each_of_their_seeds(tmp_path: Path) -> None:
    points = read_reference(DIRECTORY / PUBLISHED["pretrain"], "math_acc")
    spread = [0.00, 0.01, 0.03, 0.06]
    recipes = {
        name: read_metrics(
            table(
                tmp_path,
                [
                    row("pretrain", seed, step, start + more)
                    for step in (500, 1000, 2000)  # the first was not published
                    for seed, more in enumerate(spread)
                ],
                "pretrain",
            )
        )
        for name, start in {"slow": 0.2, "fast": 0.7}.items()
    }
    assert list(recognition_table(recipes, points)) == [
        "| trained with | taken for slow | taken for fast |",
        "| --- | ---: | ---: |",
        "| slow | 4 | 0 |",
        "| fast | 0 | 4 |",
    ]


@pytest.mark.parametrize("table", [name for name in TABLES if name.endswith("/pretrain.csv")])
def test_each_table_of_whole_runs_has_their_record(table: str) -> None:
    if table in UNRECORDED:
        assert not (DIRECTORY / table).with_suffix(".json").exists()
        return
    record = pd.read_json((DIRECTORY / table).with_suffix(".json"), typ="series")
    metrics = read_metrics(DIRECTORY / table)
    assert metrics["seed"].drop_duplicates().tolist() == record["seeds"]
    assert metrics[["data", "model"]].drop_duplicates().values.tolist() == [
        [record["run"]["data"], record["run"]["model"]]
    ]
    assert record["git"]["dirty"] is False


@pytest.mark.parametrize("table", [name for name in TABLES if name.endswith("/finetune.csv")])
def test_each_protocol_of_whole_finetunings_has_its_record(table: str) -> None:
    if table in UNRECORDED:
        assert not list((DIRECTORY / table).parent.glob("finetune_*.json"))
        return
    metrics = read_metrics(DIRECTORY / table)
    for protocol, rows in metrics.groupby("protocol"):
        path = (DIRECTORY / table).with_name(f"finetune_{protocol}.json")
        record = pd.read_json(path, typ="series")
        assert rows["seed"].drop_duplicates().tolist() == record["seeds"]
        assert record["run"] == rows[["data", "model", "domain", "protocol"]].iloc[0].to_dict() | {
            "phase": "finetune"
        }
        assert rows["epoch"].max() == record["settings"]["num_train_epochs"]
        assert record["git"]["dirty"] is False


def test_fp32_and_bf16_differ_as_their_tables_say() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^\| step \| training loss, fp32 .*\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert shown is not None
    fp32, bf16 = (
        read_metrics(DIRECTORY / f"data_1_model_6/{precision}.csv").pivot(
            index="step", columns="seed"
        )
        for precision in ("fp32", "bf16")
    )
    for line in shown[1].splitlines():
        step, *cells = line.strip("| ").split(" | ")
        at = int(step.replace(",", ""))
        expected: list[str] = []
        for name, digits in (("train_loss", 4), ("math_acc", 3)):
            before, after = (table[name].loc[at] for table in (fp32, bf16))
            expected.append(", ".join(f"{value:.{digits}f}" for value in before))
            expected.append(", ".join(f"{value:+.{digits}f}" for value in after - before))
        assert cells == expected


def gains(part: str, operation: str, *, modular: bool) -> pd.DataFrame:
    """Return each seed's accuracy on mirrored and on other pairs of some families."""
    table = pd.read_csv(DIRECTORY / part / "mirrored.csv")
    chosen = (table["operation"] == operation) & (table["modulo"].notna() == modular)
    sums = table[chosen].groupby(["seed", "pair"])[["equations", "right"]].sum()
    return (sums["right"] / sums["equations"]).unstack()


def test_what_mirrored_pairs_are_worth_is_what_the_tables_say() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (\w+), (with a modulus|without) \| (.*) \|$", page, re.MULTILINE)
    assert len(shown) == 8
    for operation, which, line in shown:
        expected: list[str] = []
        for part in ("data_1_model_2", "data_1_model_2_shuffled"):
            found = gains(part, operation, modular=which == "with a modulus")
            gain = mean_interval(found["mirrored"] - found["other"])
            if not expected:
                expected += [f"{found[kind].mean():.3f}" for kind in ("mirrored", "other")]
            expected.append(f"{gain.mean:+.3f} ({gain.low:.3f} to {gain.high:.3f})")
        assert line.split(" | ") == expected


@pytest.mark.parametrize(
    ("part", "equations"),
    [
        ("data_1_model_2", 560),
        ("data_1_model_2_shuffled", 560),
        ("data_1_model_4", 560),
        ("data_1_model_4_decay_all", 560),
        ("data_3_model_2", 2223),
        ("data_3_model_4", 2223),
    ],
)
def test_mirrored_pairs_are_counted_as_the_last_evaluation_counts_them(
    part: str, equations: int
) -> None:
    table = pd.read_csv(DIRECTORY / part / "mirrored.csv")
    found = table.groupby("seed")[["equations", "right"]].sum()
    metrics = read_metrics(DIRECTORY / part / "pretrain.csv")
    last = metrics[metrics["step"] == metrics["step"].max()].set_index("seed")
    assert (found["equations"] == equations).all()
    assert (found["right"] / found["equations"]).tolist() == pytest.approx(last["math_acc"])


def test_what_was_tried_in_finetuning_is_what_its_tables_say() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^\| trial \|(.*)\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert shown is not None
    steps = [int(cell.replace(",", "")) for cell in shown[1].split("|")[1:-2]]
    published = read_reference(DIRECTORY / PUBLISHED["finetune"], "domain_acc")
    points = published[published["model"] == 2].set_index("step")["domain_acc"]
    lines = [line.strip("| ").split(" | ") for line in shown[2].splitlines()]
    assert lines.pop(0)[2:] == [f"{points[step]:.3f}" for step in steps]
    assert {trial for trial, *_ in lines} == {
        f"`{path.stem.removesuffix('_model_2')}`"
        for path in (DIRECTORY / "trials").glob("*_model_2.csv")
    }
    for trial, seeds, *cells in lines:
        table = pd.read_csv(DIRECTORY / f"trials/{trial.strip('`')}_model_2.csv")
        means = table.groupby("step")["domain_acc"].mean()
        gaps = (means[means.index <= steps[-1]] - points).dropna().abs()
        assert int(seeds) == table["seed"].nunique()
        assert cells == [*(f"{means[step]:.3f}" for step in steps), f"{gaps.mean():.3f}"]


def test_how_the_nearest_way_of_finetuning_goes_on_is_what_its_tables_say() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^\| longer \|(.*)\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert shown is not None
    steps = [int(cell.replace(",", "")) for cell in shown[1].split("|")[:-1]]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown[2].splitlines()]
    reference = read_reference(DIRECTORY / PUBLISHED["finetune"], "domain_acc").set_index("step")
    expected = []
    for model in (2, 4):
        points = reference.loc[reference["model"] == model, "domain_acc"]
        ours = pd.read_csv(DIRECTORY / f"trials/aligned_model_{model}_longer.csv")
        means = ours.groupby("step")["domain_acc"].mean()
        for name, found in {"published": points, "two seeds": means}.items():
            cells = [f"{found[step]:.3f}" if step in found.index else "" for step in steps]
            expected.append([f"model {model}, {name}", *cells])
        assert ours["seed"].nunique() == 2
    assert rows == expected


def test_what_orders_do_is_what_their_tables_say() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^\| data \| order \|.*\n(?:\|.*\n)+", page, re.MULTILINE)
    assert shown is not None
    curves = {data: order_curves(DIRECTORY, data) for data in (1, 3)}
    assert shown[0].splitlines() == list(orders_table(curves))


def test_an_order_is_held_against_the_same_seeds_in_file_order() -> None:
    steps = [5000, 10_000, 20_000]
    in_file = pd.DataFrame({0: [0.1, 0.2, 0.3], 1: [0.3, 0.4, 0.5], 2: [0.9, 0.9, 0.9]}, steps)
    other = pd.DataFrame({0: [0.2, 0.5, 0.6], 1: [0.4, 0.5, 0.7]}, steps)
    *_, first, second = orders_table({1: {"file": in_file, "other": other}})
    assert first == "| 1 | `file` | 3 | 0.433 | 0.500 | 0.567 |  |"
    assert second.startswith("| 1 | `other` | 2 | 0.300 | 0.500 | 0.650 | +0.200 (")
    *_, alone = orders_table({1: {"file": in_file, "other": other[[0]]}})
    assert alone.endswith("| +0.300 |")  # one seed has no interval


def test_what_is_got_wrong_is_what_the_tables_say(tmp_path: Path) -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    names, _, *rows = (
        line.strip("|").split("|")
        for line in re.findall(r"^\| part \|.*\n(?:\|.*\n)+", page, re.MULTILINE)[0].splitlines()
    )
    operations = [name.strip() for name in names[1:]]
    shown = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}
    for data, settings in {1: DataSettings(10, 5), 3: DataSettings(20, 5)}.items():
        baselines = of_most(tmp_path, data, settings)
        assert shown.pop(f"baseline, data {data}") == [f"{baselines[n]:.3f}" for n in operations]
    assert len(shown) == 3
    for part, cells in shown.items():
        table = pd.read_csv(DIRECTORY / part / "mirrored.csv")
        sums = table.groupby(["seed", "operation"])[["equations", "right"]].sum()
        shares = (sums["right"] / sums["equations"]).unstack()
        found = [mean_interval(shares[name]) for name in operations]
        assert cells == [f"{f.mean:.3f} ({f.low:.3f} to {f.high:.3f})" for f in found]


def of_most(directory: Path, data: int, settings: DataSettings) -> "pd.Series[float]":
    """Return the accuracy of each operation's most frequent answers, on a data version."""
    names = {"train": "csv", "valid": "csv", "vocabulary": "json", "manifest": "json"}
    files = {name: directory / f"{name}.{end}" for name, end in names.items()}
    generate_equations(settings, **files)
    output = directory / "baselines.csv"
    compute_baselines(
        files["train"],
        files["valid"],
        data,
        output,
        vocabulary=files["vocabulary"],
        manifest=files["manifest"],
    )
    table = read_baselines([output]).dropna(subset=["operation"])
    right = (table["accuracy"] * table["equations"]).groupby(table["operation"]).sum()
    return right / table.groupby("operation")["equations"].sum()
