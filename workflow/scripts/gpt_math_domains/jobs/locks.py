"""Locks that end with their owner: the system frees them when a process dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class Lock:
    """A lock file that this process holds; `exclusive` makes one."""

    def __init__(self, path: Path, handle: IO[str]) -> None:
        self._path, self._handle = path, handle

    def require(self) -> None:
        """Make sure that the lock is still held: somebody may have removed its file.

        Then the file is made again, unless another process did so before.

        Raises:
            BlockingIOError: another process holds the lock now.
            OSError: the file cannot be made again.
        """
        if _is_locked(self._path, self._handle):
            return
        handle = _try_to_lock(self._path)
        if handle is None:
            raise BlockingIOError(
                f"{self._path.parent}: was removed, and process {_owner(self._path)} trains this "
                "run now"
            )
        self._handle.close()
        self._handle = handle

    def release(self) -> None:
        """Remove the file, if it is still this one, and its directory, if nothing is left there."""
        if _is_locked(self._path, self._handle):
            self._path.unlink()
        self._handle.close()
        with suppress(OSError):  # something is left there, or somebody new came
            self._path.parent.rmdir()


@contextmanager
def exclusive(path: Path, patience: float, waiting: Callable[[str], None]) -> Iterator[Lock]:
    """Hold the lock file `path`, alone among all processes, and yield it; it goes afterwards.

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
    lock = Lock(path, handle)
    try:
        yield lock
    finally:
        lock.release()


def _try_to_lock(path: Path) -> IO[str] | None:
    """Return the locked file, or None if it is another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = path.open("a", encoding="utf-8")
    except FileNotFoundError:  # its last owner just removed the directory
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_locked(path, handle):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            return handle
    except BlockingIOError:
        pass
    except BaseException:
        handle.close()
        raise
    handle.close()
    return None


def _is_locked(path: Path, handle: IO[str]) -> bool:
    """Tell whether a locked file still stands at its path: else the lock protects nothing."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    return False


def _owner(path: Path) -> str:
    """Return the number of the process that holds a lock, as far as it wrote it."""
    try:
        return path.read_text(encoding="utf-8") or "?"
    except OSError:
        return "?"
