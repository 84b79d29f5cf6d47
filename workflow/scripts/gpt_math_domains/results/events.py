"""Metrics as event files, which TensorBoard and the trackers that import them read.

Written from the tables of a study that is done, so no training knows of a tracker. The package
`tensorboard` is an extra that no study needs.
"""

from datetime import datetime
from pathlib import Path

from gpt_math_domains.results.finished import FinishedRun, finished_runs
from gpt_math_domains.run import measures

NEEDED = "needs the package tensorboard: pip install 'gpt-math-domains[tensorboard]'"


def write_events(results: str | Path, directory: str | Path) -> list[Path]:
    """Write the metrics of a study's finished runs as event files, one for each seed of each run.

    A tag is a column of `metrics.csv`; an event's time is when it was measured.

    Args:
        results: of the study.
        directory: where to write; the files lie there as the checkpoints do among the results.

    Returns:
        The directories of the files, each what TensorBoard calls a run.

    Raises:
        ValueError: there is no finished run, a file is malformed, the directory is not empty, or
            tensorboard is not installed.
        OSError: a file cannot be read or written.
    """
    results, directory = Path(results), Path(directory)
    runs = list(finished_runs(results))
    if not runs:
        raise ValueError(f"{results}: has no finished run")
    if directory.exists() and any(directory.iterdir()):
        raise ValueError(f"{directory}: is not empty; choose a new directory")
    written = []
    for run in runs:
        for seed in run.record["seeds"]:
            place = directory / run.directory.relative_to(results) / f"seed_{seed}"
            _write_seed(run, seed, place)
            written.append(place)
    return written


def _write_seed(run: FinishedRun, seed: int, directory: Path) -> None:
    """Write one seed's metrics."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise ValueError(f"{directory}: {NEEDED}") from None
    started = datetime.fromisoformat(run.record["started"]).timestamp()
    tags = ["learning_rate", *measures(run.run["phase"])]
    writer = EventFileWriter(str(directory))
    for row in run.metrics[run.metrics["seed"] == seed].to_dict("records"):
        told = [Summary.Value(tag=tag, simple_value=row[tag]) for tag in tags]
        event = Event(
            wall_time=started + row["seconds"], step=row["step"], summary=Summary(value=told)
        )
        writer.add_event(event)
    writer.close()
