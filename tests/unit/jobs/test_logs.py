import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt_math_domains.files import atomic_write
from gpt_math_domains.jobs.logs import job_log

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"


def test_a_job_writes_to_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with job_log(tmp_path / "logs" / "job.log") as log:
        print("step 1 ≥", file=log)
    assert (tmp_path / "logs" / "job.log").read_text(encoding="utf-8") == "step 1 ≥\n"
    assert capsys.readouterr() == ("", "")


def test_a_job_starts_its_log_anew(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_text("of the last attempt")
    with job_log(str(tmp_path / "job.log")):
        pass
    assert (tmp_path / "job.log").read_text() == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("train.csv, line 3: no equation"), "train.csv, line 3: no equation"),
        (FileNotFoundError(2, "No such file", "a.csv"), "[Errno 2] No such file: 'a.csv'"),
        (FloatingPointError("loss of seed 0 is nan"), "loss of seed 0 is nan"),
        (MemoryError("Unable to allocate 9 GiB"), "Unable to allocate 9 GiB"),
    ],
)
def test_a_fault_of_input_or_machine_ends_the_job_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    with pytest.raises(SystemExit) as exit_, job_log(tmp_path / "job.log") as log:
        print("step 1", file=log)
        raise error
    assert exit_.value.code == 1
    assert capsys.readouterr() == ("", f"error: {line}\n")
    logged = (tmp_path / "job.log").read_text()
    assert logged.startswith("step 1\nTraceback (most recent call last):\n")
    assert logged.endswith(f"{type(error).__name__}: {line}\n")


def test_a_log_that_cannot_be_written_ends_the_job_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(SystemExit) as exit_, job_log(tmp_path / "logs" / "job.log"):
        raise AssertionError("the job began")
    assert exit_.value.code == 1
    assert capsys.readouterr().err.startswith("error: [Errno 17] File exists: ")


@pytest.mark.parametrize("error", [KeyError("loss"), RuntimeError("shapes differ")])
def test_a_fault_of_the_program_keeps_its_traceback_in_both_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    with pytest.raises(type(error)) as raised, job_log(tmp_path / "job.log"):
        raise error
    assert raised.value is error
    assert capsys.readouterr().err == ""
    assert "Traceback (most recent call last):" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_job_that_a_signal_ends_says_so_in_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with (
            pytest.raises(SystemExit) as exit_,
            job_log(tmp_path / "job.log"),
            atomic_write(tmp_path / "table.csv") as table,
        ):
            table.write("half")
            os.kill(os.getpid(), number)
            time.sleep(60)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert exit_.value.code == 128 + number
    assert capsys.readouterr() == ("", f"stopped by {number.name}: nothing was written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["job.log"]


def test_a_signal_that_is_ignored_ends_no_job(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with job_log(tmp_path / "job.log") as log:
            os.kill(os.getpid(), signal.SIGHUP)
            print("done", file=log)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "job.log").read_text() == "done\n"


JOB = """
import sys
from gpt_math_domains.jobs.logs import job_log, say
with job_log(sys.argv[1]) as log:
    sys.stdin.readline()
    for number in range(100):
        say(f"step {number}", log)
        say("x" * 1000, sys.stdout, sys.stderr)
    if sys.argv[2:]:
        raise ValueError(sys.argv[2])
"""


@pytest.mark.parametrize(("fault", "status"), [([], 0), (["no equation"], 1)])
@pytest.mark.parametrize("listener", ["pipe", "terminal", "full disk"])
def test_a_job_to_which_nobody_listens_any_more_goes_on_and_ends_as_it_would(
    tmp_path: Path, listener: str, fault: list[str], status: int
) -> None:
    if listener == "full disk":
        reading, writing = (os.open("/dev/full", os.O_WRONLY) for _ in range(2))
    else:
        reading, writing = os.pipe() if listener == "pipe" else os.openpty()
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(tmp_path / "job.log"), *fault],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    os.close(reading)
    job.communicate(b"go on\n", timeout=60)
    assert job.returncode == status
    assert "step 99\n" in (tmp_path / "job.log").read_text()


def test_a_log_that_fills_the_disk_at_its_end_makes_no_failure_of_a_job_that_is_done() -> None:
    with job_log("/dev/full") as log:
        log.write("done")
