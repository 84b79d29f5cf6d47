"""The tables of equations and labels: reading and writing them in bulk."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from gpt_math_domains.data.vocabulary import LONGEST, OPERATIONS, Vocabulary

Integers = NDArray[np.int64]

HEADER = b"equation,tokens,operation,modulo,answer_start\n"
ROW_EXAMPLE = "0 - 2 = - 2,0 14 2 10 16 2,subtract,,4"
# An equation has 5 or 6 tokens; its answer starts after `a op b =`, or after `a op b =(m) m`.
TOKEN_IDS = rb"(\d{1,9}(?: \d{1,9}){4,5})"
ROW = re.compile(
    rb"([^ ,\r\n]+(?: [^ ,\r\n]+){4,5}),"
    + TOKEN_IDS
    + rb",(?:%s),(,4|\d{1,9},5)\n?" % "|".join(OPERATIONS).encode()
)
LABEL_HEADER = re.compile(rb"tokens((?:,[A-Za-z_][A-Za-z0-9_]*)+)\n")


@dataclass(frozen=True)
class Equations:
    """The equations of one table, in its order.

    Attributes:
        tokens: token ids [equations, `LONGEST`], without `[eos]`, padded on the right with -1.
        lengths: how many tokens each equation has [equations].
        answer_starts: where each equation's answer starts [equations]; it runs to the end.
    """

    tokens: Integers
    lengths: Integers
    answer_starts: Integers


def read_equations(path: str | Path) -> Equations:
    """Read an equation table.

    Raises:
        ValueError: the header or a row is malformed, or there is no row; the message names the
            file and the line.
    """
    id_lists, answer_starts = [], bytearray()
    with open(path, "rb") as handle:
        header = handle.readline()
        if header != HEADER:
            raise _malformed(path, 1, HEADER.decode().strip(), header)
        for number, line in enumerate(handle, start=2):
            row = ROW.fullmatch(line)
            if row is None:
                raise _malformed(path, number, ROW_EXAMPLE, line)
            equation, ids, last_fields = row.groups()
            answer_start = 4 if last_fields == b",4" else 5
            if not equation.count(b" ") == ids.count(b" ") >= answer_start:
                raise _malformed(path, number, ROW_EXAMPLE, line)
            id_lists.append(ids)
            answer_starts.append(answer_start)
    if not id_lists:
        raise ValueError(f"{path}: the table has no equations")
    lengths = np.array([ids.count(b" ") + 1 for ids in id_lists], dtype=np.int64)
    tokens = np.full((len(lengths), LONGEST), -1, dtype=np.int64)
    # Numbers in text form are what `fromstring` parses when given a separator.
    flat = np.fromstring(b" ".join(id_lists), dtype=np.int64, sep=" ")
    tokens[np.arange(LONGEST) < lengths[:, None]] = flat
    return Equations(tokens, lengths, np.frombuffer(answer_starts, np.uint8).astype(np.int64))


def require_known(tokens: Integers, vocabulary: Vocabulary) -> None:
    """Require that token ids, padded with -1, are those that equations have.

    Raises:
        ValueError: one is `[eos]`, or none of the vocabulary.
    """
    foreign = tokens[(tokens == vocabulary.eos) | (tokens >= vocabulary.size)]
    if len(foreign):
        raise ValueError(
            f"token {foreign.max()} stands in no equation of a vocabulary with "
            f"{vocabulary.digits} digit symbols"
        )


def read_labels(path: str | Path) -> tuple[list[str], NDArray[np.uint8]]:
    """Read a domain table.

    Returns:
        The labels' names, and each equation's answers [equations, labels] as 0 or 1.

    Raises:
        ValueError: the header or a row (its tokens too) is malformed, or there is no row; the
            message names the file and the line.
    """
    answers = []
    with open(path, "rb") as handle:
        header = handle.readline()
        matched = LABEL_HEADER.fullmatch(header)
        names = matched[1].decode()[1:].split(",") if matched else []
        if not names or len(set(names)) < len(names):
            raise _malformed(path, 1, "tokens,first_odd,first_even", header)
        pattern = re.compile(TOKEN_IDS + rb"((?:,[01]){%d})\n?" % len(names))
        for number, line in enumerate(handle, start=2):
            row = pattern.fullmatch(line)
            if row is None:
                raise _malformed(path, number, f"0 14 2 10 16 2,0,1 ({len(names)} labels)", line)
            answers.append(row[2].replace(b",", b""))
    if not answers:
        raise ValueError(f"{path}: the table has no equations")
    flat = np.frombuffer(b"".join(answers), dtype=np.uint8) - np.uint8(ord("0"))
    return names, flat.reshape(len(answers), len(names))


def _malformed(path: str | Path, number: int, expected: str, line: bytes) -> ValueError:
    """Return the error for a line that is not like the one expected."""
    shown = line[:80].decode(errors="replace").rstrip("\n")
    return ValueError(f"{path}, line {number}: expected a line like {expected!r}, not {shown!r}")


# Tables are written as arrays of bytes [rows, width], zero bytes being holes that close up when
# the rows are written. Formatting in Python would take most of the time of a large version.


def symbol_bytes(symbols: Sequence[str]) -> NDArray[np.uint8]:
    """Return " symbol" as bytes [symbols + 1, width]; the last is empty, so index -1 is too."""
    spaced = [f" {symbol}" for symbol in symbols]
    packed = np.array([*spaced, ""], dtype=bytes)
    return packed.view(np.uint8).reshape(len(packed), -1)


def render(symbols: NDArray[np.uint8], tokens: Integers) -> NDArray[np.uint8]:
    """Return the text of `tokens`, separated by single spaces, as bytes [rows, width]."""
    rows, width = tokens.shape
    return symbols[tokens].reshape(rows, width * symbols.shape[1])[:, 1:]


def write_rows(handle: IO[bytes], *columns: NDArray[np.uint8] | bytes) -> None:
    """Write columns side by side without their holes; plain bytes stand on every row."""
    rows = max(len(column) for column in columns if not isinstance(column, bytes))
    filled = [
        np.broadcast_to(np.frombuffer(column, np.uint8), (rows, len(column)))
        if isinstance(column, bytes)
        else column
        for column in columns
    ]
    text = np.hstack(filled)
    handle.write(text[text != 0].tobytes())
