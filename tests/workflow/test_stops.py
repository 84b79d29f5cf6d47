"""How a training job ends early, and what it leaves."""

import errno
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training_job import (
    SCRIPTS,
    TALLY,
    finish,
    log_of,
    outputs,
    prepare,
    require_the_same,
    start,
    states,
    wait_until_it_trains,
)

ENDING = [
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1),
    *(signal.SIGUSR2, signal.SIGXCPU, signal.SIGALRM, signal.SIGPWR, signal.SIGIO),
]


@pytest.mark.parametrize("number", [pytest.param(number, id=number.name) for number in ENDING])
def test_a_signal_saves_says_so_in_one_line_and_the_next_attempt_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    job = start(prepare(tmp_path), save_seconds=1000, num_train_epochs=4000)
    wait_until_it_trains(tmp_path, job)
    job.send_signal(number)
    _, said = job.communicate(timeout=30)
    TALLY[f"faults: {number.name}"] += 1

    assert job.returncode == 128 + number
    last = said.splitlines()[-1]
    stopped = re.fullmatch(rf"\[.*\]  stopped by {number.name}: saved at step ([\d,]+)", last)
    assert stopped, said
    assert "Traceback" not in said + log_of(tmp_path)
    assert states(tmp_path) == ["state_000001"]
    assert not (tmp_path / "metrics.csv").exists()

    again = start(tmp_path, save_seconds=1000, num_train_epochs=4000)
    wait_until_it_trains(tmp_path, again)
    again.kill()
    again.communicate()
    assert f"resumed at step {stopped[1]}\n" in log_of(tmp_path)


@pytest.mark.parametrize(
    "number", [signal.SIGWINCH, signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE]
)
def test_a_signal_that_asks_for_nothing_changes_nothing(
    tmp_path: Path, undisturbed: dict[str, object], number: signal.Signals
) -> None:
    job = start(prepare(tmp_path), save_seconds=1000)
    wait_until_it_trains(tmp_path, job)
    job.send_signal(number)
    finish(job)
    require_the_same(tmp_path, undisturbed)


