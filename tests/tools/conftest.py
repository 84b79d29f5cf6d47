"""Checkpoints and data of a finished study in the tools that people already use.

`make test-tools` runs a small study with the project's packages, then these tests with those of
the tools, which know nothing of the project but its files.
"""

import os

import pytest

from checkpoints import STUDY


@pytest.fixture(scope="session", autouse=True)
def finished_study() -> None:
    """See that the study is there, and that nothing asks the network."""
    assert os.environ.get("HF_HUB_OFFLINE") == "1", "run by make test-tools"
    assert (STUDY / "metrics" / "summary.csv").is_file(), "run by make test-tools"
