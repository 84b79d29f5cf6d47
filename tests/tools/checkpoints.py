"""The checkpoints and equations of the finished study that tests show to other people's tools.

`make test-tools` runs that study with the project's packages, then the tests with those of the
tools, offline.
"""

import csv
import os
from pathlib import Path
from typing import NamedTuple

STUDY = Path("results/tools")
RUN, FINETUNED_RUN = "pretrain/data_5/model_2", "finetune/domain_1/data_5/model_2/full"
PRETRAINED = [STUDY / RUN / f"seed_{seed}" for seed in (0, 1)]
FINETUNED = [STUDY / FINETUNED_RUN / f"seed_{seed}" for seed in (0, 1)]

if os.environ.get("HF_HUB_OFFLINE") != "1" or not (STUDY / "metrics" / "summary.csv").is_file():
    raise RuntimeError("these tests need the study and the settings of `make test-tools`")


class Equation(NamedTuple):
    """An equation: all before its answer, and the answer."""

    prompt: str
    answer: str


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def equations(split: str = "valid") -> list[Equation]:
    """Return the equations of the study, in the order of their table."""
    found = []
    for row in rows(STUDY / f"data/5/{split}.csv"):
        symbols, start = row["equation"].split(" "), int(row["answer_start"])
        found.append(Equation(" ".join(symbols[:start]), " ".join(symbols[start:])))
    return found


def name(checkpoint: Path) -> str:
    """Return what tells a checkpoint from others."""
    return str(checkpoint.relative_to(STUDY))
