"""How a job speaks: its log file in full, its errors in one line.

Nobody has to listen. A terminal may be closed, a pipe broken, a disk full: the job goes on.
"""

import errno
import os
import reprlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from gpt_math_domains.jobs.stops import Ended, Stop


@contextmanager
def job_log(path: str | Path) -> Iterator[TextIO]:
    """Open a job's log file, and end the job in one clear line if its input or machine is at fault.

    The log keeps the traceback. A fault of the program itself passes through, so that its
    traceback is on the terminal too. A signal, or the end of the Snakemake that started it, ends
    the job in one line too, wherever nothing inside has a better use for it.

    Raises:
        SystemExit: with status 1, in place of ValueError, OSError, MemoryError and
            FloatingPointError; with 128 plus the signal's number in place of a signal.
    """
    path = Path(path)
    try:
        with Stop(_warn, at_once=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            log = path.open("w", encoding="utf-8")
            try:
                yield log
            except Exception:
                say(traceback.format_exc().rstrip(), log)
                raise
            finally:
                with suppress(OSError):  # its last lines do not fit on the disk
                    log.close()
    except (ValueError, OSError, MemoryError, FloatingPointError) as error:
        _warn(f"error: {error}")
        raise SystemExit(1) from None
    except Ended as ended:
        _warn(f"{ended.reason}: nothing was written")
        raise SystemExit(ended.status) from None
    finally:
        flush()


def notes(log: TextIO) -> Callable[[str], None]:
    """Return a function that writes a line with the time into a job's log and to the terminal."""

    def note(text: str) -> None:
        say(f"{time.strftime('%H:%M:%S')}  {text}", log)
        say(f"[{log.name}]  {text}", sys.stderr)

    return note


def say(text: str, *listeners: TextIO) -> bool:
    """Write a line to whoever listens; return whether all of them took it.

    A file on a full disk keeps the line for the next time. A terminal or pipe that nobody reads any
    more is replaced by nothing, for this process and those that it starts.
    """
    heard = True
    for listener in listeners:
        try:
            print(text, file=listener, flush=True)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            heard = False
            if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EIO):
                _silence(listener)
    return heard


def flush() -> None:
    """Have standard output and error take what they will; the rest is lost without a word."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):  # or Python would try again at its end, and fail
            _silence(stream)


def _warn(text: str) -> None:
    say(text, sys.stderr)


def _silence(stream: TextIO) -> None:
    """Have a stream's descriptor lead nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def shorten(value: object) -> str:
    """Return a value as a message shows it, cut off where it is long, or deep as aliases are."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    try:
        text = short.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "..."
    return text if len(text) <= 200 else f"{text[:200]}..."
