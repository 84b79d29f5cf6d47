"""Resume state: what a training job keeps so that its next attempt goes on, to the same bits.

It stands beside the metrics, in a directory that no rule declares, since Snakemake deletes the
declared outputs of a job that fails:

    resume/lock                 held by the job that trains
    resume/state_{number}/      the two newest states, each written whole or not at all
        tensors.safetensors     parameters, AdamW's means, loss sums, dropout generators
        state.json              what the run is, how far it is, and its evaluations
        SHA256SUMS              of these two; `sha256sum --check` reads it
    resume/broken_{number}/     states that were found damaged, or that no run can be in
"""

import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gpt_math_domains.files import sha256, sync_directory, write_json, write_text
from gpt_math_domains.jobs.locks import Lock, exclusive
from gpt_math_domains.jobs.stops import Stop
from gpt_math_domains.run import (
    Evaluation,
    Start,
    evaluation_steps,
    is_number,
    learning_rate,
)
from gpt_math_domains.training.model import Parameters
from gpt_math_domains.training.stack import Stack

LOCK, NEW, OLD = "lock", ".new", ".old"
TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
KEPT = 2  # newest states, and newest broken ones
SAVE_SECONDS = 60.0  # between saves
EVALUATION_SECONDS = 10.0  # after a save, the next evaluation is saved
SAVING_SHARE = 0.02  # of the time at most, or saves are further apart
SAVE_VARIABLE = "GPT_MATH_DOMAINS_SAVE_SECONDS"  # sets both times, whatever saving takes
LOCK_SECONDS = 60.0  # for an earlier attempt to notice that its Snakemake is gone, and to save


@dataclass
class State:
    """What `state.json` says.

    Attributes:
        identity: what must be the same in an attempt that goes on from here.
        step: optimizer steps done.
        seconds: that they took, over all attempts.
        resumes: attempts before the one that wrote this.
        evaluations: so far.
    """

    identity: Mapping[str, object]
    step: int = 0
    seconds: float = 0.0
    resumes: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)


