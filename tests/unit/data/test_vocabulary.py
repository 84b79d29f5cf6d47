import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_math_domains.data.vocabulary import Vocabulary, read_vocabulary, write_vocabulary

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


def test_ten_digits_then_eight_signs_get_the_ids_zero_to_seventeen() -> None:
    vocabulary = Vocabulary(10)

    assert " ".join(vocabulary.symbols) == "0 1 2 3 4 5 6 7 8 9 = =(m) + * - / [neg] [eos]"
    assert vocabulary.size == 18


def test_a_modulus_of_its_own_comes_last_and_moves_no_other_symbol() -> None:
    vocabulary = Vocabulary(97, has_modulus=True)

    assert vocabulary.symbols == [*Vocabulary(97).symbols, "97"]
    assert vocabulary.symbols[vocabulary.modulus] == vocabulary.written[-1] == "97"


@given(digits=st.integers(2, 400), has_modulus=st.booleans())
def test_every_named_id_is_the_place_of_its_symbol(digits: int, has_modulus: bool) -> None:
    vocabulary = Vocabulary(digits, has_modulus)
    names = ["equal", "equal_mod", "add", "multiply", "subtract", "divide", "negative", "eos"]

    assert [vocabulary.symbols[getattr(vocabulary, name)] for name in names] == [
        *("=", "=(m)", "+", "*", "-", "/", "[neg]", "[eos]")
    ]
    assert vocabulary.symbols[:digits] == [str(digit) for digit in range(digits)]
    assert len(set(vocabulary.symbols)) == len(vocabulary.symbols) == vocabulary.size


def test_an_equation_is_written_with_the_negative_sign_as_a_minus() -> None:
    vocabulary = Vocabulary(10)
    tokens = [3, vocabulary.subtract, 5, vocabulary.equal, vocabulary.negative, 2]

    assert " ".join(vocabulary.written[token] for token in tokens) == "3 - 5 = - 2"


@pytest.mark.parametrize("digits", [1, 0, -10])
def test_fewer_than_two_digit_symbols_are_refused(digits: int) -> None:
    with pytest.raises(ValueError, match=f"digits is {digits}.* at least 2"):
        Vocabulary(digits)


@pytest.mark.parametrize("has_modulus", [False, True])
@pytest.mark.parametrize("digits", [2, 10, 300])
def test_a_written_vocabulary_reads_back_equal(
    digits: int, has_modulus: bool, tmp_path: Path
) -> None:
    path = tmp_path / "vocabulary.json"

    write_vocabulary(Vocabulary(digits, has_modulus), path)

    assert read_vocabulary(path) == Vocabulary(digits, has_modulus)
    assert list(json.loads(path.read_text())) == ["digits", "size", "symbols"]


@pytest.mark.parametrize(
    "change",
    [
        {"digits": 4},
        {"digits": 5.0},
        {"digits": True},
        {"digits": 10**12},
        {"size": 12},
        {"size": 14, "symbols": [*Vocabulary(5).symbols, "6"]},
        {"symbols": "01234"},
        {"symbols": [*"01234", "=", "=(m)", "*", "+", "-", "/", "[neg]", "[eos]"]},
        {"more": 1},
    ],
)
def test_a_vocabulary_file_with_one_wrong_entry_is_refused_by_name(
    change: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "vocabulary.json"
    write_vocabulary(Vocabulary(5), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ValueError, match=r"vocabulary\.json: expected 'digits'"):
        read_vocabulary(path)


@settings(max_examples=50, deadline=None)
@given(content=st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_other_file_is_refused_in_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocabulary.json"
        path.write_bytes(content)

        with pytest.raises(ValueError, match=r"^[^\n]*vocabulary\.json: [^\n]+$"):
            read_vocabulary(path)


def test_json_nested_too_deeply_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text("[" * 100_000)

    with pytest.raises(ValueError, match=r"vocabulary\.json: not a JSON file"):
        read_vocabulary(path)
