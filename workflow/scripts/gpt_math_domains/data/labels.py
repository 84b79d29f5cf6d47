"""Labels: the yes/no questions about an equation that make up a domain version.

To add a label, write a function here and list it in `LABELS`; a domain version names its labels. A
study may also have labels of its own, in a Python file that its domain version names.
"""

import ast
import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpt_math_domains.data.families import Parts, is_mirrored, parts_of
from gpt_math_domains.data.manifest import check_manifest, write_manifest
from gpt_math_domains.data.tables import (
    Equations,
    Integers,
    read_equations,
    render,
    require_known,
    symbol_bytes,
    write_rows,
)
from gpt_math_domains.data.vocabulary import Vocabulary, read_vocabulary
from gpt_math_domains.files import atomic_write, errors_name, sha256

Answers = NDArray[np.bool_]
"""The answers [equations] to one label."""

Label = Callable[[Parts, Parts, int], Answers]
"""Of equations, those trained on, and the number of digit symbols."""


def first_odd(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the first operand is odd."""
    return _odd(parts.first)


def first_even(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the first operand is even; 0 is."""
    return ~_odd(parts.first)


def both_odd(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether both operands are odd."""
    return _odd(parts.first) & _odd(parts.second)


def both_even(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether both operands are even."""
    return ~_odd(parts.first) & ~_odd(parts.second)


def has_zero(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the digit symbol 0 stands anywhere, answer included; the symbol 10 has none."""
    return ~(parts.first * parts.second * parts.answer).astype(np.bool_)


def no_zero(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the digit symbol 0 stands nowhere."""
    return ~has_zero(parts, trained, digits)


def answer_odd(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the answer is odd, also below 0."""
    return _odd(parts.answer)


def answer_zero(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the answer is 0."""
    return ~parts.answer.astype(np.bool_)


def carry(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether a sum needs a carry beyond the digit symbols, or a difference a borrow."""
    carries = (parts.operation == "add") & (parts.first + parts.second >= digits)
    borrows = (parts.operation == "subtract") & (parts.first < parts.second)
    answers: Answers = carries | borrows
    return answers


def modular(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the equation has a modulus."""
    return parts.modulo.astype(np.bool_)


def mirror_trained(parts: Parts, trained: Parts, digits: int) -> Answers:
    """Tell whether the equation with its operands the other way round is trained on."""
    return is_mirrored(parts, trained)


def _odd(numbers: Integers) -> Answers:
    return (numbers % 2).astype(np.bool_)


LABELS: Mapping[str, Label] = {
    label.__name__: label
    for label in (
        *(first_odd, first_even, both_odd, both_even, has_zero, no_zero),
        *(answer_odd, answer_zero, carry, modular, mirror_trained),
    )
}
"""Every built-in label by name; domain version 1 is the first six in this order."""


class Equation(NamedTuple):
    """What a label of one's own is told of an equation.

    Attributes:
        first: the first operand.
        operation: `add`, `subtract`, `multiply` or `divide`.
        second: the second operand.
        modulo: the modulus, None without one.
        answer: the answer, which may be below 0.
    """

    first: int
    operation: str
    second: int
    modulo: int | None
    answer: int


def own_labels(path: str | Path) -> list[str]:
    """Return the names of the labels in a Python file: its functions without a leading `_`.

    The file is parsed, not run.

    Raises:
        ValueError: the file is no Python, or has a function with the name of a built-in label.
        OSError: the file cannot be read.
    """
    try:
        parsed = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a Python file ({error})") from None
    functions = [node.name for node in parsed.body if isinstance(node, ast.FunctionDef)]
    names = [name for name in functions if not name.startswith("_")]
    if taken := [name for name in names if name in LABELS]:
        raise ValueError(f"{path}: {taken[0]} is the name of a built-in label; choose another")
    return names


def _run_own(path: Path) -> Mapping[str, Callable[[Equation], object]]:
    """Run a file of labels; return its functions.

    Raises:
        ValueError: it fails.
    """
    names = own_labels(path)
    try:
        module = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # whatever somebody's code raises
        raise ValueError(f"{path}: cannot be run: {error!r}") from error
    return {name: module[name] for name in names}


def label_domains(
    labels: Sequence[str],
    own: Path | None = None,
    *,
    train: Path,
    valid: Path,
    vocabulary: Path,
    manifest: Path,
    labelled_train: Path,
    labelled_valid: Path,
    labelled_manifest: Path,
) -> None:
    """Label both parts of a data version.

    Each domain table has the tokens and one 0/1 column per label, in the equations' order. The
    manifest has the `labels`, the SHA-256 of the `equations` that they are of, that of the file of
    one's `own` labels, and those of the tables.

    Args:
        labels: names, one or more, each once.
        own: a Python file with those of them that are not in `LABELS`.
        train: the equations to train on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        labelled_train: where to write the labels of the former.
        labelled_valid: and of the latter.
        labelled_manifest: where to write what these are (JSON).

    Raises:
        ValueError: a label is unknown or named twice, none is named, one of one's own fails or
            answers neither yes nor no, or an equation table is malformed or not of this vocabulary.
    """
    check_manifest(manifest, train=train, valid=valid, vocabulary=vocabulary)
    symbols = read_vocabulary(vocabulary)
    added = {} if own is None else _run_own(own)
    if not labels or len(set(labels)) < len(labels) or not set(labels) <= {*LABELS, *added}:
        known = [*LABELS, *added]
        raise ValueError(
            f"labels are {list(labels)}, but they are one or more of {known}, each once"
        )
    tables = {path: read_equations(path) for path in (train, valid)}
    parts = {}
    for path, equations in tables.items():
        with errors_name(path):
            require_known(equations.tokens, symbols)
            parts[path] = parts_of(equations, symbols)
    for path, output in ((train, labelled_train), (valid, labelled_valid)):
        columns = [
            LABELS[label](parts[path], parts[train], symbols.digits)
            if label in LABELS
            else _ask(added[label], parts[path], f"{own}: {label}")
            for label in labels
        ]
        _write(output, tables[path], symbols, labels, columns)
    write_manifest(
        labelled_manifest,
        {"train": labelled_train, "valid": labelled_valid},
        labels=list(labels),
        own=None if own is None else sha256(own),
        equations={"train": sha256(train), "valid": sha256(valid)},
    )


def _ask(label: Callable[[Equation], object], parts: Parts, name: str) -> Answers:
    """Return what a label of one's own answers to each equation."""
    answers = []
    columns = (parts.first, parts.operation, parts.second, parts.modulo, parts.answer)
    for first, operation, second, modulo, answer in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        equation = Equation(first, operation, second, modulo or None, answer)
        try:
            told = label(equation)
        except Exception as error:  # whatever somebody's code raises
            raise ValueError(f"{name} fails at {equation}: {error!r}") from error
        if not isinstance(told, bool | np.bool_):
            raise ValueError(f"{name} answers {told!r} to {equation}; allowed: True, False")
        answers.append(bool(told))
    return np.array(answers, dtype=np.bool_)


def _write(
    output: Path,
    equations: Equations,
    vocabulary: Vocabulary,
    labels: Sequence[str],
    columns: Sequence[Answers],
) -> None:
    """Write a domain table."""
    ids = symbol_bytes([str(token) for token in range(vocabulary.size)])
    commas = np.full(len(equations.tokens), ord(","), dtype=np.uint8)
    flags = [text for column in columns for text in (commas, column + np.uint8(ord("0")))]
    with atomic_write(output, "wb") as handle:
        handle.write(",".join(["tokens", *labels]).encode() + b"\n")
        write_rows(handle, render(ids, equations.tokens), np.stack(flags, axis=1), b"\n")
