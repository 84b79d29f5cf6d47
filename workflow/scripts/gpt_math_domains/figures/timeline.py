"""When the study's jobs ran and how long they took, from their benchmark files."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import plotly.graph_objects as go

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import COLORS, set_layout, text_of


@dataclass(frozen=True)
class Job:
    """One job that ran.

    Attributes:
        name: of its benchmark file, without suffix.
        started: when.
        seconds: how long it took.
        memory: most resident memory, in MiB; None where that was not measured.
    """

    name: str
    started: datetime
    seconds: float
    memory: float | None

    @property
    def kind(self) -> str:
        """The stage, or the rule, that the job belongs to; a point of the grid stands before it."""
        return next(part for part in self.name.split("/") if part != "grid" and "~" not in part)


def read_jobs(directory: str | Path) -> list[Job]:
    """Return the jobs whose benchmark files are in a directory, by the time they started.

    A benchmark file holds how long a job took; Snakemake writes it when the job ends, so it
    started that long before the file's modification time.

    Raises:
        ValueError: a file is no benchmark of Snakemake's.
        OSError: a file cannot be read.
    """
    paths = sorted(Path(directory).rglob("*.tsv"))
    return sorted(
        (_read(path, str(path.relative_to(directory).with_suffix(""))) for path in paths),
        key=lambda job: (job.started, job.name),
    )


def timeline(jobs: Iterable[Job], title: str) -> go.Figure:
    """Draw each job as a bar from its start to its end, the first on top.

    Args:
        jobs: in the order of their starts.
        title: the figure's title.
    """
    jobs = list(jobs)
    figure = go.Figure()
    for kind, color in zip(dict.fromkeys(job.kind for job in jobs), cycle(COLORS), strict=False):
        own = [job for job in jobs if job.kind == kind]
        figure.add_bar(
            x=[job.seconds * 1000 for job in own],  # a date axis counts milliseconds
            base=[job.started.strftime("%Y-%m-%d %H:%M:%S.%f") for job in own],
            y=[text_of(job.name) for job in own],
            orientation="h",
            width=0.4,
            marker={"color": color, "line": {"color": color, "width": 1}},  # seen if very short
            name=text_of(kind),
            offset=0,  # below the name of the job
            customdata=[(_duration(job.seconds), _memory(job.memory)) for job in own],
            hovertemplate="%{y}<br>started %{base}<br>took %{customdata[0]}%{customdata[1]}"
            "<extra></extra>",
        )
    set_layout(figure, title, legend="", height=160 + 30 * len(jobs))
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(type="date", title_text="time (UTC)", rangemode="normal")
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[text_of(job.name) for job in jobs],
        autorange="reversed",
        showgrid=False,
        tickfont={"size": 11},
        ticklabelposition="inside top",  # leaves the width to the bars, on a phone too
        dtick=1,
    )
    return figure


def plot_timeline(directory: str | Path, output: str | Path) -> None:
    """Write the page with the timeline of all jobs that left a benchmark file.

    Raises:
        ValueError: a file is no benchmark of Snakemake's.
    """
    write_figure(timeline(read_jobs(directory), "Jobs"), output)


def _read(path: Path, name: str) -> Job:
    """Return the job that a benchmark file tells of."""
    ended = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        seconds, memory = float(rows[-1]["s"]), rows[-1].get("max_rss", "NA")
        used = float(memory) if memory not in ("NA", "-", "") else None
        return Job(name, ended - timedelta(seconds=seconds), seconds, used)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, csv.Error):
        raise ValueError(f"{path}: expected a benchmark file with the column s") from None


def _duration(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _memory(mebibytes: float | None) -> str:
    return "" if mebibytes is None else f", {mebibytes:,.0f} MiB of memory"
