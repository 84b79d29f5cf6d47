import json
import re
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from finished_study import FINETUNED, change, write_study
from gpt_math_domains.__main__ import main
from gpt_math_domains.figures.comparison import comparison_curves
from gpt_math_domains.files import sha256, write_json
from gpt_math_domains.pages.comparison import write_comparison
from gpt_math_domains.results.comparison import compare_studies
from gpt_math_domains.results.metrics import read_metrics, write_metrics
from gpt_math_domains.run import DIRECTORIES
from metric_rows import baselines, baselines_table, row

RATES = {"learning_rate": 5e-4, "batch_size": 32}
VERSIONS = {"torch": "2.13.0", "python": "3.11.7"}


def add_run(
    results: Path,
    accuracies: dict[int, float],
    phase: str = "pretrain",
    changes: dict[str, Any] | None = None,
    point: str = "",
    **keys: Any,
) -> None:
    """Write the metrics and the record of a run with two evaluations of each seed."""
    rows = [
        row(phase, seed, step, accuracy, **{"seconds": float(seed)} | keys)
        for seed, final in accuracies.items()
        for step, accuracy in ((10, 0.1), (20, final))
    ]
    run = {key: rows[0][key] for key in ("phase", "data", "model", "domain", "protocol")}
    directory = results / DIRECTORIES[phase].format(point=point, **run)
    write_metrics(rows, phase, directory / "metrics.csv")
    record = {
        "run": run,
        "point": point,
        "model": {"d_model": 128},
        "settings": RATES,
        "versions": VERSIONS,
        "inputs": {f"{results}/data/1/train.csv": "0" * 64},
        "tables": {"metrics.csv": sha256(directory / "metrics.csv")},
        "seeds": list(accuracies),
        "code": "abc",
        "precision": "fp32",
        "git": None,
    }
    write_json(directory / "run.json", record | (changes or {}))


def test_a_study_and_its_copy_differ_in_nothing_but_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seconds in (("one", 1.0), ("other", 9.5)):
        add_run(tmp_path / name, {0: 0.5, 1: 0.7}, seconds=seconds)
        add_run(tmp_path / name, {0: 0.9, 1: 0.9}, "finetune")
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "other")]) == 0
    said = capsys.readouterr().out
    assert "2 runs in both" in said
    assert "came out: the same metrics, to the bit" in said
    assert "made with" not in said


def test_what_runs_were_made_with_is_told_with_both_values_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    add_run(one, {0: 0.5, 1: 0.7})
    add_run(one, {0: 0.9, 1: 0.9}, "finetune")
    newer = {"versions": VERSIONS | {"torch": "2.14.0"}}
    faster = {"settings": {"learning_rate": 1e-3, "batch_size": 32, "shuffle": True}}
    data = {"inputs": {"elsewhere/data/1/train.csv": "1" * 64}}
    add_run(other, {0: 0.5, 1: 0.7}, changes=newer | faster | data)
    add_run(other, {0: 0.9, 1: 0.9}, "finetune", changes=newer)
    assert main(["compare", str(one), str(other)]) == 1
    said = capsys.readouterr().out
    assert "  versions.torch: 2.13.0, 2.14.0   in all runs\n" in said
    assert "  settings.learning_rate: 0.0005, 0.001   in pretrain data 1 model 2\n" in said
    assert "  settings.shuffle: not told, True   in pretrain data 1 model 2\n" in said
    assert "  data/1/train.csv: 000000000000, 111111111111   in pretrain data 1 model 2\n" in said
    assert "batch_size" not in said


def test_outcomes_are_compared_over_the_seeds_that_both_have_with_a_paired_interval(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    add_run(one, {0: 0.5, 1: 0.7, 2: 0.6, 5: 0.1})
    add_run(other, {0: 0.6, 1: 0.75, 2: 0.72, 7: 0.9})
    accuracy, loss = compare_studies(one, other).outcomes
    assert (accuracy.metric, accuracy.seeds) == ("math_acc", 3)
    assert accuracy.first == pytest.approx(0.6)
    assert accuracy.second == pytest.approx(0.69)
    expected = stats.ttest_rel([0.6, 0.75, 0.72], [0.5, 0.7, 0.6]).confidence_interval()
    assert accuracy.difference is not None
    found = (accuracy.difference.low, accuracy.difference.high)
    assert found == pytest.approx((expected.low, expected.high))
    assert (loss.metric, loss.difference) == ("eval_loss", None)


def test_runs_of_one_study_alone_are_named_and_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "other"):
        add_run(tmp_path / name, {0: 0.5})
    add_run(tmp_path / "other", {0: 0.5}, model=4)
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "other")]) == 1
    assert "only in the second: pretrain data 1 model 4\n" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "other"), str(tmp_path / "one")]) == 1
    assert "only in the first: pretrain data 1 model 4\n" in capsys.readouterr().out


POINT = "grid/data.digits~5/pretrain.weight_decay~1/"


