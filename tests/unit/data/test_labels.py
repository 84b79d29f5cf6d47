import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import Parts, parts_of
from gpt_math_domains.data.labels import LABELS, label_domains, own_labels
from gpt_math_domains.data.manifest import write_manifest
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import Equations, read_labels, require_known
from gpt_math_domains.data.vocabulary import Vocabulary

DOMAIN_1 = ["first_odd", "first_even", "both_odd", "both_even", "has_zero", "no_zero"]
ROW = b"0 14 2 10 16 2,0,1\n"


def generate(directory: Path, digits: int, modulo: int | None, seed: int = 0) -> None:
    generate_equations(
        DataSettings(digits, modulo, seed),
        train=directory / "train.csv",
        valid=directory / "valid.csv",
        vocabulary=directory / "vocabulary.json",
        manifest=directory / "manifest.json",
    )


def label(directory: Path, labels: list[str], own: Path | None = None) -> None:
    label_domains(
        labels,
        own,
        train=directory / "train.csv",
        valid=directory / "valid.csv",
        vocabulary=directory / "vocabulary.json",
        manifest=directory / "manifest.json",
        labelled_train=directory / "labelled" / "train.csv",
        labelled_valid=directory / "labelled" / "valid.csv",
        labelled_manifest=directory / "labelled" / "manifest.json",
    )


def read_columns(path: Path) -> dict[str, list[str]]:
    with path.open(newline="") as handle:
        header, *rows = csv.reader(handle)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def labels_of(equation: str) -> list[str]:
    """Answer domain version 1 from the written equation, without token ids."""
    symbols = equation.split(" ")
    first, second = int(symbols[0]), int(symbols[2])
    answers = [
        first % 2 != 0,
        first % 2 == 0,
        first % 2 != 0 and second % 2 != 0,
        first % 2 == 0 and second % 2 == 0,
        "0" in symbols,
        "0" not in symbols,
    ]
    return [str(int(answer)) for answer in answers]


def test_domain_version_1_is_these_six_labels_in_this_order() -> None:
    assert list(LABELS)[:6] == DOMAIN_1


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("0 - 2 = - 2", {"first_even", "both_even", "has_zero", "carry"}),
        ("3 - 5 = - 2", {"first_odd", "both_odd", "no_zero", "carry"}),
        ("5 - 3 = 2", {"first_odd", "both_odd", "no_zero"}),
        ("2 - 5 = - 3", {"first_even", "no_zero", "answer_odd", "carry"}),
        ("2 + 3 =(m) 5 0", {"first_even", "has_zero", "answer_zero", "modular"}),
        ("19 + 3 =(m) 5 2", {"first_odd", "both_odd", "no_zero", "carry", "modular"}),
        ("5 / 2 = 2", {"first_odd", "no_zero"}),
        ("10 + 1 = 11", {"first_even", "no_zero", "answer_odd", "mirror_trained"}),
        ("10 - 10 = 0", {"first_even", "both_even", "has_zero", "answer_zero"}),
    ],
)
def test_an_equation_has_exactly_its_labels(equation: str, expected: set[str]) -> None:
    parts, trained = (parts_of_written(text) for text in (equation, "1 + 10 = 11"))
    assert {name for name, told in LABELS.items() if told(parts, trained, 20)[0]} == expected


def parts_of_written(equation: str) -> Parts:
    """Return the parts of one equation over 20 digit symbols."""
    vocabulary = Vocabulary(20)
    symbols = equation.replace("= -", "= [neg]").split(" ")
    tokens = [vocabulary.symbols.index(symbol) for symbol in symbols]
    padded = np.array([tokens + [-1] * (6 - len(tokens))])
    start = np.array([5 if "=(m)" in symbols else 4])
    return parts_of(Equations(padded, np.array([len(tokens)]), start), vocabulary)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_row_is_labelled_as_its_written_equation_says(data: st.DataObject) -> None:
    digits = data.draw(st.integers(3, 13))
    modulo = data.draw(st.none() | st.integers(2, digits))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        generate(directory, digits, modulo)

        label(directory, DOMAIN_1)

        for part in ("train.csv", "valid.csv"):
            equations = read_columns(directory / part)
            table = read_columns(directory / "labelled" / part)
            assert list(table) == ["tokens", *DOMAIN_1]
            assert table["tokens"] == equations["tokens"]
            answers = [list(row) for row in zip(*(table[name] for name in DOMAIN_1), strict=True)]
            assert answers == [labels_of(equation) for equation in equations["equation"]]


def test_a_domain_version_may_choose_labels_and_their_order(tmp_path: Path) -> None:
    generate(tmp_path, 10, 5)

    label(tmp_path, ["no_zero", "first_odd"])

    names, answers = read_labels(tmp_path / "labelled" / "valid.csv")
    assert names == ["no_zero", "first_odd"]
    assert answers.shape == (560, 2)
    equations = read_columns(tmp_path / "valid.csv")["equation"]
    no_zero_first_odd = [[labels_of(equation)[place] for place in (5, 0)] for equation in equations]
    assert answers.astype(str).tolist() == no_zero_first_odd


@pytest.mark.parametrize("labels", [[], ["first_odd", "prime"], ["no_zero", "no_zero"]])
def test_labels_that_are_unknown_repeated_or_absent_are_refused(
    labels: list[str], tmp_path: Path
) -> None:
    generate(tmp_path, 3, None)

    with pytest.raises(ValueError, match=r"^labels are \[.*one or more of \['first_odd', .*$"):
        label(tmp_path, labels)
    assert not (tmp_path / "labelled").exists()


