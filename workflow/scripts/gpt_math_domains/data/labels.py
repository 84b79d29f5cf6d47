"""Labels: the yes/no questions about an equation that make up a domain version.

To add a label, write a function here and list it in `LABELS`; a domain version names its labels.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt_math_domains.data.manifest import check_manifest
from gpt_math_domains.data.tables import (
    read_equations,
    render,
    require_known,
    symbol_bytes,
    write_rows,
)
from gpt_math_domains.data.vocabulary import Vocabulary, read_vocabulary
from gpt_math_domains.files import atomic_write, errors_name

Tokens = NDArray[np.int64]
"""Token ids [equations, longest], padded with -1; operands stand in columns 0 and 2."""

Answers = NDArray[np.bool_]
"""The answers [equations] to one label."""

Label = Callable[[Tokens, Vocabulary], Answers]


def first_odd(tokens: Tokens, vocabulary: Vocabulary) -> Answers:
    """Tell whether the first operand is odd."""
    return _odd(tokens[:, 0])


def first_even(tokens: Tokens, vocabulary: Vocabulary) -> Answers:
    """Tell whether the first operand is even; 0 is."""
    return ~_odd(tokens[:, 0])


def both_odd(tokens: Tokens, vocabulary: Vocabulary) -> Answers:
    """Tell whether both operands are odd."""
    return _odd(tokens[:, 0]) & _odd(tokens[:, 2])


def both_even(tokens: Tokens, vocabulary: Vocabulary) -> Answers:
    """Tell whether both operands are even."""
    return ~_odd(tokens[:, 0]) & ~_odd(tokens[:, 2])


def has_zero(tokens: Tokens, vocabulary: Vocabulary) -> Answers:
    """Tell whether the digit symbol 0 stands anywhere, answer included; the symbol 10 has none."""
    answers: Answers = (tokens == 0).any(axis=1)
    return answers


def no_zero(tokens: Tokens, vocabulary: Vocabulary) -> Answers:
    """Tell whether the digit symbol 0 stands nowhere."""
    return ~has_zero(tokens, vocabulary)


def _odd(operands: NDArray[np.int64]) -> Answers:
    """Tell which operands are odd; a digit symbol's token id is its value."""
    return (operands % 2).astype(np.bool_)


LABELS: Mapping[str, Label] = {
    label.__name__: label
    for label in (first_odd, first_even, both_odd, both_even, has_zero, no_zero)
}
"""Every label by name; domain version 1 is these six in this order."""


def label_domains(
    labels: Sequence[str],
    *,
    train: Path,
    valid: Path,
    vocabulary: Path,
    manifest: Path,
    labelled_train: Path,
    labelled_valid: Path,
) -> None:
    """Label both parts of a data version, whose manifest is given; see `label_equations`."""
    check_manifest(manifest, train=train, valid=valid, vocabulary=vocabulary)
    symbols = read_vocabulary(vocabulary)
    label_equations(train, symbols, labels, labelled_train)
    label_equations(valid, symbols, labels, labelled_valid)


def label_equations(
    equations: Path, vocabulary: Vocabulary, labels: Sequence[str], output: Path
) -> None:
    """Write a domain table: the tokens and one 0/1 column per label, in the equations' order.

    Args:
        equations: the equation table to label.
        vocabulary: the vocabulary of its data version.
        labels: names from `LABELS`, one or more, each once.
        output: where to write the domain table.

    Raises:
        ValueError: a label is unknown or named twice, none is named, or the equation table is
            malformed or not of this vocabulary.
    """
    if not labels or len(set(labels)) < len(labels) or not set(labels) <= LABELS.keys():
        raise ValueError(
            f"labels are {list(labels)}, but they are one or more of {list(LABELS)}, each once"
        )
    tokens = read_equations(equations).tokens
    with errors_name(equations):
        require_known(tokens, vocabulary)
    columns = [LABELS[label](tokens, vocabulary) for label in labels]
    ids = symbol_bytes([str(token) for token in range(vocabulary.size)])
    commas = np.full(len(tokens), ord(","), dtype=np.uint8)
    flags = [text for column in columns for text in (commas, column + np.uint8(ord("0")))]
    with atomic_write(output, "wb") as handle:
        handle.write(",".join(["tokens", *labels]).encode() + b"\n")
        write_rows(handle, render(ids, tokens), np.stack(flags, axis=1), b"\n")
