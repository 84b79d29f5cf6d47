"""What finished jobs say of themselves, against what they would be made from now.

Snakemake remembers jobs in a directory of its own, which a copy of the results lacks, and goes by
the times of files, which a copy may change.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.files import read_json, sha256, write_json
from gpt_math_domains.jobs.record import difference
from gpt_math_domains.run import Settings


class Checksums:
    """SHA-256 of files, kept until a file's inode, size or time is another.

    Args:
        path: where they are kept from call to call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            kept = read_json(path)
        except (OSError, ValueError):  # not there, or of no use
            kept = None
        self._kept: dict[str, list[Any]] = kept if isinstance(kept, dict) else {}
        self._changed = False

    def of(self, path: str) -> str:
        """Return a file's SHA-256.

        Raises:
            OSError: it cannot be read.
        """
        found = os.stat(path)
        identity = [found.st_ino, found.st_size, found.st_mtime_ns]
        kept = self._kept.get(path)
        if not isinstance(kept, list) or kept[:-1] != identity:
            kept = [*identity, sha256(path)]
            self._kept[path], self._changed = kept, True
        return str(kept[-1])

    def save(self) -> None:
        """Keep them, where that is possible."""
        if self._changed:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_json(self._path, self._kept)
            except OSError:  # they are computed again
                return
            self._changed = False


def data_difference(
    manifest: str, settings: DataSettings, files: Mapping[str, str], checksums: Checksums
) -> str | None:
    """Return in what a data version is not what its settings make, or None.

    None also where a file is missing, which Snakemake sees itself.

    Args:
        manifest: that was written with the files.
        settings: that they should have.
        files: by their names in the manifest.
        checksums: of files.
    """
    if not _there(manifest, *files.values()):
        return None
    told = _told(manifest)
    now = asdict(settings)
    told = _defaults(DataSettings, now) | told
    return difference(told, now) or _damaged(told, files, checksums)


def labels_difference(
    manifest: str,
    labels: Sequence[str],
    own: str | None,
    equations: Mapping[str, str],
    files: Mapping[str, str],
    checksums: Checksums,
) -> str | None:
    """Return in what label tables are not those of a domain and a data version, or None.

    None also where a file is missing, which Snakemake sees itself.

    Args:
        manifest: that was written with the tables.
        labels: of the domain version.
        own: file of one's own labels, or None.
        equations: files of the data version, by `train` and `valid`.
        files: the tables, likewise.
        checksums: of files.
    """
    if not _there(manifest, *equations.values(), *files.values(), *([own] if own else [])):
        return None
    told = _told(manifest)
    now = {
        "labels": list(labels),
        "own": checksums.of(own) if own else None,
        "equations": {name: checksums.of(path) for name, path in equations.items()},
    }
    return difference(told, now) or _damaged(told, files, checksums)


def run_difference(
    record: str,
    now: Mapping[str, Any],
    inputs: Sequence[str],
    code: str | None,
    checksums: Checksums,
) -> str | None:
    """Return in what a finished run is not what would be made now, or None.

    None also where a file is missing, which Snakemake sees itself.

    Args:
        record: that was written with it.
        now: the keys of a record that follow from the configuration.
        inputs: files that it would read.
        code: fingerprint of the code that would make it; None to leave that to Snakemake.
        checksums: of files.
    """
    if not _there(record, *inputs):
        return None
    told = _told(record)
    if isinstance(told.get("settings"), dict):
        told["settings"] = _defaults(Settings, now["settings"]) | told["settings"]
    if why := difference(told, now):
        return why
    sums = told.get("inputs")
    read = {_name(key): value for key, value in sums.items()} if isinstance(sums, dict) else {}
    if not read:
        return f"{record} names no files that it was made from"
    for kind in ("weights", "tables"):
        files = told.get(kind)
        for name, written in files.items() if isinstance(files, dict) else ():
            path = os.path.join(os.path.dirname(record), name)
            if os.path.exists(path) and checksums.of(path) != written:
                return f"{path} is not as it was written"
    for path in inputs:
        found = checksums.of(path)
        if read.get(_name(path), found) != found:
            return f"{path} is another than it was made from"
    if code is not None and told.get("code") != code:
        return "it was made by other code"
    return None


def _defaults(settings: type, keys: Iterable[str]) -> dict[str, Any]:
    """Return what an earlier record meant where it does not tell a key, as JSON has it."""
    found = {key: getattr(settings, key, None) for key in keys}
    return dict(json.loads(json.dumps(found)))


def _name(path: str) -> str:
    """Return the end of a path, which tells the inputs of a run apart, wherever results lie."""
    return "/".join(path.split("/")[-3:])


def _there(*paths: str) -> bool:
    return all(map(os.path.exists, paths))


def _told(path: str) -> dict[str, Any]:
    """Return what a record says, nothing if it cannot be understood."""
    try:
        told = read_json(path)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _damaged(told: Mapping[str, Any], files: Mapping[str, str], checksums: Checksums) -> str | None:
    """Return which file is another than a manifest was written with."""
    sums = told.get("sha256")
    for name, path in files.items():
        if not isinstance(sums, dict) or sums.get(name) != checksums.of(path):
            return f"{path} is not as it was written"
    return None
