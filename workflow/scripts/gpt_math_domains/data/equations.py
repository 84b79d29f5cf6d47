"""Equations: every one of a data version, and their split into train and validation."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np

from gpt_math_domains.data.manifest import write_manifest
from gpt_math_domains.data.settings import DataSettings, Family
from gpt_math_domains.data.tables import HEADER, Integers, render, symbol_bytes, write_rows
from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary, write_vocabulary
from gpt_math_domains.files import atomic_write
from gpt_math_domains.jobs.memory import equations_bytes, free_bytes, require_memory

ANSWERS: dict[str, Callable[[Integers, Integers], Integers]] = dict(
    zip(OPERATIONS, (np.add, np.subtract, np.multiply, np.floor_divide), strict=True)
)
"""What each operation makes of the operands."""


def generate_equations(
    settings: DataSettings,
    *,
    train: Path,
    valid: Path,
    vocabulary: Path,
    manifest: Path,
) -> None:
    """Write a data version: both parts of its equations, its vocabulary and a manifest.

    Rows are written family after family (no modulus, then each modulus; inside each add,
    subtract, multiply, divide). Every family is split on its own, see `family_seed`; of one that is
    held out, all equations are for validation.

    Args:
        settings: which equations there are, and which are trained on.
        train: where to write the training equations, in the order drawn.
        valid: where to write the validation equations, in the order of their operands.
        vocabulary: where to write the vocabulary (JSON).
        manifest: where to write the settings, counts and SHA-256 of the other files (JSON).

    Raises:
        ValueError: there are too many digits for the memory that is free.
        OSError: a file cannot be written.
    """
    digits, symbols = settings.digits, settings.vocabulary
    require_memory(
        equations_bytes(digits), free_bytes(), f"config: digits = {digits}", "choose fewer digits"
    )

    families: list[dict[str, str | int | None]] = []
    counts: Counter[str] = Counter()
    with atomic_write(train, "wb") as train_file, atomic_write(valid, "wb") as valid_file:
        train_file.write(HEADER)
        valid_file.write(HEADER)
        for family in settings.families():
            tokens = enumerate_family(symbols, family.operation, family.modulo)
            size = 0 if family.holdout else settings.train_size(len(tokens))
            drawn, rest = split_family(len(tokens), size, family_seed(settings, family))
            _write_equations(train_file, tokens[drawn], symbols, family)
            _write_equations(valid_file, tokens[rest], symbols, family)
            sizes = {"total": len(tokens), "train": len(drawn), "valid": len(rest)}
            families.append({**family._asdict(), **sizes})
            counts.update(sizes)
    write_vocabulary(symbols, vocabulary)
    write_manifest(
        manifest,
        {"train": train, "valid": valid, "vocabulary": vocabulary},
        **asdict(settings),
        vocabulary_size=symbols.size,
        counts=dict(counts),
        families=families,
    )


def enumerate_family(vocabulary: Vocabulary, operation: str, modulo: int | None) -> Integers:
    """Return the token ids [equations, 6] of one family, padded on the right with -1.

    Operand pairs are in row-major order; without a modulus, those whose answer has no digit
    symbol are left out.
    """
    pairs = np.indices((vocabulary.digits, vocabulary.digits)).reshape(2, -1)
    if operation == "divide":
        pairs = pairs[:, pairs[1] != 0]
    answer = ANSWERS[operation](*pairs)
    sign = getattr(vocabulary, operation)
    columns: list[Integers | int]
    if modulo is None:
        kept = answer < vocabulary.digits
        (left, right), answer = pairs[:, kept], answer[kept]
        first = np.where(answer < 0, vocabulary.negative, answer)
        second = np.where(answer < 0, -answer, -1)
        columns = [left, sign, right, vocabulary.equal, first, second]
    else:
        left, right = pairs
        symbol = vocabulary.modulus if modulo == vocabulary.digits else modulo
        columns = [left, sign, right, vocabulary.equal_mod, symbol, answer % modulo]
    return np.stack(np.broadcast_arrays(*columns), axis=1)


def family_seed(settings: DataSettings, family: Family) -> int | Integers:
    """Return the seed that a family's training equations are drawn from.

    With a `shared` split it is `split_seed`, so families of equal size hold out the same operand
    pairs. With an `independent` one, NumPy's `SeedSequence` makes four words of `split_seed`, the
    operation's place in `OPERATIONS` and the modulus (0 without one), whatever else there is.
    """
    if settings.split == "shared":
        return settings.split_seed
    own = [settings.split_seed, OPERATIONS.index(family.operation), family.modulo or 0]
    return np.random.SeedSequence(own).generate_state(4).astype(np.int64)


def split_family(count: int, size: int, seed: int | Integers) -> tuple[Integers, Integers]:
    """Return the indices of a family's `size` training equations, and of the others.

    Training indices stand in the order drawn, validation indices ascend. `RandomState` is
    NumPy's frozen legacy generator: its draws are the same in every version.
    """
    drawn = np.random.RandomState(seed).choice(count, size, replace=False)
    return drawn, np.delete(np.arange(count), drawn)


def _write_equations(
    handle: IO[bytes], tokens: Integers, vocabulary: Vocabulary, family: Family
) -> None:
    """Write the table rows of some of one family's equations."""
    operation, modulo = family.operation, family.modulo
    written = symbol_bytes(vocabulary.written)
    ids = symbol_bytes([str(token) for token in range(vocabulary.size)])
    rest = f",{operation},,4\n" if modulo is None else f",{operation},{modulo},5\n"
    write_rows(handle, render(written, tokens), b",", render(ids, tokens), rest.encode())
