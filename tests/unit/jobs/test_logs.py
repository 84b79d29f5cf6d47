from pathlib import Path

import pytest

from gpt_math_domains.jobs.logs import job_log


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


def test_an_interrupted_job_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_, job_log(tmp_path / "job.log"):
        raise KeyboardInterrupt
    assert exit_.value.code == 130
    assert capsys.readouterr() == ("", "stopped by SIGINT: nothing was written\n")
