"""What tests count is told at their end, in however many processes they ran."""

import sys
from collections import Counter
from typing import Any

import pytest

TOLD: Counter[str] = Counter()  # by the processes that pytest-xdist started


def counted() -> Counter[str]:
    """Return what the tests of this process counted."""
    module = sys.modules.get("training_job")
    return Counter() if module is None else module.TALLY


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes
        session.config.workeroutput["tally"] = dict(counted())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    TOLD.update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many kill points and faults were tried, and how many bits differed."""
    for what, count in (TOLD + counted()).items():
        terminalreporter.write_line(f"{count:5} {what}")
