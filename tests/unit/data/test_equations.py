import csv
import hashlib
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import parts_of
from gpt_math_domains.data.settings import DataSettings, family_size
from gpt_math_domains.data.tables import Equations, read_equations
from gpt_math_domains.data.vocabulary import Vocabulary, read_vocabulary

HEADER = b"equation,tokens,operation,modulo,answer_start\n"
ROWS = (
    b"0 - 2 = - 2,0 14 2 10 16 2,subtract,,4\n"
    b"5 / 2 = 2,5 15 2 10 2,divide,,4\n"
    b"3 + 4 =(m) 5 2,3 12 4 11 5 2,add,5,5\n"
)
NAMES = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


class Row(NamedTuple):
    equation: str
    tokens: str
    operation: str
    modulo: str
    answer_start: str


class Read(NamedTuple):
    """What a written equation says."""

    modulo: int | None
    sign: str
    left: int
    right: int
    answer: int


def generate(directory: Path, *settings: Any, **more: Any) -> dict[str, Any]:
    """Generate a data version in `directory` and return its manifest."""
    generate_equations(
        DataSettings(*settings, **more),
        train=directory / "train.csv",
        valid=directory / "valid.csv",
        vocabulary=directory / "vocabulary.json",
        manifest=directory / "manifest.json",
    )
    manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return manifest


def read_rows(path: Path) -> list[Row]:
    with path.open(newline="") as handle:
        header, *rows = csv.reader(handle)
    assert header == list(Row._fields)
    return [Row(*row) for row in rows]


def read_written(equation: str) -> Read:
    question, _, answer = equation.partition(" =")
    left, sign, right = question.split(" ")
    if answer.startswith("(m) "):
        _, modulus, residue = answer.split(" ")
        return Read(int(modulus), sign, int(left), int(right), int(residue))
    return Read(None, sign, int(left), int(right), int(answer.replace(" ", "")))


def all_families(digits: int, modulo: int | None) -> list[list[Read]]:
    """Work out every family with Python integers, one pair of operands after another."""
    families = []
    for modulus in [None, *range(2, (modulo or 1) + 1)]:
        for sign in NAMES:
            family = []
            for left in range(digits):
                for right in range(1 if sign == "/" else 0, digits):
                    answer = {
                        "+": left + right,
                        "-": left - right,
                        "*": left * right,
                        "/": left // (right or 1),
                    }[sign]
                    if modulus is not None:
                        family.append(Read(modulus, sign, left, right, answer % modulus))
                    elif answer < digits:
                        family.append(Read(None, sign, left, right, answer))
            families.append(family)
    return families


@st.composite
def data_versions(draw: st.DrawFn) -> tuple[int, int | None, int]:
    digits = draw(st.integers(2, 12))
    modulo = draw(st.none() | st.integers(2, digits - 1)) if digits > 2 else None
    return digits, modulo, draw(st.integers(0, 2**32 - 1))


