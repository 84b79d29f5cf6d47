"""The cores of the machine that a job may use."""

import os
from collections.abc import Callable


def keep_to_cores(cores: int, threads: int, note: Callable[[str], None]) -> None:
    """Have threads wait for each other at rest, on as many cores as the job was given.

    So bits are the same on any number of cores. It is to be called before torch is loaded: threads
    that wait busily, as is usual, take ten times as long where others use the cores too.

    Args:
        cores: that Snakemake gave the job.
        threads: of its arithmetic.
        note: is told if there are fewer cores.
    """
    if threads > 1:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if cores >= threads:
        return
    note(f"{threads} threads share {cores} of the machine's cores")
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        allowed = sorted(os.sched_getaffinity(0))
        first = os.getpid() % len(allowed)
        os.sched_setaffinity(0, [*allowed, *allowed][first : first + cores])
