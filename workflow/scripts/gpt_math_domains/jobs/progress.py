"""What a training job says while it runs: all to its log, now and then to the terminal.

For those who watch, a file beside the resume state tells the same; it goes when the run is done.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TextIO

from gpt_math_domains.files import write_json
from gpt_math_domains.jobs.logs import say
from gpt_math_domains.run import Evaluation, describe_point

TERMINAL_SECONDS = 10.0  # at least, between two lines there, and before the first
TERMINAL_SHARE = 0.05  # of the time that a run has taken: lines get rarer, but for the last
HEARTBEAT_SECONDS = 30.0  # a line in the log even where there is no evaluation
FILE = "progress.json"
FILE_SECONDS = 2.0  # between two versions of the file
FILE_SHARE = 0.01  # of the time at most for writing it, or they are further apart


class Progress:
    """Reports one run's steps, speed and time left.

    Args:
        run: names and versions that tell the run from others, such as `{"data": 1, "model": 2}`.
        metric: name of the accuracy.
        total_steps: of the run.
        log: the open log file.
        terminal: where a person looks.
    """

    def __init__(
        self,
        run: Mapping[str, object],
        metric: str,
        total_steps: int,
        log: TextIO,
        terminal: TextIO = sys.stderr,
    ) -> None:
        self._run = run
        self._name = describe_run(run)
        self._metric = metric
        self._total = total_steps
        self._first = 0
        self._terminal = terminal
        self._log = log
        self._born = self._started = self._shown = self._written = self._told = time.monotonic()
        self._file: Path | None = None
        self._seeds: Sequence[int] = []
        self._evaluations: list[Evaluation] = []
        self._cost = 0.0

    def note(self, text: str) -> None:
        """Say something once: its first line in both places, the others in the log alone."""
        self._write(text, show=True)

    def detail(self, text: str) -> None:
        """Say something once, in the log alone."""
        self._write(text, show=False)

    def begin(self, step: int) -> None:
        """Start the clock after `step`: speed and time left are those of the steps from here on."""
        self._first = step
        self._started = time.monotonic()

    def tell_in(
        self, directory: Path, seeds: Sequence[int], step: int, evaluations: Sequence[Evaluation]
    ) -> None:
        """Write a file for those who watch, now and then from here on.

        Args:
            directory: of the file.
            seeds: in the order of the evaluations' values.
            step: that the run is at.
            evaluations: so far.
        """
        self._file, self._seeds, self._evaluations = directory / FILE, seeds, [*evaluations]
        self._tell(self._file, step)

    def heartbeat(self, step: int) -> None:
        """Report a step without an evaluation, if nothing was reported for long."""
        self._tell_if_due(step)
        if time.monotonic() - self._written >= HEARTBEAT_SECONDS:
            self._write(self._pace(step), self._is_due())

    def evaluation(self, evaluation: Evaluation) -> None:
        """Report an evaluation, as means over seeds."""
        self._evaluations.append(evaluation)
        self._tell_if_due(evaluation.step)
        long = time.monotonic() - self._born >= TERMINAL_SECONDS
        show = long if evaluation.step == self._total else self._is_due()
        means = {
            "loss": evaluation.train_loss,
            "eval_loss": evaluation.eval_loss,
            self._metric: evaluation.accuracy,
        }
        numbers = "  ".join(f"{name} {fmean(values):.4f}" for name, values in means.items())
        self._write(
            f"{self._pace(evaluation.step)}  epoch {evaluation.epoch:,.1f}  {numbers}", show
        )

    def _is_due(self) -> bool:
        """Return whether the terminal has heard nothing for long enough."""
        now = time.monotonic()
        apart = max(TERMINAL_SECONDS, TERMINAL_SHARE * (now - self._born))
        return now - self._shown >= apart

    def _tell_if_due(self, step: int) -> None:
        apart = max(FILE_SECONDS, self._cost / FILE_SHARE)
        if self._file and time.monotonic() - self._told >= apart:
            self._tell(self._file, step)

    def _tell(self, file: Path, step: int) -> None:
        """Write the file; where that fails, say so and write it no more."""
        began = time.monotonic()
        known = {
            "run": dict(self._run),
            "seeds": list(self._seeds),
            "step": step,
            "total_steps": self._total,
            "steps_per_second": self._per_second(step) if step > self._first else None,
            "time": time.time(),
            "evaluations": [asdict(evaluation) for evaluation in self._evaluations],
        }
        try:
            write_json(file, known)
        except OSError as error:
            self._file = None
            self.note(f"progress not written, training goes on: {error}")
        self._told = time.monotonic()
        self._cost = self._told - began

    def _per_second(self, step: int) -> float:
        taken = max(step - self._first, 1)  # 0 where only an evaluation was left
        return taken / max(time.monotonic() - self._started, 1e-9)

    def _pace(self, step: int) -> str:
        per_second = self._per_second(step)
        left = duration((self._total - step) / per_second)
        return f"step {step:,}/{self._total:,}  {per_second:,.1f} steps/s  {left} left"

    def _write(self, text: str, show: bool) -> None:
        self._written = time.monotonic()
        logged = say(f"{time.strftime('%H:%M:%S')}  {text}", self._log)
        if show or not logged:
            self._shown = self._written
            say(f"[{self._name}]  {text.partition(chr(10))[0]}", self._terminal)


def describe_run(run: Mapping[str, object]) -> str:
    """Return a run's name for people: `finetune domain 1 data 3 model 2 full`.

    With a `point` of the grid, that stands behind it.
    """
    parts = [str(run["phase"])]
    parts += [
        f"{key} {run[key]}" for key in ("domain", "data", "model") if run.get(key) is not None
    ]
    name = " ".join([*parts, *([str(run["protocol"])] if run.get("protocol") else [])])
    return ", ".join([name, *([describe_point(str(run["point"]))] if run.get("point") else [])])


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: `3 d 4 h`, `4 min 10 s`, `9 s`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{value} {unit}" for value, unit in parts[:2])
