"""How a job is asked to end early: by SIGTERM, by SIGINT, or as its Snakemake is gone."""

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


class Stop:
    """Notices inside a `with` block that the job shall end; the job asks for it now and then.

    A job that does not ask within `GRACE_SECONDS`, such as during a long compilation, ends then and
    there, with one line and the same exit status.

    Args:
        note: told why the job ends if it never asked.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self.reason: str | None = None
        self._status = 0
        self._since = 0.0
        self._note = note
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_around, daemon=True)
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:  # as for a shell's background job
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
        self._ask(f"stopped by {signal.Signals(number).name}", number)

    def _ask(self, reason: str, number: int) -> None:
        if self.reason is None:  # says nothing here: a handler may interrupt a line being written
            self._status, self._since = 128 + number, time.monotonic()
            self.reason = reason

    def _look_around(self) -> None:
        owner = int(os.environ.get(OWNER, 0))
        while not self._over.wait(WATCH_SECONDS):
            if owner and not _is_alive(owner):
                self._ask("stopped as its Snakemake is gone", signal.SIGTERM)
            if self.reason and time.monotonic() - self._since >= GRACE_SECONDS:
                self._note(f"{self.reason}: no safe point was reached; what was saved before stays")
                os._exit(self._status)


def _is_alive(process: int) -> bool:
    """Tell whether a process of ours exists."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
