"""The page of a study that still runs, for a browser on this machine: `make watch`.

Reads what trainings leave behind, metrics of those that are done and `resume/progress.json` of the
others, and writes nothing: neither trainings nor Snakemake notice.
"""

import argparse
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
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from gpt_math_domains.figures.curves import learning_curves
from gpt_math_domains.figures.drawing import Drawing, drawing_of
from gpt_math_domains.figures.looks import finetune_title, pretrain_title
from gpt_math_domains.files import read_json
from gpt_math_domains.jobs.progress import FILE, describe_run, duration
from gpt_math_domains.pages.index import read_provenance, render
from gpt_math_domains.results.metrics import columns, read_metrics
from gpt_math_domains.results.summary import summarize
from gpt_math_domains.results.tables import empty_table, typed
from gpt_math_domains.run import ACCURACY, DIRECTORIES, METRICS, RECORD, RUN, Evaluation
from gpt_math_domains.study.config import ConfigError, Study, check_file, load_study

DEFAULT = Path(__file__).parents[4] / "config" / "config.yaml"
SECONDS = 3  # between two looks at the files, and of the browser at the page
SILENT_SECONDS = 120  # without a sign, a training may have ended; compiling takes half as long
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Seen:
    """What is seen of a run.

    Attributes:
        run: its keys.
        state: `waiting`, `running`, `silent`, `done`, or what is wrong with its files.
        metrics: so far; None without an evaluation.
        step: optimizer steps done; None while it waits.
        total_steps: of the run, where that is known.
        steps_per_second: while it runs.
        told: when it last gave a sign, in seconds since 1970; 0 if it never did.
        record: its record, once it is done.
    """

    run: Mapping[str, Any]
    state: str
    metrics: pd.DataFrame | None = None
    step: int | None = None
    total_steps: int | None = None
    steps_per_second: float | None = None
    told: float = 0.0
    record: Path | None = None

    def row(self, now: float) -> dict[str, Any]:
        """Return what the page's table of progress tells of the run."""
        left = ""
        if self.state == "running" and self.steps_per_second and self.total_steps:
            left = duration((self.total_steps - (self.step or 0)) / self.steps_per_second)
        state = f"silent for {duration(now - self.told)}" if self.state == "silent" else self.state
        speed = f"{self.steps_per_second:,.1f}" if self.steps_per_second else ""
        share = (self.step or 0) / self.total_steps if self.total_steps else 0.0
        return {
            "name": describe_run(self.run),
            **{key: "" if self.run[key] is None else self.run[key] for key in RUN},
            "state": state,
            "step": "" if self.step is None else f"{self.step:,}",
            "steps": "" if self.total_steps is None else f"{self.total_steps:,}",
            "steps/s": speed,
            "time left": left,
            "share": share,
        }


def look(study: Study, now: float) -> list[Seen]:
    """Look at the files of every run of a study."""
    keys = [{key: run[key] for key in RUN} for run in study.runs()]
    results = Path(study.pathvars.results)
    return [_look_at(run, results / DIRECTORIES[run["phase"]].format(**run), now) for run in keys]


def live_page(study: Study, name: str, now: float) -> str:
    """Return the page of a study as far as it is.

    Args:
        study: its configuration.
        name: of the study.
        now: seconds since 1970.
    """
    seen = look(study, now)
    done = {
        phase: _metrics(phase, [run for run in seen if run.state == "done"]) for phase in ACCURACY
    }
    drawn = {phase: _metrics(phase, seen) for phase in ACCURACY}
    counts = [(state, sum(run.state == state for run in seen)) for state in _STATES]
    told = ", ".join(f"{count} {state}" for state, count in counts if count)
    return render(
        study.tables() | {"name": name},
        done["pretrain"],
        done["finetune"],
        summarize(done.values()),
        {phase: list(_figures(study, phase, drawn[phase])) for phase in ACCURACY},
        [read_provenance(run.record) for run in seen if run.record],
        live={
            "told": f"{len(seen)} runs: {told}. Seen at {time.strftime('%H:%M:%S')}; findings and "
            "tables are of runs that are done.",
            "seconds": SECONDS,
            "columns": [*RUN, "state", "step", "steps", "steps/s", "time left"],
            "rows": [run.row(now) for run in seen],
        },
    )