@st.composite
def some_settings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw settings with which every family can be split."""
    digits = draw(st.integers(2, 9))
    moduli = draw(st.lists(st.integers(2, digits), min_size=1, max_size=3, unique=True))
    return {
        "digits": digits,
        "operations": draw(st.lists(st.sampled_from([*NAMES.values()]), min_size=1, unique=True)),
        "moduli": moduli,
        "without_modulus": draw(st.booleans()),
        "train_share": draw(st.floats(0.5, 1, exclude_max=True)),
        "split": draw(st.sampled_from(["shared", "independent"])),
        "split_seed": draw(st.integers(0, 2**32 - 1)),
    }


@pytest.mark.parametrize(
    ("digits", "modulo", "total", "train", "valid"),
    [(10, 5, 1847, 1287, 560), (20, 5, 7409, 5186, 2223), (3, None, 29, 19, 10)],
)
def test_a_data_version_has_the_published_number_of_equations(
    digits: int, modulo: int | None, total: int, train: int, valid: int, tmp_path: Path
) -> None:
    manifest = generate(tmp_path, digits, modulo)

    assert manifest["counts"] == {"total": total, "train": train, "valid": valid}
    assert len(read_rows(tmp_path / "train.csv")) == train
    assert len(read_rows(tmp_path / "valid.csv")) == valid


def test_addition_with_five_digits_is_split_in_the_published_order(tmp_path: Path) -> None:
    generate(tmp_path, 5, None)

    written = {
        part: [
            row.equation.partition(" = ")[0].replace(" ", "")
            for row in read_rows(tmp_path / f"{part}.csv")
            if row.operation == "add"
        ]
        for part in ("train", "valid")
    }
    assert " ".join(written["train"]) == "0+1 1+1 1+3 2+0 4+0 0+4 0+2 3+1 2+1 1+2"
    assert " ".join(written["valid"]) == "0+0 0+3 1+0 2+2 3+0"


def test_tables_look_exactly_like_this(tmp_path: Path) -> None:
    generate(tmp_path, 3, 2)

    train, valid = (
        (tmp_path / part).read_bytes().splitlines(keepends=True)
        for part in ("train.csv", "valid.csv")
    )
    assert train[0] == valid[0] == HEADER
    for row in (
        b"2 * 1 = 2,2 6 1 3 2,multiply,,4\n",
        b"0 - 1 = - 1,0 7 1 3 9 1,subtract,,4\n",
        b"1 + 1 =(m) 2 0,1 5 1 4 2 0,add,2,5\n",
    ):
        assert (train + valid).count(row) == 1


@settings(max_examples=40, deadline=None)
@given(data_versions())
def test_the_two_parts_hold_every_correct_equation_once_in_the_order_of_the_split(
    version: tuple[int, int | None, int],
) -> None:
    digits, modulo, seed = version
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name), digits, modulo, seed)
        train, valid = (
            [read_written(row.equation) for row in read_rows(Path(name) / part)]
            for part in ("train.csv", "valid.csv")
        )

    families = all_families(digits, modulo)
    everything = [equation for family in families for equation in family]
    assert Counter(train + valid) == Counter(everything)
    expected_train: list[Read] = []
    for family in families:
        share = int(len(family) * 0.7)
        drawn = np.random.RandomState(seed).choice(len(family), share, replace=False)
        expected_train += [family[index] for index in drawn]
    assert train == expected_train
    seen = set(train)
    assert valid == [equation for equation in everything if equation not in seen]


@settings(max_examples=25, deadline=None)
@given(data_versions())
def test_every_column_agrees_with_the_written_equation(
    version: tuple[int, int | None, int],
) -> None:
    digits, modulo, seed = version
    signs = {sign: digits + place for place, sign in enumerate(["=", "=(m)", "+", "*", "-", "/"])}
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name), digits, modulo, seed)
        for part in ("train.csv", "valid.csv"):
            rows = read_rows(Path(name) / part)
            table = read_equations(Path(name) / part)
            for place, row in enumerate(rows):
                symbols = row.equation.split(" ")
                tokens = [
                    int(symbol) if symbol.isdecimal() else signs[symbol] for symbol in symbols
                ]
                if symbols[4] == "-":
                    tokens[4] = digits + 6
                said = read_written(row.equation)

                assert row.tokens == " ".join(map(str, tokens))
                assert row.operation == NAMES[said.sign]
                assert row.modulo == ("" if said.modulo is None else str(said.modulo))
                assert int(row.answer_start) == (4 if said.modulo is None else 5)
                assert table.tokens[place].tolist() == tokens + [-1] * (
                    table.tokens.shape[1] - len(tokens)
                )
                assert table.lengths[place] == len(tokens)
                assert table.answer_starts[place] == int(row.answer_start)


def test_the_same_settings_give_the_same_bytes_and_another_seed_another_split(
    tmp_path: Path,
) -> None:
    for directory, seed in (("once", 0), ("again", 0), ("other", 1)):
        generate(tmp_path / directory, 10, 5, seed)

    for name in ("train.csv", "valid.csv", "vocabulary.json", "manifest.json"):
        once, again, other = (
            (tmp_path / directory / name).read_bytes() for directory in ("once", "again", "other")
        )
        assert once == again
        assert (once == other) == (name == "vocabulary.json")


def test_the_manifest_tells_settings_families_and_hashes_of_the_files(tmp_path: Path) -> None:
    manifest = generate(tmp_path, 10, 3, split_seed=7)

    assert (manifest["digits"], manifest["modulo"], manifest["split_seed"]) == (10, 3, 7)
    assert [(family["modulo"], family["operation"]) for family in manifest["families"]] == [
        (modulus, operation) for modulus in (None, 2, 3) for operation in NAMES.values()
    ]
    assert manifest["families"][-1] == {
        "operation": "divide",
        "modulo": 3,
        "holdout": False,
        "total": 90,
        "train": 62,
        "valid": 28,
    }
    for count, value in manifest["counts"].items():
        assert sum(family[count] for family in manifest["families"]) == value
    assert manifest["sha256"] == {
        Path(name).stem: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("train.csv", "valid.csv", "vocabulary.json")
    }


def written(directory: Path, part: str) -> list[str]:
    return [row.equation for row in read_rows(directory / f"{part}.csv")]


def of_family(directory: Path, part: str, operation: str, modulo: int | None) -> list[str]:
    """Return the equations of a family in one part, in the order of the file."""
    named = (operation, "" if modulo is None else str(modulo))
    rows = read_rows(directory / f"{part}.csv")
    return [row.equation for row in rows if (row.operation, row.modulo) == named]


@settings(max_examples=25, deadline=None)
@given(some_settings())
def test_a_version_has_just_the_families_that_are_asked_for(asked: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        manifest = generate(Path(name), **asked)
        everything = written(Path(name), "train") + written(Path(name), "valid")

    plain = [None] if asked["without_modulus"] else []
    told = [(family["modulo"], family["operation"]) for family in manifest["families"]]
    assert told == [
        (modulo, operation)
        for modulo in (*plain, *sorted(asked["moduli"]))
        for operation in NAMES.values()
        if operation in asked["operations"]
    ]
    assert Counter(map(read_written, everything)) == Counter(
        equation
        for family in all_families(asked["digits"], asked["digits"])
        for equation in family
        if (equation.modulo, NAMES[equation.sign]) in told
    )


@settings(max_examples=25, deadline=None)
@given(some_settings())
def test_as_many_equations_are_trained_on_as_the_settings_say_beforehand(
    asked: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        manifest = generate(Path(name), **asked)

    assert manifest["counts"]["train"] == DataSettings(**asked).train_equations
    for family in manifest["families"]:
        assert family["total"] == family_size(
            asked["digits"], family["operation"], family["modulo"] is not None
        )
        assert family["train"] == int(family["total"] * asked["train_share"])


def test_a_modulus_as_large_as_the_digits_are_many_is_a_symbol_of_its_own(tmp_path: Path) -> None:
    """The task of Power et al. 2022 (grokking), with 5 in place of 97."""
    manifest = generate(tmp_path, 5, operations=["add"], moduli=[5], without_modulus=False)

    vocabulary = read_vocabulary(tmp_path / "vocabulary.json")
    assert vocabulary.symbols[-2:] == ["[eos]", "5"]
    assert manifest["vocabulary_size"] == vocabulary.size == 14
    rows = read_rows(tmp_path / "train.csv") + read_rows(tmp_path / "valid.csv")
    assert len(rows) == 25
    assert {tuple(row.tokens.split()[3:5]) for row in rows} == {("6", "13")}
    assert Row("3 + 4 =(m) 5 2", "3 7 4 6 13 2", "add", "5", "5") in rows


@pytest.mark.parametrize("modulo", [4, 5])
def test_equations_are_described_as_their_table_tells(modulo: int, tmp_path: Path) -> None:
    generate(tmp_path, 5, modulo)
    rows = read_rows(tmp_path / "train.csv")

    vocabulary = read_vocabulary(tmp_path / "vocabulary.json")
    parts = parts_of(read_equations(tmp_path / "train.csv"), vocabulary)

    for place, row in enumerate(rows):
        first, _, second, *rest = row.equation.split()
        answer = "".join(rest[2:] if row.modulo else rest[1:])
        told = (parts.first, parts.second, parts.modulo, parts.answer)
        assert [column[place] for column in told] == [
            *(int(first), int(second)),
            *(int(row.modulo or 0), int(answer)),
        ]
        assert parts.operation[place] == row.operation


@pytest.mark.parametrize(
    ("vocabulary", "modulus"),
    [(Vocabulary(5), 13), (Vocabulary(5, has_modulus=True), 12), (Vocabulary(5, True), 5)],
    ids=["no such symbol", "the end", "the equality sign"],
)
def test_a_token_that_is_no_modulus_is_not_described_as_one(
    vocabulary: Vocabulary, modulus: int
) -> None:
    tokens = np.array([[3, 7, 4, 6, modulus, 2]])
    with pytest.raises(ValueError, match="has an equation that is not"):
        parts_of(Equations(tokens, np.array([6]), np.array([5])), vocabulary)


def test_families_of_one_size_share_their_split_unless_it_is_independent(tmp_path: Path) -> None:
    for split in ("shared", "independent"):
        generate(tmp_path / split, 5, 3, split=split)
        pairs = {
            (operation, modulo): [
                tuple(equation.split()[0:3:2])
                for equation in of_family(tmp_path / split, "train", operation, modulo)
            ]
            for operation in ("add", "multiply")
            for modulo in (2, 3)
        }
        assert len(set(map(str, pairs.values()))) == {"shared": 1, "independent": 4}[split]


def test_another_family_leaves_an_independent_split_as_it_is(tmp_path: Path) -> None:
    generate(tmp_path / "few", 5, operations=["multiply"], moduli=[3], split="independent")
    generate(tmp_path / "many", 5, 5, split="independent", holdout={"modulo": [2]})

    for modulo in (None, 3):
        few, many = (
            [of_family(tmp_path / name, part, "multiply", modulo) for part in ("train", "valid")]
            for name in ("few", "many")
        )
        assert few == many


def test_an_independent_split_is_this_one_with_every_version_of_numpy(tmp_path: Path) -> None:
    generate(tmp_path, 3, operations=["add"], moduli=[3], split="independent", split_seed=7)

    drawn = ["".join(equation.split()[0:3]) for equation in of_family(tmp_path, "train", "add", 3)]
    assert " ".join(drawn) == "1+1 0+1 1+0 0+2 2+1 2+2"


def test_a_held_out_family_stands_in_validation_alone(tmp_path: Path) -> None:
    generate(tmp_path / "all", 5, 3)
    manifest = generate(tmp_path / "some", 5, 3, holdout={"operation": ["divide"], "modulo": [2]})

    for family in manifest["families"]:
        operation, modulo = family["operation"], family["modulo"]
        train, valid = (
            of_family(tmp_path / "some", part, operation, modulo) for part in ("train", "valid")
        )
        assert family["holdout"] == (operation == "divide" or modulo == 2)
        assert (len(train), len(valid)) == (family["train"], family["valid"])
        if family["holdout"]:
            assert train == []
            assert len(valid) == family["total"]
        else:
            assert train == of_family(tmp_path / "all", "train", operation, modulo)
            assert valid == of_family(tmp_path / "all", "valid", operation, modulo)


def test_more_digits_than_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^config: digits = 1000000000 takes about"):
        generate(tmp_path / "data", 10**9)
    assert not (tmp_path / "data").exists()


def test_equations_are_read_as_padded_tokens_with_lengths_and_answer_starts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(HEADER + ROWS)

    equations = read_equations(path)

    assert equations.tokens.tolist() == [
        [0, 14, 2, 10, 16, 2],
        [5, 15, 2, 10, 2, -1],
        [3, 12, 4, 11, 5, 2],
    ]
    assert equations.lengths.tolist() == [6, 5, 6]
    assert equations.answer_starts.tolist() == [4, 4, 5]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("", id="nothing"),
        pytest.param("0 - 2 = - 2,0 14 2 10 16 2,subtract,", id="no answer start"),
        pytest.param("0 - 2 = - 2,0 14 2 10 16 2,subtract,,4,", id="one field too many"),
        pytest.param("0 - 2 = - 2,0 14 2 10 16 2,power,,4", id="unknown operation"),
        pytest.param("0 - 2 = - 2,0 14 2 10 16 2,subtract,,5", id="wrong answer start"),
        pytest.param("3 + 4 =(m) 5 2,3 12 4 11 5 2,add,5,4", id="wrong start under a modulus"),
        pytest.param("3 + 4 =(m) 5,3 12 4 11 5,add,5,5", id="no answer"),
        pytest.param("5 / 2 = 2,5 15 2 10 2 2,divide,,4", id="more tokens than symbols"),
        pytest.param("5 / 2 =,5 15 2 10,divide,,4", id="too short"),
        pytest.param("0 - 2 = - 2,0 14 -2 10 16 2,subtract,,4", id="negative token"),
        pytest.param("0 - 2 = - 2,0 14 2 1e1 16 2,subtract,,4", id="token that is no integer"),
        pytest.param("0 - 2 = - 2,0 14 2 9999999999 16 2,subtract,,4", id="huge token"),
        pytest.param(
            "0 - 2 = - 2,0 14 \N{ARABIC-INDIC DIGIT TWO} 10 16 2,subtract,,4", id="arabic"
        ),
        pytest.param("0 - 2 = - 2,0  14 2 10 16 2,subtract,,4", id="two spaces"),
        pytest.param("0 - 2 = - 2,0 14 2 10 16 2,subtract,,4\r", id="carriage return"),
    ],
)
def test_a_malformed_row_is_refused_with_its_file_and_line(row: str, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(HEADER + ROWS + row.encode() + b"\n" + ROWS)

    with pytest.raises(ValueError, match=r"train\.csv, line 5: expected a line like '0 - 2 = - 2,"):
        read_equations(path)


@pytest.mark.parametrize("header", [b"", b"equation,tokens\n", b"\xff\n", HEADER.upper()])
def test_another_header_is_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(header)

    with pytest.raises(ValueError, match=r"train\.csv, line 1: expected a line like 'equation,"):
        read_equations(path)


def test_a_table_without_equations_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(HEADER)

    with pytest.raises(ValueError, match=r"train\.csv: the table has no equations"):
        read_equations(path)


@settings(max_examples=300, deadline=None)
@given(
    place=st.integers(0, len(HEADER + ROWS)),
    inserted=st.binary(max_size=4) | st.text("0123456789 ,\n", max_size=9).map(str.encode),
    removed=st.integers(0, 20),
)
def test_a_damaged_table_reads_whole_or_is_refused_in_one_line(
    place: int, inserted: bytes, removed: int
) -> None:
    content = HEADER + ROWS
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "train.csv"
        path.write_bytes(content[:place] + inserted + content[place + removed :])

        try:
            equations = read_equations(path)
        except ValueError as error:
            assert "train.csv" in str(error)
            assert len(str(error).splitlines()) == 1
        else:
            assert ((equations.tokens >= 0).sum(axis=1) == equations.lengths).all()
            assert (equations.answer_starts < equations.lengths).all()
