"""How this project writes files: whole or not at all."""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    r"""Open a temporary neighbour of `path` and rename it to `path` once the block succeeds.

    Readers see the old file or the whole new one, never a part. If the block raises, `path` is
    untouched and the temporary file is removed. Several may write the same file at once, as where a
    killed Snakemake left a job behind: the last one's stays. What a killed writer left goes with
    the next one's.

    Args:
        path: the file to publish; missing parent directories are made.
        mode: `"w"` (UTF-8 text, `\n` line ends) or `"wb"`.

    Raises:
        OSError: the directory cannot be written or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    handle, new = _open_temporary(path, mode)
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _open_temporary(path: Path, mode: str) -> tuple[IO[Any], Path]:
    """Return an open neighbour of `path`, which this process holds a lock on, and its name."""
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    while True:
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        handle = open(  # noqa: SIM115 - closed by the caller
            new, mode.replace("w", "x"), encoding=encoding, newline=newline
        )
        with suppress(OSError):  # the file system knows no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if new.exists():
            return handle, new
        handle.close()  # taken for a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` whose writers are gone: nobody holds their locks."""
    for left in path.parent.glob(f".{escape(path.name)}.*.new"):
        with suppress(OSError), open(left, "r+b") as handle:  # somebody holds or removed it
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def sync_directory(path: Path) -> None:
    """Have the disk know the names in a directory, so that they outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_write(path) as handle:
        handle.write(text)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` to `path` atomically as indented JSON with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return what a JSON file says.

    Raises:
        ValueError: the file is no JSON; the message names it.
        OSError: the file cannot be read.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def errors_name(path: str | Path) -> Iterator[None]:
    """Make the ValueErrors that bad content causes one line that names the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
