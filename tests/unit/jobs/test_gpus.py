"""Trainings get GPUs of their own, or share them as asked; all devices here are pretended."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpt_math_domains.jobs.gpus import Gpu, leased_gpu, visible_gpus

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
JOB = """
import os, subprocess, sys
from pathlib import Path
from gpt_math_domains.jobs.gpus import leased_gpu

device, slots, user = sys.argv[1:]
if user:
    os.setuid(int(user))
with leased_gpu(device, int(slots), sys.stdout, Path()):
    assert "torch" not in sys.modules
    print("has", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    if input() == "leave a child behind":
        silent = dict.fromkeys(["stdout", "stderr"], subprocess.DEVNULL)
        subprocess.Popen(["sleep", "10"], close_fds=False, **silent)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that takes a GPU, says which, and waits for a line."""
    jobs: list[subprocess.Popen[str]] = []
    tmp_path.chmod(0o1777)  # as /tmp

    def start(
        visible: str | None,
        *,
        device: str = "auto",
        slots: int = 1,
        user: str = "",
        **variables: str,
    ) -> "subprocess.Popen[str]":
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)} | variables
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, device, str(slots), user],
            cwd=tmp_path,  # where locks are; what lies above it is closed to other users
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test may itself run where SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def says(job: "subprocess.Popen[str]") -> str:
    """Return the next line of a job, without the time of day."""
    assert job.stdout is not None
    line = job.stdout.readline().rstrip("\n")
    return line.partition("  ")[2] or line


def takes(job: "subprocess.Popen[str]") -> str:
    """Return the GPU that a job takes and sees."""
    told = says(job)
    assert told.startswith("takes GPU "), told
    gpu = told.removeprefix("takes GPU ")
    assert says(job) == f"has {gpu}"
    return gpu


def test_four_trainings_take_four_gpus_and_a_fifth_waits(start: Start) -> None:
    jobs = [start("0,1,2,3") for _ in range(4)]
    taken = {takes(job): job for job in jobs}
    assert taken.keys() == {"0", "1", "2", "3"}

    fifth = start("0,1,2,3")
    assert says(fifth) == "waits for a GPU: all 4 are taken"
    taken["2"].communicate("\n")
    assert takes(fifth) == "2"
    _, terminal = fifth.communicate("\n")
    assert terminal == "[<stdout>]  waits for a GPU: all 4 are taken\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_gpu_is_free_once_its_training_was_killed(start: Start, number: int) -> None:
    for _ in range(3):  # whoever is killed leaves nothing that is in the way
        job, waiting = start("0"), start("0")
        first, second = sorted((job, waiting), key=lambda job: "waits" in says(job))
        assert says(first) == "has 0"
        first.send_signal(number)
        assert takes(second) == "0"
        second.kill()
        second.wait()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_waits_for_a_gpu_can_be_stopped(
    start: Start, number: signal.Signals, status: int
) -> None:
    takes(start("0"))
    waiting = start("0")
    assert "waits" in says(waiting)
    waiting.send_signal(number)
    said, errors = waiting.communicate(timeout=30)
    assert waiting.returncode == status
    assert said.endswith(f"  stopped by {number.name}: no GPU was free yet\n")
    assert "Traceback" not in errors


def test_a_child_that_outlives_its_training_does_not_hold_the_gpu(start: Start) -> None:
    job = start("0")
    takes(job)
    job.communicate("leave a child behind\n")
    assert takes(start("0")) == "0"


def test_studies_in_different_directories_do_not_meet(start: Start, tmp_path: Path) -> None:
    """Nor do those of different users, whatever their umask."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    mask = os.umask(0o077)
    try:
        assert [takes(start("0,1,2", user=user)) for user in ("", "65534", "1")] == ["0", "1", "2"]
    finally:
        os.umask(mask)
    (tmp_path / "elsewhere").mkdir()
    assert says(start("0,1,2", TMPDIR=str(tmp_path / "elsewhere"))).startswith("waits")


# Sharing


def test_trainings_share_gpus_evenly_up_to_the_slots(start: Start) -> None:
    assert [takes(start("0,1", slots=2)) for _ in range(4)] == ["0", "1", "0", "1"]
    assert says(start("0,1", slots=2)) == ("waits for a GPU: all 2 are taken, 2 trainings on each")


def test_who_wants_a_gpu_alone_does_not_get_a_shared_one(start: Start) -> None:
    takes(start("0,1", slots=2))
    alone = start("0,1")
    assert takes(alone) == "1"
    assert takes(start("0,1", slots=2)) == "0"
    assert says(start("0,1", slots=2)).startswith("waits")
    assert says(start("0,1")).startswith("waits")


# Nothing to hold


@pytest.mark.parametrize("visible", ["0,1", None, ""])
def test_on_the_cpu_there_is_no_lease(start: Start, tmp_path: Path, visible: str | None) -> None:
    job = start(visible, device="cpu")
    assert says(job) == f"has {visible}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_where_no_gpu_is_visible_all_stays_as_it_is(
    start: Start, tmp_path: Path, device: str
) -> None:
    assert says(start("", device=device)) == "has "
    assert list(tmp_path.iterdir()) == []


