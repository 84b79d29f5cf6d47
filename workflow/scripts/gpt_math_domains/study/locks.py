"""The lock files that a killed Snakemake leaves behind: cleared where nobody works."""

import fcntl
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

ALIVE = "alive.lock"  # held by every Snakemake that works in a directory


def clear_stale_locks(directory: Path) -> IO[str] | None:
    """Remove the lock files that a killed Snakemake left behind, unless another one lives.

    Snakemake locks its outputs by files that outlive it. So each Snakemake also holds a shared lock
    here: who gets it exclusively is alone, and all other lock files are of the dead.

    Args:
        directory: `.snakemake`.

    Returns:
        The file that holds the shared lock until it is closed or the process ends; None where there
        can be none, and all locks stay as they are.
    """
    with suppress(OSError):  # the directory is read-only, or its file system knows no such locks
        directory.mkdir(exist_ok=True)
        handle = (directory / ALIVE).open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory / "locks", ignore_errors=True)
        except BlockingIOError:
            pass
        fcntl.flock(handle, fcntl.LOCK_SH)
        return handle
    return None