class Resume:
    """Brings a stack to where the last attempt left it, and saves it now and then.

    `resumable` makes one, under the directory's lock.

    Args:
        directory: of the states.
        lock: of the directory, held.
        identity: of this run, as JSON can say it.
        stack: just built; changed in place.
        parts: of which each evaluation tells the accuracy.
        stop: asked at each heartbeat.
        note: told what a person should know, in one line each.

    Raises:
        ValueError: `GPT_MATH_DOMAINS_SAVE_SECONDS` is no number.
    """

    def __init__(
        self,
        directory: Path,
        lock: Lock,
        identity: Mapping[str, object],
        stack: Stack,
        parts: int,
        stop: Stop,
        note: Callable[[str], None],
    ) -> None:
        self._directory, self._lock = directory, lock
        self._stack, self._parts = stack, parts
        self._stop = stop
        self._note = note
        self._told = _told_seconds()
        self._state = State(json.loads(json.dumps(identity)))
        for leftover in (NEW, OLD):
            shutil.rmtree(directory / leftover, ignore_errors=True)
        self._find()
        self._saved_step = self._state.step
        self._began = self._saved = time.monotonic()
        self._cost = 0.0
        last = self.evaluations[-1].step if self.evaluations else 0
        self.start = Start(self._state.step, last, self._state.seconds)

    @property
    def evaluations(self) -> list[Evaluation]:
        """Return the run's evaluations so far, those of earlier attempts too."""
        return self._state.evaluations

    @property
    def resumes(self) -> int:
        """Return how many times the run went on from a state."""
        return self._state.resumes

    def heartbeat(self, step: int) -> None:
        """Save the state after `step` steps if it is time, and end the job if it shall end.

        Raises:
            SystemExit: with status 128 plus the signal's number.
            BlockingIOError: another process trains this run now.
            FloatingPointError: a trained value is not finite.
        """
        self._save_if(self._is_due(SAVE_SECONDS), step)

    def evaluated(self, evaluation: Evaluation, is_last: bool) -> None:
        """Take an evaluation into the state, then do what `heartbeat` does, but rather save."""
        self.evaluations.append(evaluation)
        self._save_if(is_last or self._is_due(EVALUATION_SECONDS), evaluation.step)

    def save(self, step: int) -> None:
        """Write the state after `step` steps; where that fails, say so and keep the one before.

        Raises:
            BlockingIOError: another process trains this run now; nothing is written.
            FloatingPointError: a trained value is not finite; nothing is written.
        """
        self.require_alone()
        began = time.monotonic()
        tensors = self._tensors()
        self._require_finite(tensors, step)
        self._state.step = step
        self._state.seconds = self.start.seconds + began - self._began
        try:
            self._write(tensors)
            self._saved_step = step
        except OSError as error:
            self._note(f"state not saved at step {step:,}, training goes on: {error}")
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def require_alone(self) -> None:
        """Make sure that nobody else trains this run: somebody may have removed the directory.

        Raises:
            BlockingIOError: another process does, since then.
        """
        try:
            self._lock.require()
        except BlockingIOError:
            raise
        except OSError:  # where nothing can be saved either, which is told then
            pass

    def clear(self) -> None:
        """Remove all states, once the run's outputs are there; where that fails, say so."""
        try:
            for path in self._directory.iterdir():
                if path.name != LOCK:
                    _remove(path)
        except OSError as error:
            self._note(f"the run is done, but its resume state could not be removed: {error}")

    def _save_if(self, wanted: bool, step: int) -> None:
        if wanted or self._stop.reason:
            self.save(step)
        if self._stop.reason:
            self._stop.leave(f"saved at step {self._saved_step:,}")

    def _is_due(self, seconds: float) -> bool:
        apart = max(seconds, self._cost / SAVING_SHARE) if self._told is None else self._told
        return time.monotonic() - self._saved >= apart

    def _tensors(self) -> Parameters:
        generators = self._stack.dropout.generators
        tensors = {name: value.detach().cpu() for name, value in self._stack.state().items()}
        return tensors | {f"generator.{i}": g.get_state() for i, g in enumerate(generators)}

    def _require_finite(self, tensors: Parameters, step: int) -> None:
        for name, value in tensors.items():
            if value.is_floating_point() and not all(map(math.isfinite, torch.aminmax(value))):
                row = int((~value.isfinite()).nonzero()[0, 0])
                seeds: Any = self._state.identity["seeds"]
                raise FloatingPointError(
                    f"seed {seeds[row]} diverged: {name} is not finite at step {step}"
                )

    def _write(self, tensors: Parameters) -> None:
        """Write the next state.

        Raises:
            OSError: it was not written, such as on a full disk; what was there stays.
        """
        new = self._directory / NEW
        try:
            new.mkdir()
            try:
                save_file(tensors, new / TENSORS)
            except SafetensorError as error:  # of the operating system's making
                raise OSError(f"{new / TENSORS}: {error}") from None
            with open(new / TENSORS, "rb") as handle:
                os.fsync(handle.fileno())
            write_json(new / STATE, asdict(self._state))
            write_text(new / SUMS, _sums(new))
            number = max((number for number, _ in self._numbered()), default=0) + 1
            os.rename(new, self._directory / f"state_{number:06d}")
        finally:
            shutil.rmtree(new, ignore_errors=True)
        sync_directory(self._directory)
        self._prune()

    def _find(self) -> None:
        """Bring the stack to the newest whole state of this very run, if there is one."""
        differences: list[str] = []
        for number, path in reversed(list(self._numbered("state"))):
            try:
                state = _read(path)
                found = _differences(state.identity, self._state.identity)
                if not found:
                    for fault in self._faults(state):
                        raise ValueError(f"{STATE}: {fault}")
                    self._restore(load_file(path / TENSORS), state.step)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                aside = self._directory / f"broken_{number:06d}"
                self._note(f"{path} is damaged, kept as {aside.name}: {error}")
                _remove(aside)
                os.rename(path, aside)
                continue
            if not found:
                state.resumes += 1
                self._state = state
                return
            differences = differences or found
        if differences:
            self._note(f"starts over, as what was saved differs: {'; '.join(differences)}")
        self._prune()

    def _faults(self, state: State) -> Iterator[str]:
        """Yield what is wrong with a state of this run: what no training can have left."""
        settings, examples = self._stack.settings, len(self._stack.task)
        seeds = len(self._stack.dropout.generators)
        total_steps = settings.total_steps(examples)
        if type(state.step) is not int or not 0 <= state.step <= total_steps:
            yield f"step is {state.step!r}, but the run has steps 0 to {total_steps}"
            return
        if type(state.resumes) is not int or state.resumes < 0:
            yield f"resumes is {state.resumes!r}, but it is a count"
        if not is_number(state.seconds):
            yield f"seconds is {state.seconds!r}, but it is a time"
        wanted = [
            step
            for step in evaluation_steps(total_steps, settings.eval_steps)
            if step <= state.step
        ]
        found = [evaluation.step for evaluation in state.evaluations]
        # The state after a step may be saved before its evaluation.
        if found != wanted and [*found, state.step] != wanted:
            yield f"evaluations of the steps {found}, but at step {state.step} they are {wanted}"
            return
        for evaluation in state.evaluations:
            rate = learning_rate(evaluation.step, total_steps, settings)
            epoch = evaluation.step / settings.steps_per_epoch(examples)
            if (evaluation.learning_rate, evaluation.epoch) != (rate, epoch):
                yield f"the evaluation of step {evaluation.step} is of another epoch or rate"
            for fault in evaluation.faults(seeds, self._parts):
                yield f"the evaluation of step {evaluation.step}: {fault}"

    def _restore(self, tensors: Parameters, step: int) -> None:
        """Copy a state's tensors into the stack, all of them or none.

        Raises:
            ValueError: they are not those of this stack after so many steps.
        """
        wanted = {name: (value.shape, value.dtype) for name, value in self._tensors().items()}
        if {name: (value.shape, value.dtype) for name, value in tensors.items()} != wanted:
            raise ValueError(f"{TENSORS} has not the tensors of this run")
        for name, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise ValueError(f"{TENSORS}: {name} is not finite")
            if name.endswith(".square") and bool((value < 0).any()):
                raise ValueError(f"{TENSORS}: {name} is a mean of squares, but below 0")
            if name == "steps" and not bool((value == step).all()):
                raise ValueError(f"{TENSORS}: steps is not {step}, as {STATE} says")
        generators = self._stack.dropout.generators
        for number, generator in enumerate(generators):
            try:
                torch.Generator(generator.device).set_state(tensors[f"generator.{number}"])
            except RuntimeError as error:
                raise ValueError(f"{TENSORS}: generator.{number}: {error}") from None
        for name, value in self._stack.state().items():
            value.copy_(tensors[name])
        for number, generator in enumerate(generators):
            generator.set_state(tensors[f"generator.{number}"])

    def _numbered(self, *kinds: str) -> Iterator[tuple[int, Path]]:
        """Yield the numbers and paths of states of some kinds, or of all, by number."""
        for path in sorted(self._directory.iterdir(), key=lambda path: path.name[-6:]):
            name = re.fullmatch(r"(state|broken)_([0-9]{6})", path.name)
            if name and (not kinds or name[1] in kinds):
                yield int(name[2]), path

    def _prune(self) -> None:
        for kind in ("state", "broken"):
            for _, path in list(self._numbered(kind))[:-KEPT]:
                # Under another name first, so that no half of a state is ever taken for one.
                os.rename(path, self._directory / OLD)
                _remove(self._directory / OLD)


