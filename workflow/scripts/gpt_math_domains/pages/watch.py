"""The page of a study that still runs, for a browser on this machine: `make watch`.

Reads what trainings leave behind, metrics of those that are done and `resume/progress.json` and
logs of the others, and writes nothing: neither trainings nor Snakemake notice.
"""

import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import (  # noqa: TID251 - listens, on this machine alone
    BaseHTTPRequestHandler,
    ThreadingHTTPServer,
)
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from gpt_math_domains.figures.curves import learning_curves
from gpt_math_domains.figures.drawing import Drawing, drawing_of
from gpt_math_domains.figures.looks import finetune_title, pretrain_title
from gpt_math_domains.files import read_json
from gpt_math_domains.jobs.logs import say
from gpt_math_domains.jobs.progress import FILE, describe_run, duration
from gpt_math_domains.pages.index import render
from gpt_math_domains.pages.parts import read_provenance
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.metrics import columns, read_metrics
from gpt_math_domains.results.summary import summarize
from gpt_math_domains.results.tables import empty_table, typed
from gpt_math_domains.run import (
    ACCURACY,
    DIRECTORIES,
    METRICS,
    RECORD,
    RUN,
    Evaluation,
    describe_point,
    is_number,
)
from gpt_math_domains.study.config import Study
from gpt_math_domains.study.layers import read_study
from gpt_math_domains.study.plan import all_runs, estimated_seconds

SECONDS = 3  # between two looks at the files, and of the browser at the page
SILENT_SECONDS = 120  # without a sign, a training may have ended; compiling takes half as long
REQUEST_SECONDS = 10.0
HOST = "127.0.0.1"
LOG_BYTES, LOG_LINES = 20_000, 8  # of a log: what is read of its end, and shown
TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True)
class Seen:
    """What is seen of a run.

    Attributes:
        run: its keys, and `point`, that of the grid, as in `run.DIRECTORIES`.
        directory: of the run, below that of the results.
        state: `waiting`, `running`, `silent`, `failed`, `done`, or what is wrong with its files.
        metrics: so far; None without an evaluation.
        step: optimizer steps done; None while it waits.
        total_steps: of the run, where that is known.
        steps_per_second: while it runs.
        told: when it last gave a sign, in seconds since 1970; 0 if it never did.
        record: its record, once it is done.
        fault: the last lines of its log, if it has failed.
    """

    run: Mapping[str, Any]
    directory: str
    state: str
    metrics: pd.DataFrame | None = None
    step: int | None = None
    total_steps: int | None = None
    steps_per_second: float | None = None
    told: float = 0.0
    record: Path | None = None
    fault: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """How much of its steps are done, from 0 to 1."""
        return (self.step or 0) / self.total_steps if self.total_steps else 0.0

    def slowness(self, expected: float) -> float | None:
        """Return the seconds that it takes for each one expected, where that is known."""
        if self.state == "running" and self.steps_per_second and self.total_steps:
            return self.total_steps / self.steps_per_second / expected
        if self.state == "done" and self.metrics is not None:
            return max(float(self.metrics["seconds"].max()), 1e-9) / expected
        return None

    def row(self, now: float) -> dict[str, Any]:
        """Return what the page's table of progress tells of the run."""
        left = ""
        if self.state == "running" and self.steps_per_second and self.total_steps:
            left = duration((self.total_steps - (self.step or 0)) / self.steps_per_second)
        state = f"silent for {duration(now - self.told)}" if self.state == "silent" else self.state
        speed = f"{self.steps_per_second:,.1f}" if self.steps_per_second else ""
        return {
            "name": describe_run(self.run),
            **{key: "" if self.run[key] is None else self.run[key] for key in RUN},
            "point": describe_point(self.run["point"]),
            "state": state,
            "step": "" if self.step is None else f"{self.step:,}",
            "steps": "" if self.total_steps is None else f"{self.total_steps:,}",
            "steps/s": speed,
            "time left": left,
            "share": self.share,
        }


