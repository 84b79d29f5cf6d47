"""Examples of equations, with their labels, for a reader who has seen none."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gpt_math_domains.data.tables import read_labels
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.tables import TEXT, WHOLE, WHOLE_OR_NOTHING, read_table

COUNT = 5  # of each kind
_COLUMNS = {
    "equation": TEXT,
    "tokens": TEXT,
    "operation": TEXT,
    "modulo": WHOLE_OR_NOTHING,
    "answer_start": WHOLE,
}


class Examples(NamedTuple):
    """What shows a reader what is learnt.

    Attributes:
        plain: rows of examples without a modulus: `equation`, `meaning` and, if there are labels,
            `labels that hold`.
        modular: the same with a modulus.
        complements: pairs of labels of which always exactly one holds.
    """

    plain: list[dict[str, Any]]
    modular: list[dict[str, Any]]
    complements: list[tuple[str, str]]


def read_examples(equations: Sequence[str | Path], labels: Sequence[str | Path] = ()) -> Examples:
    """Read some equations of each kind: of all operations, and of different moduli.

    Args:
        equations: of one or more data versions.
        labels: of the same equations, in the same order; none without a domain version.

    Raises:
        ValueError: a table is malformed, or they are not of the same equations.
        OSError: a file cannot be read.
    """
    tables = []
    for path in equations:
        with errors_name(path):
            tables.append(read_table(path, _COLUMNS))
    table = pd.concat(tables, ignore_index=True)
    names: list[str] = []
    complements: list[tuple[str, str]] = []
    if labels:
        parts = []
        for path, own in zip(labels, tables, strict=True):
            names, told = read_labels(path)
            if len(told) != len(own):
                raise ValueError(f"{path}: has {len(told)} rows, not {len(own)}")
            parts.append(told)
        answers = np.concatenate(parts)
        held = [", ".join(n for n, yes in zip(names, row, strict=True) if yes) for row in answers]
        table["labels that hold"] = held
        complements = [
            (names[first], names[second])
            for first, second in combinations(range(len(names)), 2)
            if (answers[:, first] + answers[:, second] == 1).all()
        ]
    shown = ["equation", "meaning", *(["labels that hold"] if names else [])]
    table["meaning"] = ""
    plain, modular = (
        [
            {name: row[name] for name in shown} | {"meaning": _meaning(row["equation"])}
            for row in _spread(rows).to_dict("records")
        ]
        for rows in (table[table["modulo"].isna()], table[table["modulo"].notna()])
    )
    return Examples(plain, modular, complements)


def _spread(rows: pd.DataFrame) -> pd.DataFrame:
    """Return some rows, each of the next operation and its next modulus, from different places."""
    operations = list(dict.fromkeys(rows["operation"]))
    places: list[Any] = []
    for number in range(COUNT if len(rows) else 0):
        own = rows[rows["operation"] == operations[number % len(operations)]]
        moduli = own["modulo"].fillna(0)
        names = list(dict.fromkeys(moduli))
        family = own[moduli == names[(number + number // len(operations)) % len(names)]]
        places.append(family.index[len(family) * (number + 1) // (COUNT + 2)])
    return rows.loc[list(dict.fromkeys(places))]


def _meaning(equation: str) -> str:
    """Return an equation as people write it."""
    first, sign, second, _, *rest = equation.split()
    spoken = {"-": "\N{MINUS SIGN}", "*": "\N{MULTIPLICATION SIGN}", "/": "//"}.get(sign, sign)
    if "=(m)" in equation:
        modulus, answer = rest[0], rest[1:]
        return f"({first} {spoken} {second}) mod {modulus} = {_number(answer)}"
    return f"{first} {spoken} {second} = {_number(rest)}"


def _number(symbols: Sequence[str]) -> str:
    return "".join(symbols).replace("-", "\N{MINUS SIGN}")
