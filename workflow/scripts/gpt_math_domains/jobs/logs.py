"""How a job speaks: its log file in full, its errors in one line."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def job_log(path: str | Path) -> Iterator[TextIO]:
    """Open a job's log file, and end the job in one clear line if its input or machine is at fault.

    The log keeps the traceback. A fault of the program itself passes through, so that its
    traceback is on the terminal too.

    Raises:
        SystemExit: with status 1, in place of ValueError, OSError, MemoryError and
            FloatingPointError; with status 130 in place of KeyboardInterrupt.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as log:
            try:
                yield log
            except Exception:
                traceback.print_exc(file=log)
                raise
    except (ValueError, OSError, MemoryError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped by SIGINT: nothing was written", file=sys.stderr)
        raise SystemExit(130) from None
