"""Equations: every one of a data version, and their split into train and validation."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from gpt_math_domains.data.manifest import write_manifest
from gpt_math_domains.data.tables import HEADER, Integers, render, symbol_bytes, write_rows
from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary, write_vocabulary
from gpt_math_domains.files import atomic_write
from gpt_math_domains.jobs.memory import equations_bytes, free_bytes, require_memory

TRAIN_SHARE = 0.7

ANSWERS: dict[str, Callable[[Integers, Integers], Integers]] = dict(
    zip(OPERATIONS, (np.add, np.subtract, np.multiply, np.floor_divide), strict=True)
)
"""What each operation makes of the operands."""


def generate_equations(
    digits: int,
    modulo: int | None,
    split_seed: int,
    *,
    train: Path,
    valid: Path,
    vocabulary: Path,
    manifest: Path,
) -> None:
    """Write a data version: both parts of its equations, its vocabulary and a manifest.

    Rows are written family after family (no modulus, then each modulus; inside each add,
    subtract, multiply, divide). Every family is split on its own, from `split_seed` anew.

    Args:
        digits: how many digit symbols there are, at least 2.
        modulo: the largest modulus (2 to `digits` - 1, as it is written as a digit symbol);
            None for equations without a modulus only.
        split_seed: what draws the training equations, 0 to 2**32 - 1.
        train: where to write the training equations, in the order drawn.
        valid: where to write the validation equations, in the order of their operands.
        vocabulary: where to write the vocabulary (JSON).
        manifest: where to write the settings, counts and SHA-256 of the other files (JSON).

    Raises:
        ValueError: `digits`, `modulo` or `split_seed` is out of its range, or there are too many
            digits for the memory that is free.
        OSError: a file cannot be written.
    """
    symbols = Vocabulary(digits)
    if modulo is not None and not 2 <= modulo < digits:
        raise ValueError(
            f"modulo is {modulo}, but with {digits} digit symbols it is 2 to {digits - 1} or null"
        )
    if not 0 <= split_seed < 2**32:
        raise ValueError(f"split_seed is {split_seed}, but it is 0 to {2**32 - 1}")
    require_memory(
        equations_bytes(digits), free_bytes(), f"config: digits = {digits}", "choose fewer digits"
    )

    families: list[dict[str, str | int | None]] = []
    counts: Counter[str] = Counter()
    with atomic_write(train, "wb") as train_file, atomic_write(valid, "wb") as valid_file:
        train_file.write(HEADER)
        valid_file.write(HEADER)
        for modulus in (None, *range(2, (modulo or 1) + 1)):
            for operation in OPERATIONS:
                tokens = enumerate_family(symbols, operation, modulus)
                drawn, rest = split_family(len(tokens), split_seed)
                _write_equations(train_file, tokens[drawn], symbols, operation, modulus)
                _write_equations(valid_file, tokens[rest], symbols, operation, modulus)
                sizes = {"total": len(tokens), "train": len(drawn), "valid": len(rest)}
                families.append({"operation": operation, "modulo": modulus, **sizes})
                counts.update(sizes)
    write_vocabulary(symbols, vocabulary)
    write_manifest(
        manifest,
        {"train": train, "valid": valid, "vocabulary": vocabulary},
        digits=digits,
        modulo=modulo,
        split_seed=split_seed,
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
        columns = [left, sign, right, vocabulary.equal_mod, modulo, answer % modulo]
    return np.stack(np.broadcast_arrays(*columns), axis=1)


def split_family(count: int, seed: int) -> tuple[Integers, Integers]:
    """Return the indices of a family's training and validation equations.

    Training indices stand in the order drawn, validation indices ascend. `RandomState` is
    NumPy's frozen legacy generator: its draws are the same in every version.
    """
    drawn = np.random.RandomState(seed).choice(count, int(count * TRAIN_SHARE), replace=False)
    return drawn, np.delete(np.arange(count), drawn)


def _write_equations(
    handle: IO[bytes],
    tokens: Integers,
    vocabulary: Vocabulary,
    operation: str,
    modulo: int | None,
) -> None:
    """Write the table rows of one family's `tokens`."""
    written = symbol_bytes(vocabulary.written)
    ids = symbol_bytes([str(token) for token in range(vocabulary.size)])
    rest = f",{operation},,4\n" if modulo is None else f",{operation},{modulo},5\n"
    write_rows(handle, render(written, tokens), b",", render(ids, tokens), rest.encode())
