"""Tables of what is inside models: attention, embeddings, answers by layer, and linear probes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.answers import SPLITS
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    WHOLE_OR_NOTHING,
    Columns,
    empty_table,
    read_table,
    require,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, PROTOCOLS


@dataclass(frozen=True)
class Table:
    """A kind of table.

    Attributes:
        columns: name and type of each.
        key: columns that together tell a row from all others.
        shares: columns whose numbers are 0 to 1.
        words: columns of text, and what each may say.
    """

    columns: Columns
    key: Sequence[str]
    shares: Sequence[str]
    words: Mapping[str, Iterable[str]] = field(default_factory=dict)

    def write(self, rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
        """Write rows, which have the columns in any order, as CSV."""
        write_table(typed(pd.DataFrame(list(rows)), self.columns), path)

    def read(self, inputs: Iterable[str | Path]) -> pd.DataFrame:
        """Read tables that `write` wrote into one.

        Raises:
            ValueError: one line that names the file and what is wrong with it.
            OSError: a file cannot be read.
        """
        frames = []
        for path in inputs:
            with errors_name(path):
                frame = read_table(path, self.columns)
                for name, allowed in self.words.items():
                    known = frame[name].fillna("").isin(list(allowed))
                    require(frame, name, known, ", ".join(filter(None, allowed)))
                for name in self.shares:
                    require(frame, name, frame[name].between(0, 1 + 1e-6), "0 to 1")
                last = self.key[-1]
                require(frame, last, ~frame.duplicated(list(self.key)), "each row once")
            frames.append(frame)
        return pd.concat(frames or [empty_table(self.columns)], ignore_index=True)


_SEED = {"data": WHOLE, "model": WHOLE, "seed": WHOLE}
_MATRICES = ("embedding", "unembedding", "tied")

ATTENTION = Table(
    {
        **_SEED,
        "layer": WHOLE,
        "head": WHOLE,
        "equation": TEXT,
        "query": WHOLE,
        "query_symbol": TEXT,
        "key": WHOLE,
        "key_symbol": TEXT,
        "weight": NUMBER,
    },
    key=[*_SEED, "layer", "head", "equation", "query", "key"],
    shares=["weight"],
)
"""How much a position of an equation, the query, attends to itself or one before it, the key."""

COMPONENTS = Table(
    {
        **_SEED,
        "matrix": TEXT,
        "component": WHOLE,
        "share": NUMBER,
        "digit": WHOLE,
        "coordinate": NUMBER,
    },
    key=[*_SEED, "matrix", "component", "digit"],
    shares=["share"],
    words={"matrix": _MATRICES},
)
"""Where each digit symbol lies along a principal component, which has a share of the variance."""

SPECTRUM = Table(
    {**_SEED, "matrix": TEXT, "frequency": WHOLE, "power": NUMBER, "random": NUMBER},
    key=[*_SEED, "matrix", "frequency"],
    shares=["power", "random"],
    words={"matrix": _MATRICES},
)
"""The share of the variance over the digits that a frequency has, and has in random rows."""

LENS = Table(
    {
        **_SEED,
        "layer": WHOLE,
        "split": TEXT,
        "operation": TEXT,
        "modulo": WHOLE_OR_NOTHING,
        "equations": WHOLE,
        "accuracy": NUMBER,
        "probability": NUMBER,
    },
    key=[*_SEED, "layer", "split", "operation", "modulo"],
    shares=["accuracy", "probability"],
    words={"split": SPLITS, "operation": OPERATIONS},
)
"""What a layer answers: the share of a family's equations that are right, and the mean probability
of the right answer."""

PROBES = Table(
    {
        **RUN_COLUMNS,
        "seed": WHOLE,
        "step": WHOLE,
        "layer": WHOLE,
        "label": TEXT,
        "accuracy": NUMBER,
        "train_accuracy": NUMBER,
        "majority": NUMBER,
    },
    key=[*RUN_COLUMNS, "seed", "step", "layer", "label"],
    shares=["accuracy", "train_accuracy", "majority"],
    words={"phase": ACCURACY, "protocol": ["", *PROTOCOLS]},
)
"""How well a linear probe tells a label of a domain version from the states of a layer; the
protocol is empty in pretraining."""