def look(study: Study, now: float) -> list[Seen]:
    """Look at the files of every run of a study."""
    results = Path(study.pathvars.results)
    return [_look_at(run.wildcards, results, now) for run in all_runs(study)]


def progress_of(seen: Sequence[Seen], expected: Mapping[str, float]) -> tuple[float, str]:
    """Return how much of a study's training is done, from 0 to 1, and what is left in words.

    Runs count by the seconds that are expected of them. What is left goes by the speeds so far,
    where there are any: those of a run itself, or else the median of the others.

    Args:
        seen: the runs.
        expected: of each run by its directory; see `plan.estimated_seconds`.
    """
    shares = [(run.share, expected[run.directory]) for run in seen]
    done = sum(share * seconds for share, seconds in shares) / sum(expected.values())
    if all(run.state == "done" for run in seen):
        return 1.0, "All runs are done; figures and tables follow."
    speeds = [run.slowness(expected[run.directory]) for run in seen]
    usual = median([speed for speed in speeds if speed is not None] or [1.0])
    left = [
        (1 - share) * seconds * (usual if speed is None else speed)
        for (share, seconds), speed in zip(shares, speeds, strict=True)
    ]
    running = sum(run.state == "running" for run in seen)
    basis = "by the speeds so far" if any(speeds) else "by the estimate for a CPU core"
    if not running:
        return done, f"No training runs; one after the other take {duration(sum(left))}, {basis}."
    span = duration(max(sum(left) / running, *left))
    at_once = f"{running} trainings at a time" if running > 1 else "one training at a time"
    return done, f"About {span} left with {at_once}, {basis}."


def live_page(
    study: Study, name: str, now: float, expected: Mapping[str, float] | None = None
) -> str:
    """Return the page of a study as far as it is.

    Args:
        study: its configuration.
        name: of the study.
        now: seconds since 1970.
        expected: what `plan.estimated_seconds` tells of it, if that is known already.
    """
    seen, known = look(study, now), _baselines(study)
    share, left = progress_of(seen, estimated_seconds(study) if expected is None else expected)
    own = [run for run in seen if not run.run["point"]]
    done = {
        phase: _metrics(phase, [run for run in own if run.state == "done"]) for phase in ACCURACY
    }
    drawn = {phase: _metrics(phase, own) for phase in ACCURACY}
    counts = [(state, sum(run.state == state for run in seen)) for state in _STATES]
    told = ", ".join(f"{count} {state}" for state, count in counts if count)
    return render(
        study.tables() | {"name": name},
        done["pretrain"],
        done["finetune"],
        summarize(done.values(), known),
        {phase: list(_figures(study, phase, drawn[phase], known)) for phase in ACCURACY},
        [read_provenance(run.record) for run in seen if run.record],
        live={
            "told": f"{len(seen)} runs: {told}. Seen at {time.strftime('%H:%M:%S')}; findings and "
            "tables are of runs that are done."
            + (" Those of the grid are drawn when all are." if len(own) < len(seen) else ""),
            "seconds": SECONDS,
            "share": share,
            "left": left,
            "failed": [
                {
                    "name": describe_run(run.run),
                    "log": str(_log(Path(study.pathvars.results), run.directory)),
                    "lines": run.fault,
                }
                for run in seen
                if run.fault
            ],
            "columns": [
                *RUN,
                *(["point"] if len(own) < len(seen) else []),
                "state",
                "step",
                "steps",
                "steps/s",
                "time left",
            ],
            "rows": [run.row(now) for run in seen],
        },
    )


_STATES = ("done", "running", "silent", "failed", "waiting")


def _log(results: Path, directory: str) -> Path:
    return results / "logs" / f"{directory}.log"


def _fault(path: Path) -> tuple[str, ...]:
    """Return the last lines of a log that ends with an error, else nothing.

    A job writes its log anew, so such a job has not begun again. What it notes has the time before
    it, also after the traceback of something that it can do without.
    """
    if not path.is_file():
        return ()
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    if TRACEBACK not in lines:
        return ()
    after = lines[len(lines) - lines[::-1].index(TRACEBACK) :]
    if any(re.match(r"\d\d:\d\d:\d\d  ", line) for line in after):
        return ()
    return tuple(lines[-LOG_LINES:])


