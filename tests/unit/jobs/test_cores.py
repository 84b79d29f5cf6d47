import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from gpt_math_domains.jobs.cores import keep_to_cores

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system does not keep processes to cores"
)


def kept_to(cores: int, threads: int) -> tuple[int, list[str]]:
    """Return how many cores a process may use that was given some, and what it said."""
    said: list[str] = []
    keep_to_cores(cores, threads, said.append)
    return len(os.sched_getaffinity(0)), said


def in_a_process(cores: int, threads: int) -> tuple[int, list[str]]:
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(kept_to, cores, threads).result()


def test_more_threads_than_cores_keep_to_these_and_say_so() -> None:
    assert in_a_process(1, 4) == (1, ["4 threads share 1 of the machine's cores"])


def test_a_core_for_each_thread_changes_nothing() -> None:
    assert in_a_process(2, 2) == (len(os.sched_getaffinity(0)), [])