_STATES = ("done", "running", "silent", "waiting")


def _look_at(run: Mapping[str, Any], directory: Path, now: float) -> Seen:
    """Return what is seen of a run; its files may come and go meanwhile."""
    try:
        record = directory / RECORD
        metrics = _done(directory / METRICS, record)
        if metrics is not None:
            last = int(metrics["step"].max())
            return Seen(run, "done", metrics, last, last, told=now, record=record)
        told = read_json(directory / "resume" / FILE)
        evaluations = [Evaluation(**evaluation) for evaluation in told["evaluations"]]
        rows = [row for found in evaluations for row in found.rows(run, told["seeds"])]
        known = columns(run["phase"])
        return Seen(
            run,
            "running" if now - told["time"] < SILENT_SECONDS else "silent",
            typed(pd.DataFrame(rows), known) if rows else None,
            told["step"],
            told["total_steps"],
            told["steps_per_second"],
            told["time"],
        )
    except FileNotFoundError:
        return Seen(run, "waiting")
    except (ValueError, KeyError, TypeError, OSError) as error:
        return Seen(run, f"unreadable: {error}")


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


def _figures(study: Study, phase: str, runs: pd.DataFrame) -> Iterator[tuple[str, Drawing]]:
    """Yield the learning curves of a phase, by the names of their pages."""
    metric = ACCURACY[phase]
    if phase == "pretrain":
        for data in sorted(set(runs["data"])):
            figure = learning_curves(
                runs[runs["data"] == data],
                metric,
                study.figures.line_colors("pretrain"),
                pretrain_title(data),
            )
            yield f"pretrain_{data}_eval_{metric}", drawing_of(figure)
        return
    for domain, data in sorted(set(zip(runs["domain"], runs["data"], strict=True))):
        figure = learning_curves(
            runs[(runs["domain"] == domain) & (runs["data"] == data)],
            metric,
            study.figures.line_colors("finetune"),
            finetune_title(domain, data),
        )
        yield f"finetune_{domain}_pretrain_{data}_eval_{metric}", drawing_of(figure)


class Watch:
    """A study's page, made again when it is asked for and older than `SECONDS`."""

    def __init__(self, study: Study, name: str) -> None:
        self._study, self._name = study, name
        self._lock = threading.Lock()
        self._page, self._made = b"", -float("inf")

    def page(self) -> bytes:
        """Return the page."""
        with self._lock:
            if time.monotonic() - self._made >= SECONDS:
                self._page = live_page(self._study, self._name, time.time()).encode()
                self._made = time.monotonic()
            return self._page


def serve(study: Study, name: str, port: int) -> ThreadingHTTPServer:
    """Return a server of a study's page, bound to this machine alone.

    Raises:
        OSError: the port is taken.
    """
    watch, plotly_js = Watch(study, name), get_plotlyjs().encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page from elsewhere could name this machine in its own domain, and read along.
            if not re.fullmatch(r"(localhost|127\.0\.0\.1)(:\d+)?", self.headers.get("Host", "")):
                self.send_error(403)
            elif self.path == "/":
                try:
                    self._send("text/html; charset=utf-8", watch.page(), "no-store")
                except (ValueError, OSError) as error:
                    self.send_error(500, explain=str(error))
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

    return ThreadingHTTPServer((HOST, port), Handler)


def read_study(files: Sequence[str]) -> Study:
    """Return the study that `snakemake --configfile` with these files runs.

    Raises:
        ConfigError: a file or the configuration is at fault.
    """
    config: dict[str, Any] = {}
    for file in [str(DEFAULT), *files]:
        if not Path(file).is_file():
            raise ConfigError(f"config: {file}: no such file")
        check_file(file)
        update_config(config, load_configfile(file))
    return load_study(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(prog="watch", description="Show a study while it runs.")
    parser.add_argument("configfile", nargs="*", help="as after snakemake's --configfile")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any; default 8000")
    told = parser.parse_args(arguments)
    name = " + ".join(Path(file).stem for file in told.configfile)
    try:
        server = serve(read_study(told.configfile), name, told.port)
    except (ConfigError, OSError, OverflowError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with server:
        print(f"http://{HOST}:{server.server_port} shows the study. Ctrl-C ends this.", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
