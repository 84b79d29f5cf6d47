"""Which equations a reader is shown."""

from pathlib import Path

import pytest

from gpt_math_domains.results.examples import read_examples

HEAD = "equation,tokens,operation,modulo,answer_start\n"
PLAIN = HEAD + "3 + 4 = 7,3 12 4 10 7,add,,4\n"
MODULAR = HEAD + (
    "3 + 4 =(m) 2 1,3 12 4 11 2 1,add,2,5\n"
    "3 + 4 =(m) 3 1,3 12 4 11 3 1,add,3,5\n"
    "8 / 2 =(m) 7 4,8 15 2 11 7 4,divide,7,5\n"
)


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_each_kind_that_any_data_version_has_is_shown_with_its_labels(tmp_path: Path) -> None:
    equations = [written(tmp_path, "1.csv", PLAIN), written(tmp_path, "3.csv", MODULAR)]
    head = "tokens,odd,even,large\n"
    labels = [
        written(tmp_path, "1_labels.csv", f"{head}3 12 4 10 7,1,0,0\n"),
        written(
            tmp_path,
            "3_labels.csv",
            f"{head}3 12 4 11 2 1,1,0,1\n3 12 4 11 3 1,1,0,1\n8 15 2 11 7 4,0,1,1\n",
        ),
    ]
    shown = read_examples(equations, labels)
    assert [(row["equation"], row["labels that hold"]) for row in shown.plain] == [
        ("3 + 4 = 7", "odd")
    ]
    assert [(row["equation"], row["labels that hold"]) for row in shown.modular] == [
        ("3 + 4 =(m) 2 1", "odd, large"),
        ("8 / 2 =(m) 7 4", "even, large"),
        ("3 + 4 =(m) 3 1", "odd, large"),
    ]
    assert shown.complements == [("odd", "even")]  # in both versions


def test_labels_of_other_equations_are_refused_by_name(tmp_path: Path) -> None:
    equations = [written(tmp_path, "1.csv", PLAIN)]
    labels = [written(tmp_path, "labels.csv", "tokens,odd\n3 12 4 10 7,1\n3 12 4 10 7,1\n")]
    with pytest.raises(ValueError, match=r"labels\.csv: has 2 rows, not 1$"):
        read_examples(equations, labels)
