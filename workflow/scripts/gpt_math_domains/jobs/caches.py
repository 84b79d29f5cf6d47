"""Where libraries keep the code that they generate: a directory that nobody else can write into.

PyTorch unpickles and runs what it finds in its caches, which by default are in /tmp, under names
that anybody can take first. To be asked before torch is imported.
"""

import os
import shlex
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from gpt_math_domains.jobs.record import cpu_key

CHOSEN = "TORCHINDUCTOR_CACHE_DIR"  # environment variable: the directory to use, if it is private
NAME = "gpt-math-domains"  # of the directory in a user's cache directory
# Environment variables that say where libraries keep things, and the directories of them in ours.
PLACES = {
    CHOSEN: "inductor",
    "TRITON_HOME": "triton",
    "TRITON_CACHE_DIR": "triton/cache",
    "PYTORCH_KERNEL_CACHE_PATH": "kernels",
    "CUDA_CACHE_PATH": "cuda",
    "XDG_CACHE_HOME": "other",
}


@contextmanager
def private_caches(note: Callable[[str], None]) -> Iterator[Path]:
    """Have libraries keep generated code in a directory of this user alone, and yield it.

    It stays for the next job. There is one for each version of PyTorch and kind of processor, since
    machines may share a home directory. Where none can be had, it is a temporary one, which goes
    afterwards.

    Args:
        note: told, in one line, why what was asked for is not used.

    Raises:
        OSError: not even a temporary directory can be made.
    """
    faults: list[str] = []
    with ExitStack() as until_done:
        directory = _lasting_directory(faults)
        if directory is None:
            parent = tempfile.gettempdir()
            made = tempfile.TemporaryDirectory(
                prefix=f"{NAME}-",
                dir=parent if _is_plain(parent) else "/tmp",  # noqa: S108 - a new name, mode 0700
                ignore_cleanup_errors=True,
            )
            directory = Path(until_done.enter_context(made))
        if faults:
            note(f"keeps generated code in {directory}: {'; '.join(faults)}")
        until_done.enter_context(_used(directory))
        yield directory


def _lasting_directory(faults: list[str]) -> Path | None:
    """Return the first directory that can be had, or None; `faults` gets what is wrong before."""
    for base in _bases():
        path = base / f"torch-{version('torch')}-{cpu_key()}"
        try:
            _make_private(path)
            return path
        except OSError as error:
            faults.append(" ".join(str(error).split()))
    return None


def _bases() -> Iterator[Path]:
    """Yield the directories to try: the one that was asked for, and the user's own."""
    if os.environ.get(CHOSEN):
        yield Path(os.environ[CHOSEN]).absolute()
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):  # as its specification says, else it does not count
        yield Path(home) / NAME
    else:
        with suppress(RuntimeError):  # nobody knows the home directory
            yield Path.home().absolute() / ".cache" / NAME


@contextmanager
def _used(directory: Path) -> Iterator[None]:
    """Point every library at a directory."""
    before = {name: os.environ.pop(name, None) for name in PLACES}
    temporary = tempfile.tempdir
    os.environ |= {name: str(directory / place) for name, place in PLACES.items()}
    # Some of PyTorch's caches have a fixed name in whatever Python takes for /tmp.
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _make_private(path: Path) -> None:
    """Make a directory, unless it is there, that nobody but its owner can change.

    Raises:
        OSError: it cannot be made or written, or somebody else could change it, or put another one
            in its place. Or a compiler could not be told its name.
    """
    if not _is_plain(str(path)):
        raise OSError(f"{path}: a compiler would take its name for several")
    for place in (*reversed(path.parents), path):
        if not place.exists():
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise OSError(f"{path}: is no directory")
    # Whoever can write into a directory can put something else in the place of what is in it, but
    # not of what is another's in one like /tmp.
    for place in (path, *path.resolve().parents):
        status = place.stat()
        others = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
        if status.st_uid not in {os.geteuid(), *([] if place == path else [0])}:
            raise OSError(f"{place}: belongs to another user")
        if others and (place == path or not status.st_mode & stat.S_ISVTX):
            raise OSError(f"{place}: others can write into it")
    if not os.access(path, os.W_OK | os.X_OK):
        raise OSError(f"{path}: cannot be written")


def _is_plain(path: str) -> bool:
    """Tell whether PyTorch, which quotes no path, can tell a compiler of this one."""
    try:
        return shlex.split(path) == [path]
    except ValueError:
        return False
