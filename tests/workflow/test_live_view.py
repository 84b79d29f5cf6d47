"""The live view of a study that really runs."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen  # noqa: TID251 - asks the live view

from study import SMOKE, Repository

RUN = "pretrain/data_4/model_2"
TARGET = f"results/smoke/{RUN}/metrics.csv"
LONG = {"pretrain": {"num_train_epochs": 2000, "eval_steps": 500}}


@contextmanager
def watching(repository: Repository) -> Iterator[str]:
    """Serve a study's page; yield its address, and end the server as Ctrl-C does."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gpt_math_domains", "watch", "--port", "0"),
            *(SMOKE, str(repository.changes)),
        ],
        cwd=repository.directory,
        env={"PYTHONPATH": "workflow/scripts"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = re.match(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert address
        yield address[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def row_of(address: str) -> list[str]:
    """Return what the page tells of the run's progress."""
    with urlopen(f"{address}/", timeout=60) as response:  # noqa: S310 - on this machine
        page = response.read().decode()
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    [row] = [cells[3:] for cells in rows if cells[:3] == ["pretrain", "4", "2"]][:1]
    return row


def test_a_running_study_is_shown_and_neither_disturbed_nor_made_to_run_again(
    clone: Repository,
) -> None:
    training = clone.start_snakemake("--cores", "1", TARGET, config=LONG)
    seen = set()
    with training, watching(clone) as address:
        while training.poll() is None:
            _, _, state, step, steps, speed, left, _ = row_of(address)
            seen.add((state, bool(step), steps, bool(speed), bool(left)))
            time.sleep(0.5)
        said = training.stdout.read() if training.stdout else ""
        assert training.returncode == 0, said
        time.sleep(4)  # the page is made again when it is older than that
        assert row_of(address)[2] == "done"
    steps = "6,000"  # 3 an epoch
    assert ("running", True, steps, True, True) in seen, seen
    assert {state for state, *_ in seen} <= {"waiting", "running", "done"}

    assert not (clone.results / RUN / "resume").exists()
    again = clone.snakemake("--cores", "1", TARGET, config=LONG)
    assert "Nothing to be done" in again.stdout