def test_a_job_of_a_cluster_takes_the_gpu_that_it_got(start: Start, tmp_path: Path) -> None:
    """Under control groups, each of them sees its own device as number 0."""
    assert takes(start("0", SLURM_JOB_ID="12")) == "0"
    assert takes(start("0", SLURM_JOB_ID="13")) == "0"
    assert list(tmp_path.iterdir()) == []


def test_several_gpus_of_a_cluster_job_are_shared_out_inside_it(start: Start) -> None:
    assert [takes(start("0,1", SLURM_JOB_ID="12")) for _ in range(2)] == ["0", "1"]
    assert says(start("0,1", SLURM_JOB_ID="12")).startswith("waits")
    assert takes(start("0,1", SLURM_JOB_ID="13")) == "0"


def test_a_link_in_the_place_of_a_lock_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    (tmp_path / "gpt_math_domains_0.lock").symlink_to(tmp_path / "precious")
    job = start("0")
    _, errors = job.communicate(timeout=30)
    assert job.returncode != 0
    assert "gpt_math_domains_0.lock" in errors.splitlines()[-1]
    assert (tmp_path / "precious").read_text() == "data"


# Which devices there are


WHOLE = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-0)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc-2)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd-3)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Gpu]]:
    """Returns the visible GPUs of a machine whose `nvidia-smi` and device nodes are pretended."""

    def machine(listing: str | None, visible: str | None = None, nodes: str = "") -> list[Gpu]:
        (tmp_path / "bin").mkdir()
        if listing is not None:
            program = tmp_path / "bin" / "nvidia-smi"
            code = "exit 9" if listing == "fails" else f"[ $1 = -L ] && printf '%s' '{listing}'"
            program.write_text(f"#!/bin/sh\n{code}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        (tmp_path / "dev").mkdir()
        for node in nodes.split():
            (tmp_path / "dev" / node).touch()
        return visible_gpus(tmp_path / "dev")

    return machine


def test_all_gpus_are_told_by_uuid(machine: Callable[..., list[Gpu]]) -> None:
    assert machine(WHOLE) == [Gpu("GPU-aaaa-0", "GPU-aaaa-0"), Gpu("GPU-bbbb-1", "GPU-bbbb-1")]


def test_each_part_of_a_divided_gpu_is_a_device(machine: Callable[..., list[Gpu]]) -> None:
    names = ["MIG-cccc-2", "MIG-dddd-3", "GPU-bbbb-1"]
    assert machine(DIVIDED) == [Gpu(name, name) for name in names]


@pytest.mark.parametrize("listing", [None, "fails", ""])
def test_without_nvidia_smi_device_nodes_are_counted(
    machine: Callable[..., list[Gpu]], listing: str | None
) -> None:
    found = machine(listing, nodes="nvidiactl nvidia-uvm nvidia10 nvidia3 null")
    assert found == [Gpu("0", "nvidia3"), Gpu("1", "nvidia10")]


def test_without_a_driver_there_is_none(machine: Callable[..., list[Gpu]]) -> None:
    assert machine(None, nodes="null") == []


@pytest.mark.parametrize(
    ("visible", "entries"),
    [
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("GPU-bbbb,MIG-cccc-2", ["GPU-bbbb", "MIG-cccc-2"]),
        ("MIG-GPU-aaaa/1/0", ["MIG-GPU-aaaa/1/0"]),
        ("0,-1,1", ["0"]),  # CUDA sees what stands before the first invalid entry
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_what_was_chosen_before_is_respected_and_passed_on(
    machine: Callable[..., list[Gpu]], visible: str, entries: list[str]
) -> None:
    assert [gpu.entry for gpu in machine(DIVIDED, visible, nodes="nvidia0")] == entries


@pytest.mark.parametrize(
    ("visible", "keys"),
    [
        ("0,1", ["GPU-aaaa-0", "GPU-bbbb-1"]),
        ("GPU-b", ["GPU-bbbb-1"]),
        ("7,GPU-c", ["7", "GPU-c"]),  # not known
    ],
)
def test_a_device_is_the_same_by_whichever_name_it_was_chosen(
    machine: Callable[..., list[Gpu]], visible: str, keys: list[str]
) -> None:
    assert [gpu.key for gpu in machine(WHOLE, visible)] == keys


def test_the_lock_directory_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with (
        (tmp_path / "log").open("w") as log,
        pytest.raises(FileNotFoundError, match=r"nowhere/gpt_math_domains_0\.lock"),
        leased_gpu("auto", 1, log, tmp_path / "nowhere"),
    ):
        pass