@contextmanager
def resumable(
    directory: Path,
    identity: Mapping[str, object],
    stack: Stack,
    parts: int,
    stop: Stop,
    note: Callable[[str], None],
) -> Iterator[Resume]:
    """Hold a run's resume directory, so that no other job trains the same, and yield its state.

    When the job shall end, it does so at its next heartbeat, the state being saved.

    Args:
        directory: of the states; made, and removed once `Resume.clear` was called.
        identity: what must be the same for an attempt to go on.
        stack: just built; brought to where the last attempt left it.
        parts: of which each evaluation tells the accuracy.
        stop: notices that the job shall end.
        note: told what a person should know.

    Raises:
        BlockingIOError: another job trains this run and goes on doing so.
        OSError: the directory cannot be written.
        SystemExit: the job was asked to end while it waited.
    """
    told: set[str] = set()

    def waiting(owner: str) -> None:
        if stop.reason is not None:
            stop.leave("nothing was trained")
        if owner not in told:
            note(f"waits for process {owner}, which trains this run")
            told.add(owner)

    with exclusive(directory / LOCK, LOCK_SECONDS, waiting) as lock:
        yield Resume(directory, lock, identity, stack, parts, stop, note)


def _read(path: Path) -> State:
    """Return what a state's JSON says, all its files being whole.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not what was written.
    """
    if (path / SUMS).read_bytes() != _sums(path).encode():
        raise ValueError(f"{SUMS} does not match")
    try:
        state = State(**json.loads((path / STATE).read_bytes()))
        state.identity = dict(state.identity)
        state.evaluations = [Evaluation(**fields) for fields in state.evaluations]  # type: ignore[arg-type]
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{STATE}: {error}") from None
    return state


def _sums(path: Path) -> str:
    """Return the checksums of a state's files, as `sha256sum` writes them."""
    return "".join(f"{sha256(path / name)}  {name}\n" for name in (STATE, TENSORS))


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return what differs between two identities: `key (old -> new)`."""
    return [
        f"{key} ({old.get(key)} -> {new.get(key)})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _remove(path: Path) -> None:
    """Remove a file or a directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _told_seconds() -> float | None:
    """Return the seconds between saves that the environment asks for.

    Raises:
        ValueError: it asks for what is no number.
    """
    text = os.environ.get(SAVE_VARIABLE)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise ValueError(f"{SAVE_VARIABLE} = {text!r}: must be a number of seconds") from None
