"""What `make` shows of Snakemake: a line for each job that begins and ends, and faults in full.

`snakemake --logger brief` finds this module where the directory is on the path, as it is in the
Makefile. Snakemake's own log has all the rest.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from logging import INFO, LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from gpt_math_domains.jobs.logs import say
from gpt_math_domains.jobs.progress import duration
from gpt_math_domains.run import describe_point
from gpt_math_domains.study.plan import describe_plan

LOG_LINES = 12  # of a failed job's log
# Of what Snakemake says beside its events, what a person waits for.
_TOLD = (
    "Nothing to be done",
    "Will exit after",
    "Shutting down",
    "Terminating processes",
    "Trying to restart",
    "Complete log(s)",
    "Unlocked",
)


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """What a plan asks that a dry run does not tell: `--logger-brief-cores`."""

    cores: str = field(default="all", metadata={"help": "cores that a plan is for: a number, all"})


class LogHandler(LogHandlerBase):
    """Writes to the terminal."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self._plans = self.common_settings.dryrun
        self._configfiles: list[str] = []
        self._stats: dict[str, int] = {}
        self._jobs: dict[int, LogRecord] = {}
        self._done = 0
        self._failed: dict[int, str] = {}

    def emit(self, record: LogRecord) -> None:
        """Say what a person wants to know of a record, if there is anything."""
        told: Any = record
        match getattr(record, "event", None):
            case LogEvent.WORKFLOW_STARTED:
                self._configfiles = [str(path) for path in told.configfiles]
            case LogEvent.RUN_INFO:
                self._stats = dict(told.stats)
                if not self._plans:
                    self._say(f"{self._stats['total']} jobs to run")
            case LogEvent.JOB_INFO:
                self._jobs[told.jobid] = record
                if not self._plans and told.log:
                    self._say(f"{_clock(record)}  begins  {_name(told)}")
            case LogEvent.JOB_FINISHED:
                self._end(told)
            case LogEvent.JOB_ERROR:
                self._fail(told)
            case None if record.levelno == INFO:
                if record.getMessage().startswith(_TOLD):
                    self._say(record.getMessage())
            case None | LogEvent.ERROR | LogEvent.GROUP_ERROR:
                self._say(record.getMessage())

    def close(self) -> None:
        """Say what was planned, or what has failed."""
        if self._plans and self._jobs:
            jobs = [(told.rule_name, told.wildcards) for told in map(_any, self._jobs.values())]
            for line in describe_plan(self._configfiles, jobs, _cores(self.settings)):
                self._say(line)
        if self._failed:
            self._say(f"{len(self._failed)} of {self._stats.get('total', 0)} jobs failed:")
            for text in self._failed.values():
                self._say(f"  {text}")
            self._say("What they say is above. The same command goes on with what is not done.")
        self._jobs, self._failed = {}, {}
        super().close()

    def _end(self, told: Any) -> None:
        self._done += 1
        job: Any = self._jobs.get(told.job_id)
        if job is not None and job.log:
            count = f"{self._done} of {self._stats.get('total', '?')}"
            took = duration(told.created - job.created)
            self._say(f"{_clock(told)}  done    {_name(job)} in {took}; {count}")

    def _fail(self, told: Any) -> None:
        job: Any = self._jobs.get(told.jobid, told)
        name = _name(job) if hasattr(job, "wildcards") else told.rule_name
        self._failed[told.jobid] = f"{name}: {', '.join(told.log)}"
        self._say(f"{_clock(told)}  FAILED  {name} after {duration(told.created - job.created)}")
        for key, value in told.aux.items():
            self._say(f"    {key}: {value}")
        for path in told.log:
            for line in _ending(path):
                self._say(f"    {line}")

    def _say(self, text: str) -> None:
        say(text, sys.stdout if self.common_settings.stdout else sys.stderr)


def _cores(settings: Any) -> int:
    return len(os.sched_getaffinity(0)) if settings.cores == "all" else int(settings.cores)


def _any(record: LogRecord) -> Any:
    return record


def _clock(record: LogRecord) -> str:
    return time.strftime("%H:%M:%S", time.localtime(record.created))


def _name(job: Any) -> str:
    """Return a job's rule and wildcards for people."""
    told = [
        describe_point(value) if key == "point" else f"{key} {value}"
        for key, value in job.wildcards.items()
        if value
    ]
    return " ".join([job.rule_name, ", ".join(told)]).strip()


def _ending(path: str) -> list[str]:
    """Return the last lines of a job's log, and where it is."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return [f"{path}: {error.strerror}"]
    left = len(lines) - LOG_LINES
    head = f"{path}:" if left <= 0 else f"{path}, after {left} other lines:"
    return [head, *(f"  {line}" for line in lines[-LOG_LINES:])]
