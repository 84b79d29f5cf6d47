"""Locks that end with their owner: the system frees them when a process dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def exclusive(path: Path, patience: float, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path`, alone among all processes; it goes afterwards.

    Args:
        path: of the lock file; its directory is made.
        patience: seconds to wait for another owner.
        waiting: called with the number of the owner's process, now and then.

    Raises:
        BlockingIOError: another process holds the lock for longer than that.
        OSError: the directory cannot be written.
    """
    deadline = time.monotonic() + patience
    while (handle := _try_to_lock(path)) is None:
        owner = _owner(path)
        if time.monotonic() >= deadline:
            raise BlockingIOError(f"{path.parent}: process {owner} trains this run already")
        waiting(owner)
        time.sleep(0.1)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        handle.close()
        with suppress(OSError):  # something is left there, or somebody new came
            path.parent.rmdir()


def _try_to_lock(path: Path) -> IO[str] | None:
    """Return the locked file, or None if it is another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = path.open("a", encoding="utf-8")
    except FileNotFoundError:  # its last owner just removed the directory
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An owner unlinks the file when it ends: a lock on an unlinked file protects nothing.
        if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        handle.close()
        raise
    handle.close()
    return None


def _owner(path: Path) -> str:
    """Return the number of the process that holds a lock, as far as it wrote it."""
    try:
        return path.read_text(encoding="utf-8") or "?"
    except FileNotFoundError:
        return "?"