def test_equations_of_a_larger_vocabulary_are_not_labelled(tmp_path: Path) -> None:
    generate(tmp_path, 10, None)

    small = tmp_path / "small"
    generate(small, 5, None)
    files = {name: small / f"{name}.csv" for name in ("train", "valid")}
    files["train"].write_bytes((tmp_path / "train.csv").read_bytes())
    write_manifest(small / "manifest.json", files | {"vocabulary": small / "vocabulary.json"})
    with pytest.raises(ValueError, match=r"train\.csv: token 16 stands in no equation"):
        label(small, DOMAIN_1)


OWN = '''
"""Two labels."""
LIMIT = 5

def _sum(equation):
    return equation.first + equation.second

def large(equation):
    return _sum(equation) > LIMIT

def close(equation):
    return abs(equation.first - equation.second) <= 1

def wraps(equation):
    return equation.modulo is not None and equation.operation == "add" and (
        equation.answer != _sum(equation)
    )
'''


def test_labels_of_ones_own_are_asked_of_each_equation_by_its_parts(tmp_path: Path) -> None:
    generate(tmp_path, 5, 3)
    (tmp_path / "own.py").write_text(OWN)
    assert own_labels(tmp_path / "own.py") == ["large", "close", "wraps"]

    label(tmp_path, ["wraps", "close", "large"], tmp_path / "own.py")

    names, answers = read_labels(tmp_path / "labelled" / "train.csv")
    assert names == ["wraps", "close", "large"]
    for equation, row in zip(
        read_columns(tmp_path / "train.csv")["equation"], answers, strict=True
    ):
        first, sign, second, equals, *rest = equation.split()
        total = int(first) + int(second)
        wraps = equals == "=(m)" and sign == "+" and total != int(rest[1])
        close = abs(int(first) - int(second)) <= 1
        assert row.tolist() == [wraps, close, total > 5], equation


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def odd(equation) return 1", r"own\.py: not a Python file"),
        (
            "def carry(equation):\n    return True",
            r"own\.py: carry is the name of a built-in",
        ),
        ("def large(equation):\n    return 1", r"own\.py: large answers 1 to Equation\(first=\d, "),
        (
            "import none_such\ndef large(equation):\n    return True",
            r"own\.py: cannot be run",
        ),
        (
            "raise SystemExit\ndef large(equation):\n    return True",
            r"own\.py: cannot be run: Sys",
        ),
        ("def large(equation):\n    return 1 / 0 > 1", r"large fails at Equation.*ZeroDivision"),
    ],
)
def test_labels_of_ones_own_that_cannot_answer_are_refused_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    generate(tmp_path, 3, None)
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        label(tmp_path, ["large"], tmp_path / "own.py")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "labelled").exists()


def test_the_end_of_a_sequence_stands_in_no_equation(tmp_path: Path) -> None:
    vocabulary = Vocabulary(5, has_modulus=True)
    require_known(np.array([[3, 7, 4, 6, vocabulary.modulus, 2], [3, 8, 1, 5, 3, -1]]), vocabulary)

    with pytest.raises(ValueError, match="token 12 stands in no equation"):
        require_known(np.array([[3, 7, 4, 6, vocabulary.eos, 2]]), vocabulary)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"tokens\n0 14 2 10 16 2\n", 1),
        (b"tokens,a,a\n" + ROW, 1),
        (b"tokens,a,b c\n" + ROW, 1),
        (b"a,b,tokens\n" + ROW, 1),
        (b"tokens,a,b\n" + ROW + b"0 14 2 10 16 2,0\n", 3),
        (b"tokens,a,b\n" + ROW + b"0 14 2 10 16 2,0,2\n", 3),
        (b"tokens,a,b\n" + ROW + b"0 14 2 10 16 2,0,1,1\n", 3),
        (b"tokens,a,b\n" + ROW + b"0 14 2 10,0,1\n", 3),
        (b"tokens,a,b\n" + ROW + b"0 14 -2 10 16 2,0,1\n", 3),
        (b"tokens,a,b\n" + ROW + b"\n", 3),
    ],
)
def test_a_malformed_domain_table_is_refused_with_its_file_and_line(
    content: bytes, line: int, tmp_path: Path
) -> None:
    path = tmp_path / "labelled.csv"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=rf"labelled\.csv, line {line}: expected "):
        read_labels(path)


def test_a_domain_table_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_bytes(b"tokens,a,b\n")

    with pytest.raises(ValueError, match=r"labelled\.csv: the table has no equations"):
        read_labels(path)


@given(place=st.integers(0, 47), inserted=st.binary(max_size=3), removed=st.integers(0, 12))
def test_a_damaged_domain_table_reads_whole_or_is_refused_in_one_line(
    place: int, inserted: bytes, removed: int
) -> None:
    content = b"tokens,a,b\n" + 2 * ROW
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "labelled.csv"
        path.write_bytes(content[:place] + inserted + content[place + removed :])

        try:
            names, answers = read_labels(path)
        except ValueError as error:
            assert "labelled.csv" in str(error)
            assert len(str(error).splitlines()) == 1
        else:
            assert answers.shape[1] == len(names)
            assert set(answers.flat) <= {0, 1}