def test_under_nohup_a_closed_terminal_ends_nothing(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the job inherits
    try:
        job = start(prepare(tmp_path), save_seconds=1000)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_until_it_trains(tmp_path, job)
    job.send_signal(signal.SIGHUP)
    finish(job)
    require_the_same(tmp_path, undisturbed)


@pytest.mark.parametrize("listener", ["terminal", "pipe"])
def test_a_training_goes_on_when_nobody_listens_any_more(
    tmp_path: Path, undisturbed: dict[str, object], listener: str
) -> None:
    reading, writing = os.openpty() if listener == "terminal" else os.pipe()
    job = start(prepare(tmp_path), save_seconds=0, listener=writing)
    os.close(writing)
    assert b"keeps checkpoints" in os.read(reading, 1000)
    os.close(reading)
    assert job.wait(timeout=300) == 0
    TALLY["faults: nobody listens"] += 1
    assert "step 120/120" in log_of(tmp_path)
    require_the_same(tmp_path, undisturbed)


def test_a_training_whose_terminal_is_closed_saves_and_the_next_attempt_goes_on(
    tmp_path: Path,
) -> None:
    """A real terminal, of which the job's session is the owner: the system sends SIGHUP."""
    prepare(tmp_path)
    child, terminal = pty.fork()
    if child == 0:
        code = "import sys; from training_job import *; "
        code += "sys.exit(start(Path(sys.argv[1]), 0, listener=2, num_train_epochs=4000).wait())"
        os.chdir(Path(__file__).parent)
        os.execv(sys.executable, [sys.executable, "-c", code, str(tmp_path)])  # noqa: S606
    while " step " not in log_of(tmp_path):
        time.sleep(0.01)
    owner = int((tmp_path / "resume" / "lock").read_text())
    os.close(terminal)
    os.waitpid(child, 0)
    while Path(f"/proc/{owner}").exists():
        time.sleep(0.01)
    stopped = re.search(r"stopped by SIGHUP: saved at step ([\d,]+)\n$", log_of(tmp_path))
    assert stopped, log_of(tmp_path)
    again = start(tmp_path, save_seconds=1000, num_train_epochs=4000)
    wait_until_it_trains(tmp_path, again)
    again.kill()
    again.communicate()
    assert f"resumed at step {stopped[1]}\n" in log_of(tmp_path)


def test_a_training_whose_lock_was_removed_ends_when_another_one_took_over(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    first = start(prepare(tmp_path), save_seconds=0)
    wait_until_it_trains(tmp_path, first)
    first.send_signal(signal.SIGSTOP)  # so that it does not end before the other has started
    os.rename(tmp_path / "job.log", tmp_path / "first.log")
    shutil.rmtree(tmp_path / "resume")
    second = start(tmp_path, save_seconds=0.05)
    wait_until_it_trains(tmp_path, second)
    second.send_signal(signal.SIGSTOP)
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=60)
    TALLY["faults: lock removed"] += 1

    assert first.returncode == 1
    assert said.splitlines()[-1] == (
        f"error: {tmp_path / 'resume'}: was removed, and process {second.pid} trains this run now"
    )
    assert "Traceback" not in said
    assert not (tmp_path / "metrics.csv").exists()
    second.send_signal(signal.SIGCONT)
    finish(second)
    require_the_same(tmp_path, undisturbed)


def test_a_training_on_another_kind_of_processor_says_so_and_starts_over(tmp_path: Path) -> None:
    plain = {"ATEN_CPU_CAPABILITY": "default"}
    job = start(prepare(tmp_path), save_seconds=0, variables=plain)
    wait_until_it_trains(tmp_path, job)
    job.kill()
    job.communicate()
    here = torch.backends.cpu.get_cpu_capability()
    said = finish(start(tmp_path, save_seconds=1000))
    told = f"starts over, as what was saved differs: processor (DEFAULT -> {here})\n"
    assert (told in said) == (here != "DEFAULT")
    assert json.loads((tmp_path / "run.json").read_bytes())["processor"] == here


def test_a_run_stopped_by_signals_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    prepare(tmp_path)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        job = start(tmp_path, save_seconds=0.02)
        wait_until_it_trains(tmp_path, job)
        job.send_signal(number)
        job.communicate(timeout=30)
    said = finish(start(tmp_path, save_seconds=1000))
    assert said.count("resumed at step") == 1
    require_the_same(tmp_path, undisturbed)


def test_seconds_go_on_over_attempts_and_the_record_counts_them(tmp_path: Path) -> None:
    job = start(prepare(tmp_path), save_seconds=0.05)
    wait_until_it_trains(tmp_path, job)
    job.terminate()
    job.communicate()
    finish(start(tmp_path, save_seconds=0.05))
    rows: list[dict[str, str]] = outputs(tmp_path)["metrics.csv"]  # type: ignore[assignment]
    lines = (tmp_path / "metrics.csv").read_text().splitlines()[1:]
    seconds = [float(line.split(",")[-1]) for line in lines][: len(rows) // 2]
    assert seconds == sorted(seconds)
    assert json.loads((tmp_path / "run.json").read_bytes())["resumes"] == 1


FAKE_CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(FAKE_CLOCK is None, reason="needs Debian's package libfaketime")
def test_a_clock_that_jumps_changes_nothing_but_dates(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    clock = tmp_path / "clock"
    variables = {
        "LD_PRELOAD": str(FAKE_CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    prepare(tmp_path)
    for before, after in (("+0", "-3650d"), ("+3650d", "-3650d")):
        clock.write_text(before)
        job = start(tmp_path, save_seconds=0.02, variables=variables)
        wait_until_it_trains(tmp_path, job)
        clock.write_text(after)
        job.terminate()
        job.communicate(timeout=30)
        assert job.returncode in (0, 143)
    clock.write_text("+3650d")
    said = finish(start(tmp_path, save_seconds=0.02, variables=variables))
    TALLY["faults: clock jumps"] += 1

    record = json.loads((tmp_path / "run.json").read_bytes())
    ended = datetime.fromisoformat(record["ended"])
    assert abs((ended - datetime.now(UTC)).days) > 3000, "the clock did not jump"
    assert 0 <= record["seconds"] < 600, said
    require_the_same(tmp_path, undisturbed)


def test_a_job_that_reaches_no_safe_point_ends_all_the_same(tmp_path: Path) -> None:
    """As during a long compilation."""
    code = (
        "import sys, time\n"
        "from gpt_math_domains.jobs import stops\n"
        "stops.GRACE_SECONDS = 0.5\n"
        "with stops.Stop(lambda text: print(text, flush=True)):\n"
        "    print('busy', flush=True)\n"
        "    time.sleep(100)\n"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "busy\n"
    job.terminate()
    said, _ = job.communicate(timeout=30)
    assert job.returncode == 143
    assert said == "stopped by SIGTERM: no safe point was reached; what was saved before stays\n"


def test_a_job_saves_and_ends_when_its_snakemake_is_gone(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(["sleep", "100"]) as owner:
        job = start(prepare(tmp_path), save_seconds=1000, owner=owner.pid, num_train_epochs=4000)
        wait_until_it_trains(tmp_path, job)
        owner.kill()
    _, said = job.communicate(timeout=30)
    TALLY["faults: Snakemake gone"] += 1
    assert job.returncode == 143
    assert "  stopped as its Snakemake is gone: saved at step " in said.splitlines()[-1]


def test_a_second_job_of_the_same_run_waits_for_the_first_and_goes_on_from_it(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    first = start(prepare(tmp_path), save_seconds=0)
    wait_until_it_trains(tmp_path, first)
    first.send_signal(signal.SIGSTOP)  # so that it does not end before the other has started
    os.rename(tmp_path / "job.log", tmp_path / "first.log")
    second = start(tmp_path, save_seconds=0.05)
    assert second.stderr is not None
    waiting = ""
    while "waits for" not in waiting:
        waiting = second.stderr.readline()
        assert waiting, "it did not wait"
    assert waiting.endswith(f"waits for process {first.pid}, which trains this run\n")
    first.terminate()
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=30)
    assert "resumed at step" in finish(second)
    assert first.returncode == 143
    require_the_same(tmp_path, undisturbed)


def test_a_run_that_diverges_names_step_and_seed_and_keeps_its_last_good_state(
    tmp_path: Path,
) -> None:
    job = start(prepare(tmp_path), save_seconds=0, learning_rate=1e38)
    _, said = job.communicate(timeout=60)
    TALLY["faults: divergence"] += 1
    assert job.returncode == 1
    assert re.fullmatch(r"error: seed [01] diverged: .* at step \d+", said.splitlines()[-1]), said
    kept = states(tmp_path)
    assert kept
    for name in kept:
        tensors = load_file(tmp_path / "resume" / name / "tensors.safetensors")
        assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
    assert not (tmp_path / "metrics.csv").exists()


def test_a_state_that_cannot_be_written_is_told_and_training_goes_on(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    said = finish(start(prepare(tmp_path), save_seconds=0.3, file_size=60_000))
    TALLY["faults: file too large"] += 1
    warnings = [line for line in said.splitlines() if "state not saved" in line]
    assert warnings
    assert re.search(
        r"state not saved at step \d+, training goes on: .*File too large", warnings[0]
    )
    assert "state not saved" in log_of(tmp_path)
    require_the_same(tmp_path, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_on_a_full_disk_the_state_before_stays_and_training_goes_on(
    small_disk: Path, undisturbed: dict[str, object]
) -> None:
    log = small_disk.parent / "job.log"
    job = start(prepare(small_disk), save_seconds=0.02, log=str(log))
    while not any((small_disk / "resume").glob("state_*")):  # not the one that is being written
        assert job.poll() is None
        time.sleep(0.005)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while "state not saved" not in (said := log.read_text()):
            assert job.poll() is None, "it ended without a warning"
            try:
                file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    kept = states(small_disk)
    job.kill()
    job.communicate()
    filler.unlink()
    TALLY["faults: full disk"] += 1

    assert "No space left on device" in said
    assert [name for name in kept if name.startswith("state_")]
    assert "resumed at step" in finish(start(small_disk, save_seconds=1000))
    require_the_same(small_disk, undisturbed)


@pytest.mark.parametrize("log", ["disk/job.log", "job.log"])
def test_a_directory_that_cannot_be_written_ends_the_job_in_one_line(
    tmp_path: Path, small_disk: Path, log: str
) -> None:
    prepare(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    job = start(small_disk, log=str(tmp_path / log))
    _, said = job.communicate(timeout=60)
    TALLY["faults: read-only disk"] += 1
    assert job.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: [Errno 30] Read-only file system: ")
