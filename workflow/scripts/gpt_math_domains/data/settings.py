"""The settings of a data version: which families it has, and how each is split.

The configuration, the estimate of a training and the job that writes the equations all ask here, so
what cannot be written is refused before any job.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any, NamedTuple

from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary

SPLIT_SEEDS = ("shared", "independent")
"""Whether all families draw from `split_seed` itself, or each from a seed of its own."""


class Family(NamedTuple):
    """All equations of one operation under one modulus, or without one."""

    operation: str
    modulo: int | None
    holdout: bool  # all of its equations are for validation


@dataclass(frozen=True)
class DataSettings:
    """Which equations a data version has, and which of them are trained on.

    Attributes:
        digits: how many digit symbols there are, at least 2.
        modulo: the largest modulus, 2 to `digits`, of families for 2 and up; None for `moduli`.
        split_seed: what the split is drawn from, 0 to 2**32 - 1.
        operations: one or more of `OPERATIONS`, each once, in any order.
        moduli: the moduli, each 2 to `digits` and once, in any order; None for `modulo`.
        without_modulus: whether there are families without a modulus.
        train_share: of a family's equations to train on, rounded down, above 0 and below 1.
        split: one of `SPLIT_SEEDS`.
        holdout: the values of `operation` and `modulo` that hold a family out; None for none.

    Raises:
        ValueError: a value is out of its range, there is no equation, or a family that is not held
            out has nothing to train on; the message is one line.
    """

    digits: int
    modulo: int | None = None
    split_seed: int = 0
    operations: Sequence[str] = OPERATIONS
    moduli: Sequence[int] | None = None
    without_modulus: bool = True
    train_share: float = 0.7
    split: str = "shared"
    holdout: Mapping[str, Sequence[Any]] | None = None

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise ValueError(fault)

    @property
    def all_moduli(self) -> Sequence[int]:
        """Every modulus, ascending."""
        return range(2, (self.modulo or 1) + 1) if self.moduli is None else sorted(self.moduli)

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that the equations are written with."""
        return Vocabulary(self.digits, has_modulus=self.digits in self.all_moduli)

    @cached_property
    def train_equations(self) -> int:
        """How many equations are trained on."""
        return sum(
            count * self.train_size(family_size(self.digits, operation, with_modulus))
            for operation, with_modulus, count in self._trained()
        )

    @cached_property
    def valid_equations(self) -> int:
        """How many equations are for validation."""
        sizes = (
            family_size(self.digits, family.operation, family.modulo is not None)
            for family in self.families()
        )
        return sum(sizes) - self.train_equations

    def train_size(self, equations: int) -> int:
        """Return how many of a family's equations are trained on, unless it is held out."""
        return int(equations * self.train_share)

    def families(self) -> Iterator[Family]:
        """Yield every family, those without a modulus first, in the order of `OPERATIONS`."""
        operations, moduli = self._held_out("operation"), self._held_out("modulo")
        for modulo in (*([None] if self.without_modulus else []), *self.all_moduli):
            for operation in OPERATIONS:
                if operation in self.operations:
                    holdout = operation in operations or modulo in moduli
                    yield Family(operation, modulo, holdout)

    def _held_out(self, key: str) -> Sequence[Any]:
        return (self.holdout or {}).get(key, ())

    def _trained(self) -> Iterator[tuple[str, bool, int]]:
        """Yield an operation, whether it is under a modulus, and how many such are trained on."""
        moduli = len(self.all_moduli) - len(self._held_out("modulo"))
        for operation in OPERATIONS:
            if operation in self.operations and operation not in self._held_out("operation"):
                if self.without_modulus:
                    yield operation, False, 1
                if moduli:
                    yield operation, True, moduli

    def _faults(self) -> Iterator[str]:
        """Yield what is wrong; what comes later holds only if nothing came before."""
        digits, moduli = self.digits, self.moduli
        if digits < 2:
            yield f"digits = {digits}: must be at least 2"
        if not 0 <= self.split_seed < 2**32:
            yield f"split_seed = {self.split_seed}: must be 0 to {2**32 - 1}"
        if not 0 < self.train_share < 1:
            yield f"train_share = {self.train_share}: must be greater than 0 and less than 1"
        if self.split not in SPLIT_SEEDS:
            yield f"split = {self.split!r}: must be one of {', '.join(SPLIT_SEEDS)}"
        if not self.operations or not _each_once(self.operations, OPERATIONS):
            yield (
                f"operations = {list(self.operations)}: must be one or more of "
                f"{', '.join(OPERATIONS)}, each once"
            )
        if moduli is not None and self.modulo is not None:
            yield f"moduli = {list(moduli)}: must be null where modulo = {self.modulo} is given"
        range_told = f"2 to digits = {digits}, since a modulus is written as one symbol"
        if self.modulo is not None and not 2 <= self.modulo <= digits:
            yield f"modulo = {self.modulo}: must be {range_told}"
        if moduli is not None and not _each_once(moduli, range(2, digits + 1)):
            yield f"moduli = {list(moduli)}: must be, each once, {range_told}"
        if not self.without_modulus and not self.all_moduli:
            yield "without_modulus = False: must be true without a modulus, or there is no equation"
        yield from self._holdout_faults()
        for operation, with_modulus, _ in self._trained():
            size = family_size(digits, operation, with_modulus)
            if not self.train_size(size):
                yield (
                    f"train_share = {self.train_share}: takes none of the {size} equations of "
                    f"{operation} with{'' if with_modulus else 'out'} a modulus; "
                    "must take one of each family"
                )

    def _holdout_faults(self) -> Iterator[str]:
        """Yield what is wrong with `holdout`, the rest being right."""
        if self.holdout is None:
            return
        told = {key: list(values) for key, values in self.holdout.items() if values}
        if not told or not told.keys() <= {"operation", "modulo"}:
            yield f"holdout = {told}: must name values of operation or modulo, or be null"
        for key, there in (("operation", self.operations), ("modulo", self.all_moduli)):
            if not _each_once(self._held_out(key), there):
                has = f"{there[0]} to {there[-1]}" if isinstance(there, range) and there else ""
                yield (
                    f"holdout.{key} = {told[key]}: must be, each once, among those of this "
                    f"version, {has or list(there)}"
                )
        if not any(True for _ in self._trained()):
            yield f"holdout = {told}: must leave a family to train on"


def family_size(digits: int, operation: str, with_modulus: bool) -> int:
    """Return how many equations a family has."""
    pairs = digits * (digits - 1 if operation == "divide" else digits)
    if with_modulus or operation in ("subtract", "divide"):
        return pairs
    if operation == "add":
        return digits * (digits + 1) // 2
    # Products below `digits`: of a 0, and the divisors of each number up to `most`, counted by
    # Dirichlet's hyperbola method.
    most = digits - 1
    root = isqrt(most)
    return 2 * digits - 1 + 2 * sum(most // factor for factor in range(1, root + 1)) - root**2


def _each_once(values: Sequence[Any], allowed: Sequence[Any]) -> bool:
    """Tell whether all values are allowed ones, and none stands there twice."""
    return all(value in allowed for value in values) and len(set(values)) == len(values)
