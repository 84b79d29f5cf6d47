"""The runs of a study that are done, found by their records."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gpt_math_domains.files import read_json
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.run import DIRECTORIES, METRICS, RECORD, RUN, require_place


class FinishedRun(NamedTuple):
    """A run that is done.

    Attributes:
        directory: of the run.
        record: what its job told of it, as `Record.write` has it.
        metrics: its evaluations.
    """

    directory: Path
    record: Mapping[str, Any]
    metrics: pd.DataFrame

    @property
    def run(self) -> dict[str, Any]:
        """The keys of the run."""
        return {key: self.record["run"][key] for key in RUN}


def finished_runs(results: str | Path) -> Iterator[FinishedRun]:
    """Yield the finished runs of a study below a directory of results, pretraining first.

    Those at points of a grid are left out.

    Raises:
        ValueError: a record or a table is malformed.
        OSError: a file cannot be read.
    """
    for pattern in DIRECTORIES.values():
        place = pattern.format(point="", data="*", model="*", domain="*", protocol="*")
        for path in sorted(Path(results).glob(f"{place}/{RECORD}")):
            record = read_json(path)
            told = ("model", "settings", "versions", "run", "inputs")
            if not isinstance(record, dict) or not all(
                isinstance(record.get(key), dict) for key in told
            ):
                raise ValueError(f"{path}: is no record of a run, which tells {', '.join(told)}")
            if record["run"].keys() < set(RUN) or not isinstance(record.get("seeds"), list):
                raise ValueError(f"{path}: is no record of a run, which tells its keys and seeds")
            require_place(path, record["run"])
            yield FinishedRun(path.parent, record, read_metrics(path.with_name(METRICS)))
