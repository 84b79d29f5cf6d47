"""What equations are about: their parts as numbers, their families, and which mirror another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpt_math_domains.data.tables import Equations, Integers
from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary


@dataclass(frozen=True)
class Parts:
    """The parts of equations, an array [equations] of each.

    Attributes:
        first: the first operand.
        operation: its name.
        second: the second operand.
        modulo: the modulus, 0 without one.
        answer: the answer, which may be below 0.
    """

    first: Integers
    operation: NDArray[np.str_]
    second: Integers
    modulo: Integers
    answer: Integers

    def __len__(self) -> int:
        return len(self.first)


def parts_of(equations: Equations, vocabulary: Vocabulary) -> Parts:
    """Return the parts of equations.

    Raises:
        ValueError: a token stands where no such token can.
    """
    tokens, every = equations.tokens, np.arange(len(equations.tokens))
    with_modulus = equations.answer_starts == 5
    own_symbol = with_modulus & vocabulary.has_modulus & (tokens[:, 4] == vocabulary.modulus)
    modulo = np.where(with_modulus & ~own_symbol, tokens[:, 4], 0)
    start = tokens[every, equations.answer_starts]
    negative = start == vocabulary.negative
    answer = np.where(negative, -tokens[every, equations.lengths - 1], start)
    signs = [getattr(vocabulary, name) for name in OPERATIONS]
    place = (tokens[:, 1, None] == signs).argmax(axis=1)
    numbers = np.stack([tokens[:, 0], tokens[:, 2], modulo, np.abs(answer)])
    known = np.isin(tokens[:, 1], signs).all()
    if not known or numbers.min() < 0 or numbers.max() >= vocabulary.digits:
        raise ValueError("has an equation that is not `a op b = r` or `a op b =(m) m r`")
    modulo[own_symbol] = vocabulary.digits
    return Parts(tokens[:, 0], np.array(OPERATIONS)[place], tokens[:, 2], modulo, answer)


def families_of(parts: Parts) -> tuple[list[dict[str, Any]], NDArray[np.bool_]]:
    """Return the families of equations, and which equations belong to each `[equations, families]`.

    A family is told by `operation`, `modulo` (None without one) and how many `equations` it has;
    families stand in the order of their first equation.
    """
    keys = list(zip(parts.operation.tolist(), parts.modulo.tolist(), strict=True))
    known = list(dict.fromkeys(keys))
    place = np.array([known.index(key) for key in keys])
    members = place[:, None] == np.arange(len(known))
    families = [
        {"operation": operation, "modulo": modulo or None, "equations": int(count)}
        for (operation, modulo), count in zip(known, members.sum(axis=0), strict=True)
    ]
    return families, members


def is_mirrored(parts: Parts, others: Parts) -> NDArray[np.bool_]:
    """Tell of which equations the mirror image, `b op a` for `a op b`, is among the others."""
    there = set(zip(*_keys(others, others.first, others.second), strict=True))
    mirrored = zip(*_keys(parts, parts.second, parts.first), strict=True)
    return np.array([key in there for key in mirrored], dtype=np.bool_)


def _keys(parts: Parts, first: Integers, second: Integers) -> list[list[Any]]:
    """Return what tells one equation from all others, with these operands."""
    return [column.tolist() for column in (parts.operation, parts.modulo, first, second)]