def _look_at(run: Mapping[str, Any], results: Path, now: float) -> Seen:
    """Return what is seen of a run; its files may come and go meanwhile."""
    name = DIRECTORIES[run["phase"]].format(**run)
    directory = results / name
    try:
        record = directory / RECORD
        metrics = _done(directory / METRICS, record)
        if metrics is not None:
            read_provenance(record)
            last = int(metrics["step"].max())
            return Seen(run, name, "done", metrics, last, last, told=now, record=record)
        if fault := _fault(_log(results, name)):
            return Seen(run, name, "failed", fault=fault)
        told, evaluations = _progress(directory / "resume" / FILE)
        rows = [row for found in evaluations for row in found.rows(run, told["seeds"])]
        known = columns(run["phase"])
        return Seen(
            run,
            name,
            "running" if now - told["time"] < SILENT_SECONDS else "silent",
            typed(pd.DataFrame(rows), known) if rows else None,
            told["step"],
            told["total_steps"],
            told["steps_per_second"],
            told["time"],
        )
    except FileNotFoundError:
        return Seen(run, name, "waiting")
    except (ValueError, TypeError, ArithmeticError, RecursionError, OSError) as error:
        return Seen(run, name, f"unreadable: {' '.join(str(error).split())}")


_TOLD = ["seeds", "total_steps", "step", "steps_per_second", "time", "evaluations"]


def _progress(path: Path) -> tuple[dict[str, Any], list[Evaluation]]:
    """Return what a training tells of itself, and its evaluations so far.

    Raises:
        FileNotFoundError: it tells nothing.
        ValueError: it is not what a training tells; the message names file and key.
    """
    if path.exists() and not path.is_file():  # to open a pipe would wait
        raise ValueError(f"{path}: is no file")
    told: Any = read_json(path)
    if not isinstance(told, dict):
        raise ValueError(f"{path}: is no progress of a training")
    values: list[Any] = [told.get(key) for key in _TOLD]
    seeds, total_steps, step, speed, since, found = values
    are_right = [
        _are_seeds(seeds),
        _is_count(total_steps) and total_steps > 0,
        _is_count(step) and _is_count(total_steps) and step <= total_steps,
        speed is None or (is_number(speed) and speed > 1e-9),
        is_number(since),
        isinstance(found, list),
    ]
    for key, value, is_right in zip(_TOLD, values, are_right, strict=True):
        if not is_right:
            raise ValueError(f"{path}: {key} is {str(value)[:100]}")
    try:
        evaluations = [Evaluation(**fields) for fields in found]
    except TypeError:
        raise ValueError(f"{path}: evaluations have other keys") from None
    for evaluation in evaluations:
        for fault in evaluation.faults(len(seeds)):
            raise ValueError(f"{path}: evaluations: {fault}")
    for before, after in pairwise([*(found.step for found in evaluations), total_steps + 1]):
        if before >= after:
            raise ValueError(f"{path}: evaluations: step is {before} out of order")
    return told, evaluations


def _is_count(value: object) -> bool:
    return type(value) is int and is_number(value)


def _are_seeds(values: object) -> bool:
    """Tell whether these are seeds, each of which is there once."""
    if not isinstance(values, list) or not all(map(_is_count, values)):
        return False
    return 0 < len(values) == len(set(values))


_READ: dict[Path, tuple[tuple[int, int], pd.DataFrame]] = {}


def _done(metrics_csv: Path, record: Path) -> pd.DataFrame | None:
    """Return a run's metrics if it is done; read again only where the file changed."""
    if not metrics_csv.exists() or not record.exists():
        return None
    status = metrics_csv.stat()
    version = status.st_mtime_ns, status.st_size
    if metrics_csv not in _READ or _READ[metrics_csv][0] != version:
        _READ[metrics_csv] = version, read_metrics(metrics_csv)
    return _READ[metrics_csv][1]


