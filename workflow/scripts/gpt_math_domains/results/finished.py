"""The runs of a study that are done, found by their records."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gpt_math_domains.files import read_json
from gpt_math_domains.jobs.progress import describe_run
from gpt_math_domains.jobs.record import require_outputs
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.run import DIRECTORIES, METRICS, RECORD, RUN, require_place, run_at


class FinishedRun(NamedTuple):
    """A run that is done.

    Attributes:
        directory: of the run.
        point: that of the grid below the study's results, as in `run.DIRECTORIES`; else empty.
        record: what its job told of it, as `Record.write` has it.
        metrics: its evaluations.
    """

    directory: Path
    point: str
    record: Mapping[str, Any]
    metrics: pd.DataFrame

    @property
    def run(self) -> dict[str, Any]:
        """The keys of the run."""
        return {key: self.record["run"][key] for key in RUN}

    @property
    def name(self) -> str:
        """The run for people, with its point."""
        return describe_run(self.run | {"point": self.point})


def finished_runs(results: str | Path) -> Iterator[FinishedRun]:
    """Yield the finished runs of a study below a directory of results, pretraining first.

    Those at points of a grid come after the study's own, likewise.

    Raises:
        ValueError: a record or a table is malformed, or a table is not what its run wrote.
        OSError: a file cannot be read.
    """
    results = Path(results)
    for point, pattern in product(("", "grid/**/"), DIRECTORIES.values()):
        place = pattern.format(point=point, data="*", model="*", domain="*", protocol="*")
        for path in sorted(results.glob(f"{place}/{RECORD}")):
            record = read_json(path)
            told = ("model", "settings", "versions", "run", "inputs")
            if not isinstance(record, dict) or not all(
                isinstance(record.get(key), dict) for key in told
            ):
                raise ValueError(f"{path}: is no record of a run, which tells {', '.join(told)}")
            if record["run"].keys() < set(RUN) or not isinstance(record.get("seeds"), list):
                raise ValueError(f"{path}: is no record of a run, which tells its keys and seeds")
            require_place(path, record["run"])
            require_place(path.resolve(), {"point": record.get("point", "")})
            metrics = path.with_name(METRICS)
            require_outputs(path, record, metrics)
            below = (run_at(path.parent.relative_to(results)) or {}).get("point", "")
            yield FinishedRun(path.parent, below, record, read_metrics(metrics))
