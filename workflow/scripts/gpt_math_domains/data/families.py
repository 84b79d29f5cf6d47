"""What equations are about: operation, modulus, operands, and which are another's mirror."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gpt_math_domains.data.tables import Equations
from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary


def describe_equations(equations: Equations, vocabulary: Vocabulary) -> pd.DataFrame:
    """Return operation, modulus (empty without one) and operands `a`, `b` of each equation.

    Raises:
        ValueError: a token stands where no such token can.
    """
    names = {getattr(vocabulary, name): name for name in OPERATIONS}
    tokens = equations.tokens
    with_modulus = equations.answer_starts == 5
    own_symbol = with_modulus & vocabulary.has_modulus & (tokens[:, 4] == vocabulary.modulus)
    moduli = np.where(with_modulus & ~own_symbol, tokens[:, 4], 0)
    numbers = [tokens[:, 0], tokens[:, 2], moduli]
    operations = pd.Series(tokens[:, 1]).map(names)
    if operations.isna().any() or max(column.max() for column in numbers) >= vocabulary.digits:
        raise ValueError("has an equation that is not `a op b = r` or `a op b =(m) m r`")
    moduli[own_symbol] = vocabulary.digits
    modulo = pd.Series(moduli, dtype="Int64").where(pd.Series(with_modulus))
    return pd.DataFrame(
        {"operation": operations, "modulo": modulo, "a": tokens[:, 0], "b": tokens[:, 2]}
    )


def family_members(described: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Return the families of equations, and which equations belong to each `[equations, families]`.

    The table has `operation`, `modulo` and how many `equations` there are, families in the order of
    their first equation.
    """
    keys = described.groupby(["operation", "modulo"], dropna=False, sort=False)
    families = keys.size().rename("equations").reset_index()
    return families, np.arange(len(families)) == keys.ngroup().to_numpy()[:, None]


def is_mirrored(described: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell of which equations the mirror image, `b op a` for `a op b`, is among the others."""
    mirrored = described.rename(columns={"a": "b", "b": "a"})
    found: NDArray[np.bool_] = _keys(mirrored).isin(_keys(others))
    return found


def _keys(described: pd.DataFrame) -> pd.MultiIndex:
    """Return what tells one equation from all others."""
    keys = described[["operation", "modulo", "a", "b"]]
    return pd.MultiIndex.from_frame(keys.assign(modulo=keys["modulo"].fillna(0)))