def _metrics(phase: str, seen: Sequence[Seen]) -> pd.DataFrame:
    """Return the metrics of a phase's runs, as far as they are."""
    frames = [s.metrics for s in seen if s.run["phase"] == phase and s.metrics is not None]
    joined = pd.concat(frames or [empty_table(columns(phase))], ignore_index=True)
    return joined.sort_values([*RUN, "seed", "step"], ignore_index=True)


def _baselines(study: Study) -> pd.DataFrame:
    """Return the baselines that are there already."""
    results, run = Path(study.pathvars.results), study.run
    paths = [results / f"data/{data}/baselines.csv" for data in run.data]
    paths += [
        results / f"domains/{domain}/data_{data}/baselines.csv"
        for domain in run.domains
        for data in run.data
    ]
    return read_baselines(path for path in paths if path.is_file())


def _figures(
    study: Study, phase: str, runs: pd.DataFrame, baselines: pd.DataFrame
) -> Iterator[tuple[str, Drawing]]:
    """Yield the learning curves of a phase, by the names of their pages."""
    metric, colors = ACCURACY[phase], study.figures.line_colors(phase)
    pretrains = phase == "pretrain"
    for _, rows in runs.groupby(["domain", "data"], dropna=False):
        run: dict[Any, Any] = rows.iloc[0].to_dict()
        domain, data = run["domain"], run["data"]
        name = f"pretrain_{data}" if pretrains else f"finetune_{domain}_pretrain_{data}"
        title = pretrain_title(data) if pretrains else finetune_title(domain, data)
        baseline = overall(baselines, run)
        figure = learning_curves(rows, metric, colors, title, baseline=baseline)
        yield f"{name}_eval_{metric}", drawing_of(figure)


class Watch:
    """A study's page, made again when it is asked for and older than `SECONDS`."""

    def __init__(self, study: Study, name: str) -> None:
        self._study, self._name, self._expected = study, name, estimated_seconds(study)
        self._lock = threading.Lock()
        self._page, self._made = b"", -float("inf")

    def page(self) -> bytes:
        """Return the page."""
        with self._lock:
            if time.monotonic() - self._made >= SECONDS:
                page = live_page(self._study, self._name, time.time(), self._expected)
                self._page = page.encode()
                self._made = time.monotonic()
            return self._page


def serve(study: Study, name: str, port: int) -> ThreadingHTTPServer:
    """Return a server of a study's page, bound to this machine alone.

    Raises:
        OSError: the port is taken.
    """
    watch, plotly_js = Watch(study, name), get_plotlyjs().encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS  # for who begins to ask or to listen, and does not go on

        def do_GET(self) -> None:
            # A page from elsewhere could name this machine in its own domain, and read along.
            if not re.fullmatch(r"(localhost|127\.0\.0\.1)(:\d+)?", self.headers.get("Host", "")):
                self.send_error(403)
            elif self.path == "/":
                try:
                    page = watch.page()
                except (ValueError, OSError) as error:
                    self.send_error(500, explain=str(error))
                else:
                    self._send("text/html; charset=utf-8", page, "no-store")
            elif self.path == "/plots/plotly.min.js":
                self._send("text/javascript; charset=utf-8", plotly_js, "max-age=86400")
            else:
                self.send_error(404)

        def _send(self, kind: str, content: bytes, cache: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", cache)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), OSError):  # who asked is gone
                super().handle_error(request, client_address)

    return Server((HOST, port), Handler)


def watch(files: Sequence[str], port: int) -> None:
    """Serve the page of a study until Ctrl-C.

    Args:
        files: as after `snakemake --configfile`.
        port: to listen at; 0 takes any.

    Raises:
        ConfigError: a file or the configuration is at fault.
        OSError: the port is taken.
        OverflowError: there is no such port.
    """
    server = serve(read_study(files), " + ".join(Path(file).stem for file in files), port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with server:
        say(f"http://{HOST}:{server.server_port} shows the study. Ctrl-C ends this.", sys.stdout)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
