"""Where a run's results come from: the record that a training job leaves beside its metrics.

Nothing here imports torch: versions are those that the packages' metadata tell.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gpt_math_domains.files import sha256, write_text
from gpt_math_domains.jobs.logs import shorten
from gpt_math_domains.run import DIRECTORIES, POINT

# A clone that belongs to another user is told of too: its code is what runs here already.
TRUSTING = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")

_INPUT = re.compile(rf"(?:^|/)({POINT})((?:data/|domains/[0-9]+/data_)[0-9]+/[^/]+)$")


class Record:
    """What a training job tells of itself; to be made when the job starts.

    Args:
        path: the JSON file to publish.
        inputs: all files that the job reads.
        code: fingerprint of the code that it runs.

    Attributes:
        inputs: SHA-256 of each file, by path.
        code: as given.

    Raises:
        OSError: an input cannot be read.
    """

    def __init__(self, path: str | Path, inputs: Iterable[str | Path], code: str) -> None:
        self._path = path
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self.inputs, self.code = {str(file): sha256(file) for file in inputs}, code
        self._known = {
            "inputs": self.inputs,
            "code": code,
            "git": git_state(Path(__file__)),
            "versions": {
                "python": platform.python_version(),
                "torch": version("torch"),
                "numpy": version("numpy"),
            },
        }

    def write(self, *, resumes: int = 0, **facts: Any) -> None:
        """Publish the record, with keys in alphabetical order.

        Beside `facts` it has `inputs` (SHA-256 by path), `code`, `git`, `versions`, `started` and
        `ended` (UTC, ISO 8601), `seconds` between the two, and `resumes`.

        Args:
            resumes: how many times training went on from a saved state.
            facts: configuration and machine, as JSON can say them.
        """
        time_spent = {
            "started": self._started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._clock, 3),
            "resumes": resumes,
        }
        text = json.dumps(
            self._known | facts | time_spent,
            indent=2,
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
        )
        write_text(self._path, text + "\n")


def difference(told: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return the first value of a record that was another, in the words of the configuration."""
    for key, value in json.loads(json.dumps(now)).items():
        if key not in told:  # as in a record of an earlier version
            continue
        was = told[key]
        if isinstance(value, dict) and isinstance(was, dict):
            if why := difference(was, value):
                return why
        elif was != value:
            return f"{key} was {shorten(was)}, is {shorten(value)}"
    return None


def place_of(path: str) -> tuple[str, str] | None:
    """Return the point of the grid that a file of data or labels is of, and its name there.

    Such as an empty one and `data/1/train.csv`; None of any other file.
    """
    found = _INPUT.search(path)
    return (found[1], found[2]) if found else None


def require_inputs(record: Path, told: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files of a run's data and labels, once they are what it was made with.

    Args:
        record: of the run; the files are below the results in which it lies.
        told: what it says.

    Returns:
        `train`, `valid`, `vocabulary` and `manifest` and, in finetuning, `train_labels` and
        `valid_labels`.

    Raises:
        ValueError: a file is another than the record names, or this is no record of a run or lies
            elsewhere than its run does.
        OSError: a file cannot be read.
    """
    try:
        run = told["run"]
        data, labels = f"data/{run['data']}", f"domains/{run['domain']}/data_{run['data']}"
        names = {"train": f"{data}/train.csv", "valid": f"{data}/valid.csv"}
        names |= {name: f"{data}/{name}.json" for name in ("vocabulary", "manifest")}
        if run["phase"] == "finetune":
            names |= {f"{part}_labels": f"{labels}/{part}.csv" for part in ("train", "valid")}
        place = Path(DIRECTORIES[run["phase"]].format(point=told.get("point") or "", **run))
        read = {
            found[1]: ("".join(found), checksum)
            for path, checksum in told["inputs"].items()
            if (found := place_of(path))
        }
        inputs = {name: read[path] for name, path in names.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(f"{record}: is no record of a run") from None
    depth = len(place.parts)
    for directory in (record.parent, record.parent.resolve()):
        if directory.parts[-depth:] == place.parts:
            results = directory.parents[depth - 1]
            break
    else:
        raise ValueError(f"{record.parent}: holds the run {place}, so its path must end in that")
    for path, checksum in inputs.values():
        if sha256(results / path) != checksum:
            raise ValueError(
                f"{results / path}: is not what the run was made with: its SHA-256 is not the one "
                f"in {record}"
            )
    return {name: results / path for name, (path, _) in inputs.items()}


def require_outputs(record: Path, told: Mapping[str, Any], *files: Path) -> None:
    """Refuse files that are others than a run wrote; those that its record does not name pass.

    Args:
        record: of the run.
        told: what it says.
        files: tables and checkpoints of the run.

    Raises:
        ValueError: with the file, or this is no record of a run.
        OSError: a file cannot be read.
    """
    try:
        known = {
            name: written
            for kind in ("tables", "weights", "checkpoints")
            for name, written in told.get(kind, {}).items()
        }
    except AttributeError:
        raise ValueError(f"{record}: is no record of a run") from None
    for path in files:
        found = sha256(path)
        if known.get(path.relative_to(record.parent).as_posix(), found) != found:
            raise ValueError(f"{path}: is not what {record} was written with")


def git_state(file: Path) -> dict[str, object] | None:
    """Return the commit of the git repository that tracks a file, and whether it is `dirty`.

    That is, whether files that it tracks differ from the commit. None without such a repository, a
    commit or git itself. Of files that Snakemake fetched from a forge, it also has `repository` and
    `reference`, the tag, branch or commit that was asked for.
    """
    note = file.with_name("fetched.json")  # left by workflow/rules/source.smk
    if note.exists():
        fetched: dict[str, object] = json.loads(note.read_text(encoding="utf-8"))
        return fetched
    # An archive may lie inside a repository that has nothing to do with it.
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": changes != ""}


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git says in a directory, or None if it fails or is not there."""
    # A hook of another repository sets these, and git would look there.
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {key: value for key, value in os.environ.items() if key not in elsewhere}
    try:
        ran = subprocess.run(  # noqa: S603 - asked by this module alone
            ["git", "--no-optional-locks", *TRUSTING, *arguments],  # noqa: S607 - as PATH has it
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError:  # no git
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


def cpu_name() -> str:
    """Return the processor's name where Linux tells it, else its architecture."""
    return _told_of_cpu("model name") or platform.processor() or platform.machine()


def cpu_key() -> str:
    """Return what tells kinds of processors apart by what they can do, as 16 hexadecimal digits."""
    told = [platform.machine(), cpu_name(), _told_of_cpu("flags"), _told_of_cpu("Features")]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _told_of_cpu(key: str) -> str:
    """Return what Linux tells of the first processor under a key, or nothing."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(errors="replace").splitlines() if information.exists() else []
    values = [line.partition(":")[2].strip() for line in lines if line.partition("\t")[0] == key]
    return values[0] if values else ""
