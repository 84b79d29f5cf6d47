"""How a job is asked to end early: by a signal, or as its Snakemake is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

OWNER = "GPT_MATH_DOMAINS_SNAKEMAKE"  # environment variable: the process that started the job
WATCH_SECONDS = 0.5
GRACE_SECONDS = 15.0  # to reach a point where the state can be saved
# What ends nothing by itself, and what the system sends for a fault of the program.
_NO_REQUESTS = {"CHLD", "CLD", "CONT", "URG", "WINCH", "INFO", "TSTP", "TTIN", "TTOU", "STOP"}
_FAULTS = {"ABRT", "IOT", "BUS", "EMT", "FPE", "ILL", "SEGV", "STKFLT", "SYS", "TRAP", "KILL"}
_owner_gone = threading.Event()


class Ended(BaseException):
    """The job was asked to end, and does so where it stands.

    Attributes:
        reason: in words, such as `stopped by SIGTERM`.
        status: to exit with, 128 plus the signal's number.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class Stop:
    """Notices inside a `with` block that the job shall end; the job asks for it now and then.

    Every signal that would end the process asks for it: shells send SIGHUP, SIGINT or SIGQUIT,
    schedulers SIGTERM, or SIGUSR1, SIGUSR2 or SIGXCPU ahead of a limit. One that is ignored stays
    so, as SIGHUP is under `nohup`, but for SIGTERM, which a thread here sends when the Snakemake
    that started the job is gone.

    A job that does not end within `GRACE_SECONDS`, such as during a long compilation, ends then and
    there, with one line and the same exit status.

    Args:
        note: told why the job ends if it never asked.
        at_once: raise `Ended` in place of waiting to be asked.
    """

    def __init__(self, note: Callable[[str], None], at_once: bool = False) -> None:
        self.reason: str | None = None
        self._status = 0
        self._since = 0.0
        self._note = note
        self._at_once = at_once
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_around, daemon=True)
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in _requests():
                if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._on_signal)
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watch.join()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def leave(self, where: str) -> None:
        """End the job with 128 plus the signal's number, as shells do.

        Args:
            where: said after the reason, in one line.

        Raises:
            SystemExit: always.
        """
        self._note(f"{self.reason}: {where}")
        raise SystemExit(self._status)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.reason is not None:
            return
        # Says nothing here: a handler may interrupt a line being written.
        self._status, self._since = 128 + number, time.monotonic()
        gone = number == signal.SIGTERM and _owner_gone.is_set()
        self.reason = "stopped as its Snakemake is gone" if gone else f"stopped by {_name(number)}"
        if self._at_once:
            raise Ended(self.reason, self._status)

    def _look_around(self) -> None:
        owner = int(os.environ.get(OWNER, 0))
        while not self._over.wait(WATCH_SECONDS):
            if owner and not _owner_gone.is_set() and not _is_alive(owner):
                _owner_gone.set()
                os.kill(os.getpid(), signal.SIGTERM)
            if self.reason and time.monotonic() - self._since >= GRACE_SECONDS:
                self._note(f"{self.reason}: no safe point was reached; what was saved before stays")
                os._exit(self._status)


def _requests() -> set[int]:
    """Return the signals that ask a process to end; those that cannot be handled are not there."""
    others = {f"SIG{name}" for name in _NO_REQUESTS | _FAULTS}
    return {number for number in signal.valid_signals() if _name(number) not in others}


def _name(number: int) -> str:
    """Return a signal's name; those between SIGRTMIN and SIGRTMAX have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _is_alive(process: int) -> bool:
    """Tell whether a process of ours exists."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
