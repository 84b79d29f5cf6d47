"""What an answer scores that does not look at the operands."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import LABELS, label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.results.baselines import (
    compute_baselines,
    of_families,
    of_labels,
    overall,
    read_baselines,
)
from metric_rows import damaged

PUBLISHED = list(LABELS)[:6]


def version(directory: Path, **settings: Any) -> dict[str, Path]:
    """Write the equations of a data version and the labels of domain version 1."""
    files = {name: directory / name for name in ("train", "valid", "vocabulary", "manifest")}
    names = ("train", "valid", "manifest")
    labelled = {f"labelled_{name}": directory / f"labels_{name}" for name in names}
    generate_equations(DataSettings(**settings), **files)
    label_domains(PUBLISHED, **files, **labelled)
    return files | labelled


def of_answers(directory: Path, **settings: Any) -> Path:
    """Write the baselines of a data version's answers."""
    files, output = version(directory, **settings), directory / "baselines.csv"
    compute_baselines(
        files["train"],
        files["valid"],
        1,
        output,
        vocabulary=files["vocabulary"],
        manifest=files["manifest"],
    )
    return output


def of_domain(directory: Path, **settings: Any) -> Path:
    """Write the baselines of its labels."""
    files, output = version(directory, **settings), directory / "labels.csv"
    compute_baselines(files["labelled_train"], files["labelled_valid"], 1, output, domain=1)
    return output


@pytest.mark.parametrize(
    ("digits", "answers", "labels"), [(10, 0.30893, 0.55387), (20, 0.37967, 0.59649)]
)
def test_the_published_data_versions_have_these_baselines(
    tmp_path: Path, digits: int, answers: float, labels: float
) -> None:
    found = read_baselines(
        [
            of_answers(tmp_path, digits=digits, modulo=5),
            of_domain(tmp_path, digits=digits, modulo=5),
        ]
    )
    assert overall(found, {"phase": "pretrain", "data": 1}) == pytest.approx(answers, abs=2e-5)
    finetune = {"phase": "finetune", "data": 1, "domain": 1}
    assert overall(found, finetune) == pytest.approx(labels, abs=2e-5)


def test_a_family_is_answered_by_its_most_frequent_training_answer(tmp_path: Path) -> None:
    """Counted again from the text of the equations."""
    table = read_baselines([of_answers(tmp_path, digits=7, modulo=3)])
    counted: dict[str, dict[tuple[str, str], list[str]]] = {"train": {}, "valid": {}}
    for part, families in counted.items():
        with (tmp_path / part).open(newline="") as file:
            for row in csv.DictReader(file):
                answer = "".join(row["equation"].split()[int(row["answer_start"]) :])
                families.setdefault((row["operation"], row["modulo"] or "none"), []).append(answer)
    accuracies, total = of_families(table), 0
    for (operation, modulo), judged in counted["valid"].items():
        [(answer, _)] = Counter(counted["train"][operation, modulo]).most_common(1)
        right = judged.count(answer)
        total += right
        assert accuracies.loc[operation, modulo] == pytest.approx(right / len(judged))
    assert table["accuracy"][0] == pytest.approx(total / sum(map(len, counted["valid"].values())))


def test_always_0_is_the_baseline_of_products_modulo_2(tmp_path: Path) -> None:
    table = read_baselines([of_answers(tmp_path, digits=10, modulo=5)])
    [row] = table[(table["operation"] == "multiply") & (table["modulo"] == 2)].to_dict("records")
    assert (row["answer"], row["equations"]) == ("0", 30)
    assert row["accuracy"] == pytest.approx(25 / 30)


def test_a_family_without_training_equations_gets_the_most_frequent_answer_of_all(
    tmp_path: Path,
) -> None:
    table = read_baselines(
        [of_answers(tmp_path, digits=5, modulo=3, holdout={"operation": ["divide"]})]
    )
    held = table[table["operation"] == "divide"]
    assert held["answer"].unique().tolist() == ["0"]
    assert held["train_accuracy"].isna().all()
    assert held["accuracy"].gt(0).all()


def test_a_label_is_told_as_most_training_equations_have_it(tmp_path: Path) -> None:
    table = read_baselines([of_domain(tmp_path, digits=5, modulo=3)])
    assert table["label"].tolist()[1:] == PUBLISHED
    known = of_labels(table)
    for part, column in (("train", "train_accuracy"), ("valid", "accuracy")):
        with (tmp_path / f"labels_{part}").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for told in table[1:].to_dict("records"):
            yes = sum(row[told["label"]] == "1" for row in rows) / len(rows)
            assert told[column] == pytest.approx(yes if told["answer"] == "yes" else 1 - yes)
    assert table["accuracy"][0] == pytest.approx(sum(known.values()) / len(known))
    assert overall(table, {"phase": "finetune", "data": 1, "domain": 2}) != table["accuracy"][0]


def test_labels_of_other_versions_are_refused(tmp_path: Path) -> None:
    files = version(tmp_path, digits=3)
    text = files["labelled_valid"].read_text().replace("has_zero", "zero", 1)
    files["labelled_valid"].write_text(text)
    with pytest.raises(ValueError, match=r"labels_valid: has the labels .*'zero'"):
        compute_baselines(files["labelled_train"], files["labelled_valid"], 1, tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


@settings(max_examples=100, deadline=None)
@given(
    content=damaged(
        b"phase,data,domain,operation,modulo,label,answer,equations,accuracy,train_accuracy\n"
        b"pretrain,1,,,,,,560,0.25,0.5\npretrain,1,,add,2,,0,30,0.25,\n"
    )
)
def test_a_damaged_table_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "baselines.csv"
    path.write_bytes(content)
    try:
        table = read_baselines([path])
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert table["accuracy"].between(0, 1).all()
