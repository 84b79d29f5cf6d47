from typing import Any

import pytest

from training_job import TALLY, finish, outputs, prepare, start


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run leaves that is never interrupted and never saves but at its end."""
    directory = prepare(tmp_path_factory.mktemp("whole"))
    finish(start(directory, save_seconds=1000))
    return outputs(directory)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_sep("-", "interruptions")
    for what, count in TALLY.items():
        terminalreporter.write_line(f"{count:5} {what}")