def test_points_of_a_grid_are_runs_that_one_study_may_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for results in (one, other):
        add_run(results, {0: 0.5})
    add_run(other, {0: 0.5}, point=POINT)
    assert main(["compare", str(one), str(other)]) == 1
    name = "pretrain data 1 model 2, data.digits 5, pretrain.weight_decay 1"
    assert f"only in the second: {name}\n1 runs in both" in capsys.readouterr().out
    add_run(one, {0: 0.25}, point=POINT)
    page = tmp_path / "page.html"
    assert main(["compare", str(one), str(other), "--page", str(page)]) == 1
    assert f"  {name} math_acc: 0.2500, 0.5000, +0.2500" in capsys.readouterr().out
    assert name in page.read_text()
    add_run(one, {0: 0.5}, point=POINT)
    assert main(["compare", str(one), str(other)]) == 0
    assert "2 runs in both" in capsys.readouterr().out
    # Two points as two studies: their runs are the same ones.
    add_run(one, {0: 0.5}, point="grid/data.digits~5/")
    assert main(["compare", str(one / POINT), str(one / "grid" / "data.digits~5")]) == 0
    assert "1 runs in both" in capsys.readouterr().out


def test_a_run_of_another_point_than_that_where_it_lies_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(tmp_path, {0: 0.5}, changes={"point": POINT})
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert f"run.json: is of point {POINT!r}, but lies where '' belongs\n" in told.err
    assert (told.out, len(told.err.splitlines())) == ("", 1)


@pytest.mark.parametrize("point", ["", POINT], ids=["own", "point"])
@pytest.mark.parametrize("command", ["compare", "events", "cards"])
def test_metrics_that_a_run_did_not_write_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, point: str
) -> None:
    results, written = tmp_path / "results", tmp_path / "written"
    write_study(results)
    write_study(results, POINT)
    arguments = {
        "compare": [str(results), str(results), "--page", str(written)],
        "events": [str(results), str(written)],
        "cards": [str(results)],
    }
    metrics = results / point / FINETUNED / "metrics.csv"
    change(metrics)
    assert main([command, *arguments[command]]) == 2
    record = metrics.with_name("run.json")
    said = f"error: {metrics}: is not what {record} was written with\n"
    assert capsys.readouterr() == ("", said)
    assert not written.exists() and not list(results.rglob("README.md"))


def test_what_is_no_study_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(tmp_path / "one", {0: 0.5})
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: has no finished run\n"
    add_run(tmp_path / "two", {0: 0.5}, changes={"settings": None})
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 2
    said = capsys.readouterr().err
    assert "run.json: is no record of a run, which tells model, settings" in said
    assert len(said.splitlines()) == 1


def test_the_page_has_both_curves_of_each_shared_run_and_escapes_what_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "<b>other"
    add_run(one, {0: 0.5, 1: 0.7})
    add_run(other, {0: 0.6, 1: 0.75}, changes={"device": "<i>"})
    page = tmp_path / "pages" / "compare.html"
    assert main(["compare", str(one), str(other), "--page", str(page)]) == 1
    text = page.read_text()
    assert "&lt;b&gt;other" in text and "<b>other" not in text
    assert "&lt;i&gt;" in text and "<i>" not in text
    assert "+0.0750 [" in text
    assert (page.parent / "plotly.min.js").stat().st_size > 1e6
    tables = [
        read_metrics(
            study / DIRECTORIES["pretrain"].format(point="", data=1, model=2) / "metrics.csv"
        )
        for study in (one, other)
    ]
    figure = comparison_curves(tables[0], tables[1], "title")
    lines = {trace.name: trace for trace in figure.data if trace.fill is None}
    assert list(lines["first"].y) == pytest.approx([0.1, 0.6])
    assert list(lines["second"].y) == pytest.approx([0.1, 0.675])


def add_baselines(results: Path, pretrain: float, finetune: float) -> None:
    for place, phase, accuracy in (
        ("data/1", "pretrain", pretrain),
        ("domains/1/data_1", "finetune", finetune),
    ):
        (results / place).mkdir(parents=True)
        baselines_table(results / place, baselines(phase, accuracy))


def test_the_page_draws_the_baseline_that_both_studies_have(tmp_path: Path) -> None:
    for name, finetune in (("one", 0.5), ("other", 0.625)):
        add_run(tmp_path / name, {0: 0.5, 1: 0.7})
        add_run(tmp_path / name, {0: 0.9, 1: 0.9}, "finetune")
        add_baselines(tmp_path / name, 0.25, finetune)
    comparison = compare_studies(tmp_path / "one", tmp_path / "other")
    write_comparison(comparison, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    drawn = [json.loads(text) for text in re.findall(r'application/json">(.*?)</script>', page)]
    lines = {
        figure["title"]: [t["y"] for t in figure["data"] if "baseline" in t.get("name", "")]
        for figure in drawn
    }
    assert list(lines.values()) == [[[0.25, 0.25]], []]
    assert '"name": "baseline' in page
    assert '<script src="plotly.min.js" defer>' in page
    (tmp_path / "one/data/1/baselines.csv").unlink()
    write_comparison(comparison, tmp_path / "page.html")
    assert '"name": "baseline' not in (tmp_path / "page.html").read_text()
