"""Tables of results as typed CSV files: one way to read, check and write all of them.

A table's columns are a mapping from name to pandas dtype, in order; its module has them.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.files import atomic_write
from gpt_math_domains.run import RUN, run_at

Columns = Mapping[str, str]

TEXT, WHOLE, WHOLE_OR_NOTHING, NUMBER = "string", "int64", "Int64", "float64"
_PATTERNS = {
    WHOLE: (re.compile(r"[0-9]{1,18}"), "a whole number"),
    WHOLE_OR_NOTHING: (re.compile(r"[0-9]{0,18}"), "a whole number or nothing"),
    NUMBER: (re.compile(r"(?:-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|-?inf)?"), "a number"),
}
_PLAIN_TEXT = r'[^",\r\n]*'  # without quotes
RUN_COLUMNS = dict(zip(RUN, [TEXT, WHOLE, WHOLE, WHOLE_OR_NOTHING, TEXT], strict=True))


def read_table(path: str | Path, *allowed: Columns) -> pd.DataFrame:
    """Read a table; floats get the nearest double, an empty field is a missing value.

    Args:
        path: the CSV.
        allowed: the columns that the table may have, one or more such tables.

    Raises:
        ValueError: other columns, a field that is none of its type, or rows of another run than
            that in whose place the table lies.
        OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    for columns in allowed:
        if _plain(columns).fullmatch(content):
            frame = pd.read_csv(
                BytesIO(content), dtype=dict(columns), keep_default_na=False, na_values=[""]
            )
            return _placed(frame, Path(path))
    text = read_fields(path)  # has quotes, or something wrong, which this tells
    for columns in allowed:
        if list(text) == list(columns):
            return _placed(parse_fields(text, columns), Path(path))
    wanted = " or ".join(str(list(columns)) for columns in allowed)
    raise ValueError(f"has the columns {list(text)}; allowed are {wanted}")


def _plain(columns: Columns) -> re.Pattern[bytes]:
    """Return the pattern of whole tables with some columns, each in its type and without quotes.

    What it matches, pandas reads the same and at once, which takes a quarter of the time. It never
    goes back in what it has matched, or long tables would take much memory.
    """
    fields = [
        _PATTERNS[dtype][0].pattern if dtype in _PATTERNS else _PLAIN_TEXT
        for dtype in columns.values()
    ]
    row = ",".join(f"(?>{field})" for field in fields)
    return re.compile(f"{re.escape(','.join(columns))}\n(?>{row}\n)*+".encode())


def read_fields(path: str | Path) -> pd.DataFrame:
    """Read the fields of a CSV as text."""
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not isinstance(text.index, pd.RangeIndex):  # pandas took the first field for a row label
        raise ValueError("has rows with more fields than the header")
    return text


def parse_fields(text: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Turn text into each column's type."""
    parsed = {}
    for name, dtype in columns.items():
        fields = text[name].tolist()
        if dtype in _PATTERNS:
            pattern, allowed = _PATTERNS[dtype]
            # A list, as pandas takes several times as long.
            if not all(map(pattern.fullmatch, fields)):
                require(text, name, text[name].str.fullmatch(pattern), allowed)
        parsed[name] = _values(fields, dtype)
    return pd.DataFrame(parsed)


def _values(fields: list[str], dtype: str) -> "pd.Series[Any]":
    """Return fields that are of a type as its values."""
    if dtype == NUMBER:
        return pd.Series([float(field or "nan") for field in fields], dtype=dtype)
    if dtype == TEXT:
        return pd.Series([field or None for field in fields], dtype=dtype)
    return pd.Series([int(field) if field else None for field in fields], dtype=dtype)


def _placed(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table whose rows are of the run in whose place it lies, if it lies in one's."""
    for key, value in (run_at(path.parent) or {}).items():
        if key in frame:
            require(frame, key, frame[key].eq(value).fillna(False), f"{value}, by its place")
    return frame


def typed(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the columns of a table, each in its type."""
    return frame[list(columns)].astype(columns)


def empty_table(columns: Columns) -> pd.DataFrame:
    """Return a table without rows."""
    return pd.DataFrame(columns=list(columns)).astype(columns)


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Publish a table as CSV; pandas writes floats by their shortest exact digits."""
    with atomic_write(path) as handle:
        frame.to_csv(handle, index=False, lineterminator="\n")


def require(frame: pd.DataFrame, name: str, holds: "pd.Series[bool]", allowed: str) -> None:
    """Raise ValueError for the first row in which a column's value is not allowed."""
    if not holds.all():
        bad = frame[~holds].astype(object).iloc[0].fillna("").astype(str)
        keys = [key for key in (*RUN, "seed", "step") if bad.get(key)]
        row = ", ".join(f"{key} {bad[key]}" for key in keys)
        raise ValueError(f"{name} is {bad[name] or 'empty'} at {row}; allowed: {allowed}")


def require_accuracy(frame: pd.DataFrame, name: str) -> None:
    """Raise ValueError where an accuracy is none."""
    require(frame, name, frame[name].between(0, 1), "0 to 1")
