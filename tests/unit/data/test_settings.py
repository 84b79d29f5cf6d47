from typing import Any

import pytest

from gpt_math_domains.data.settings import DataSettings, Family, family_size


def test_the_published_families_are_those_of_digits_and_modulo_alone() -> None:
    families = list(DataSettings(10, 3).families())

    assert families == [
        Family(operation, modulo, holdout=False)
        for modulo in (None, 2, 3)
        for operation in ("add", "subtract", "multiply", "divide")
    ]
    assert DataSettings(10, 5).train_equations == 1287
    assert DataSettings(20, 5).train_equations == 5186


@pytest.mark.parametrize("digits", range(2, 60))
def test_products_below_the_digits_are_as_many_as_counted_one_by_one(digits: int) -> None:
    products = [a * b for a in range(digits) for b in range(digits)]
    below = [product for product in products if product < digits]
    assert family_size(digits, "multiply", with_modulus=False) == len(below)


def test_equations_that_never_fit_are_counted_in_no_time() -> None:
    assert DataSettings(10**9, 10**9).train_equations > 10**27


def test_no_share_takes_a_whole_family() -> None:
    settings = DataSettings(10, train_share=1 - 2**-53)
    assert all(settings.train_size(size) == size - 1 for size in range(1, 2000))


def test_families_that_are_held_out_are_told_and_not_trained_on() -> None:
    holdout: dict[str, list[Any]] = {"operation": ["divide"], "modulo": [2]}
    settings = DataSettings(5, 3, operations=["divide", "add"], holdout=holdout)

    assert list(settings.families()) == [
        Family("add", None, False),
        Family("divide", None, True),
        Family("add", 2, True),
        Family("divide", 2, True),
        Family("add", 3, False),
        Family("divide", 3, True),
    ]
    assert settings.train_equations == int(15 * 0.7) + int(25 * 0.7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"digits": 1}, "digits = 1: must be at least 2"),
        (
            {"modulo": 1},
            "modulo = 1: must be 2 to digits = 5, since a modulus is written as one symbol",
        ),
        (
            {"modulo": 6},
            "modulo = 6: must be 2 to digits = 5, since a modulus is written as one symbol",
        ),
        (
            {"moduli": [2, 6]},
            "moduli = [2, 6]: must be, each once, 2 to digits = 5, "
            "since a modulus is written as one symbol",
        ),
        (
            {"moduli": [3, 3]},
            "moduli = [3, 3]: must be, each once, 2 to digits = 5, "
            "since a modulus is written as one symbol",
        ),
        (
            {"modulo": 3, "moduli": [5]},
            "moduli = [5]: must be null where modulo = 3 is given",
        ),
        ({"split_seed": -1}, "split_seed = -1: must be 0 to 4294967295"),
        ({"split_seed": 2**32}, "split_seed = 4294967296: must be 0 to 4294967295"),
        ({"split": "even"}, "split = 'even': must be one of shared, independent"),
        (
            {"operations": []},
            "operations = []: must be one or more of add, subtract, multiply, divide, each once",
        ),
        (
            {"operations": ["add", "power"]},
            "operations = ['add', 'power']: must be one or more of add, subtract, multiply, "
            "divide, each once",
        ),
        (
            {"without_modulus": False},
            "without_modulus = False: must be true without a modulus, or there is no equation",
        ),
        ({"train_share": 0.0}, "train_share = 0.0: must be greater than 0 and less than 1"),
        ({"train_share": 1.0}, "train_share = 1.0: must be greater than 0 and less than 1"),
        (
            {"train_share": 0.06, "modulo": 5},
            "train_share = 0.06: takes none of the 15 equations of add without a modulus; "
            "must take one of each family",
        ),
        (
            {"train_share": 0.04, "moduli": [5], "without_modulus": False},
            "train_share = 0.04: takes none of the 20 equations of divide with a modulus; "
            "must take one of each family",
        ),
        ({"holdout": {}}, "holdout = {}: must name values of operation or modulo, or be null"),
        (
            {"holdout": {"operation": [], "modulo": []}},
            "holdout = {}: must name values of operation or modulo, or be null",
        ),
        (
            {"operations": ["add", "divide"], "holdout": {"operation": ["subtract"]}},
            "holdout.operation = ['subtract']: must be, each once, among those of this version, "
            "['add', 'divide']",
        ),
        (
            {"modulo": 4, "holdout": {"modulo": [4, 5]}},
            "holdout.modulo = [4, 5]: must be, each once, among those of this version, 2 to 4",
        ),
        (
            {"holdout": {"modulo": [2]}},
            "holdout.modulo = [2]: must be, each once, among those of this version, []",
        ),
        (
            {"moduli": [5], "without_modulus": False, "holdout": {"modulo": [5]}},
            "holdout = {'modulo': [5]}: must leave a family to train on",
        ),
        (
            {"operations": ["add"], "holdout": {"operation": ["add"]}},
            "holdout = {'operation': ['add']}: must leave a family to train on",
        ),
    ],
)
def test_settings_that_give_nothing_to_learn_are_refused_in_one_line(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        DataSettings(**{"digits": 5} | settings)
    assert str(error.value) == message


def test_a_family_that_is_held_out_may_be_too_small_for_the_share() -> None:
    # A share of 0.06 takes none of the 15 equations of add, and one of 17, 20 or 25 each.
    assert DataSettings(5, train_share=0.06, holdout={"operation": ["add"]}).train_equations == 3
