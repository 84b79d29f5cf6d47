"""The study on a real SLURM cluster, through the profile. `pytest -s` tells the ids of the jobs."""

import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from slurm import Cluster, output, wait_until
from study import Repository, copy_of_this_repository
from test_reproducibility import digests
from training_job import outputs

PROFILE = ("--workflow-profile", "profiles/slurm")
SOON = ("--slurm-init-seconds-before-status-checks", "5")
AUTO = {"device": "auto"}  # asks for GPUs, and trains on the CPU since these are pretended
# Trainings of some seconds, which save often.
LONG = AUTO | {
    "overrides": [
        {"phase": "pretrain", "eval_steps": 500, "data": 4, "num_train_epochs": 500},
        {"phase": "pretrain", "eval_steps": 500, "data": 5, "num_train_epochs": 120},
    ]
}
OFTEN = {"GPT_MATH_DOMAINS_SAVE_SECONDS": "0.1"}
REQUEUED, CANCELLED, TIMED_OUT = "data_4/model_2", "data_4/model_4", "data_5/model_2"
TRAININGS = (REQUEUED, CANCELLED, TIMED_OUT)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of one node with two GPUs."""
    with Cluster() as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: Cluster) -> Iterator[None]:
    """End what a test that fails leaves behind, so that it fails alone."""
    yield
    for study in Study.started:
        study.snakemake.kill()
    Study.started.clear()
    cluster.cancel_all()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository with its data made, on this machine. Not to be changed."""
    repository = copy_of_this_repository(tmp_path_factory.mktemp("prepared") / "repository")
    ran = repository.snakemake("--cores", "2", *targets(TRAININGS, "data"), config=LONG)
    assert ran.returncode == 0, ran.stdout
    return repository


@pytest.fixture(scope="module")
def whole(prepared: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the trainings leave that nobody stops, on this machine without a cluster."""
    repository = prepared.copy_to(tmp_path_factory.mktemp("whole") / "repository")
    ran = repository.snakemake(
        *targets(TRAININGS), "--cores", "2", "--resources", "gpu=2", config=LONG
    )
    assert ran.returncode == 0, ran.stdout
    return {run: outputs(repository.results / "pretrain" / run) for run in TRAININGS}


@pytest.fixture
def clone(prepared: Repository, tmp_path: Path) -> Repository:
    """A copy of the repository with its data, to be changed."""
    return prepared.copy_to(tmp_path / "repository")


def targets(runs: Sequence[str], kind: str = "pretrain") -> list[str]:
    """Return what a study of some trainings, or of their data alone, makes."""
    if kind == "data":
        data = sorted({run.split("/")[0].removeprefix("data_") for run in runs})
        return [f"results/smoke/data/{number}/train.csv" for number in data]
    return [f"results/smoke/pretrain/{run}/metrics.csv" for run in runs]


class Study:
    """A study that runs on the cluster: its Snakemake, and its jobs by training."""

    started: ClassVar[list["Study"]] = []

    def __init__(
        self, cluster: Cluster, repository: Repository, runs: Sequence[str], *options: str
    ) -> None:
        self.cluster, self.repository = cluster, repository
        self._before = set(cluster.jobs(states="all"))
        self.seen: dict[str, dict[str, str]] = {}  # what SLURM said of the jobs once
        self.devices: dict[str, dict[str, str]] = {}  # the environments of trainings
        self.snakemake = repository.start_snakemake(
            *targets(runs), *SOON, *(options or PROFILE), config=LONG, environment=OFTEN
        )
        self.started.append(self)

    def jobs(self, run: str) -> list[str]:
        """Return the ids of all jobs of a training so far, oldest first."""
        # The wildcards are the point of a grid, of which there is none, the data and the model.
        comment = "rule_pretrain_model_wildcards_" + "_".join(["", *re.findall(r"\d+", run)])
        listed = output("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i %k")
        lines = [line.split() for line in listed.splitlines()]
        return [number for number, said in lines if said == comment and number not in self._before]

    def state(self, run: str) -> str:
        """Return the state of a training's newest job, such as `RUNNING`; empty before one."""
        return self.cluster.job(self.jobs(run)[-1])["JobState"] if self.jobs(run) else ""

    def wait_for(self, run: str, *states: str) -> str:
        """Wait until a training's newest job is in one of some states; return its id."""
        wait_until(
            lambda: self.snakemake.poll() is not None or self.state(run) in states,
            f"{run} to be {states}",
            300,
        )
        assert self.snakemake.poll() is None, self.snakemake.communicate()[0]
        return self.jobs(run)[-1]

    def training(self, run: str) -> int:
        """Wait until a training has saved a state; return the number of its process."""
        resume = self.repository.results / "pretrain" / run / "resume"
        wait_until(
            lambda: self.snakemake.poll() is not None or any(resume.glob("state_*")),
            f"{run} to save",
            300,
        )
        return int((resume / "lock").read_text())

    def hold(self, run: str) -> int:
        """Stop a training's process once it has saved, as if it took forever; return its number."""
        process = self.training(run)
        os.kill(process, signal.SIGSTOP)
        return process

    def finish(self) -> str:
        """Wait for the end of a study that shall succeed; return what Snakemake said."""
        said, _ = self.snakemake.communicate(timeout=1500)
        assert self.snakemake.returncode == 0, said
        return said

    def require_the_same(self, run: str, whole: dict[str, object]) -> None:
        """Compare a training with one that nobody stopped, and see that it was resumed."""
        results = self.repository.results
        assert outputs(results / "pretrain" / run) == whole[run]
        assert json.loads((results / "pretrain" / run / "run.json").read_bytes())["resumes"] > 0
        assert "resumed at step" in (results / f"logs/pretrain/{run}.log").read_text()


def tell(claim: str, *jobs: object) -> None:
    print(f"\n{claim}: {', '.join(map(str, jobs))}", flush=True)


def test_the_smoke_study_on_the_cluster_ends_with_the_bytes_of_a_local_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    here = copy_of_this_repository(tmp_path / "here")
    there = here.copy_to(tmp_path / "there")
    local = here.start_snakemake("--cores", "1", config=AUTO)
    ran = there.snakemake(*PROFILE, *SOON, config=AUTO)
    assert ran.returncode == 0, ran.stdout
    said, _ = local.communicate(timeout=1500)
    assert local.returncode == 0, said

    [name] = re.findall(r"SLURM run ID: (\S+)", ran.stdout)
    jobs = cluster.jobs(name, states="all")
    tell("jobs of the smoke study", *jobs)
    assert {cluster.job(job)["JobState"] for job in jobs} == {"COMPLETED"}
    assert len(jobs) == 16  # 12 trainings; the data, two times figures, and the report
    first, again = digests(here), digests(there)
    assert first == again
    assert len(first) > 100
    assert "Nothing to be done" in there.snakemake("--dry-run", *PROFILE, config=AUTO).stdout


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster,
    prepared: Repository,
    whole: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Study:
    """A study of three trainings: requeued, cancelled, and stopped by its time limit."""
    repository = prepared.copy_to(tmp_path_factory.mktemp("disturbed") / "repository")
    study = Study(cluster, repository, TRAININGS, "--profile", "profiles/slurm")
    try:
        wait_until(
            lambda: (
                all(study.jobs(run) for run in TRAININGS)
                and sum(study.state(run) == "RUNNING" for run in TRAININGS) == 2
            ),
            "two trainings to run",
        )
        running = [run for run in TRAININGS if study.state(run) == "RUNNING"]
        processes = {run: study.hold(run) for run in running}
        study.seen = {run: cluster.job(study.jobs(run)[0]) for run in TRAININGS}
        study.devices = {run: environment(processes[run]) for run in running}

        def disturb(run: str) -> None:
            job = study.wait_for(run, "RUNNING")
            process = processes.get(run) or study.hold(run)
            if run == TIMED_OUT:
                output("scontrol", "update", f"JobId={job}", "TimeLimit=1")
                study.wait_for(run, "TIMEOUT")
                return
            os.kill(process, signal.SIGCONT)
            if run == REQUEUED:
                output("scontrol", "requeue", job)
                study.wait_for(run, "PENDING")
                # Otherwise SLURM waits for two minutes.
                output("scontrol", "update", f"JobId={job}", "StartTime=now")
            else:
                output("scancel", job)

        # The time limit takes a minute, in which the training that waits would be done.
        waiting = [run for run in TRAININGS if run not in running]
        for run in sorted([*running, *waiting], key=lambda run: run == TIMED_OUT):
            disturb(run)
        study.finish()
    except BaseException:
        study.snakemake.kill()
        raise
    return study


def environment(process: int) -> dict[str, str]:
    """Return the environment of a process."""
    pairs = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def test_two_trainings_run_on_two_gpus_while_a_third_waits(disturbed: Study) -> None:
    states = {job["JobId"]: job["JobState"] for job in disturbed.seen.values()}
    tell("two run and one waits", states)
    assert sorted(states.values()) == ["PENDING", "RUNNING", "RUNNING"]
    [waiting] = [job for job in disturbed.seen.values() if job["JobState"] == "PENDING"]
    assert waiting["Reason"] == "Resources"
    devices = [variables["CUDA_VISIBLE_DEVICES"] for variables in disturbed.devices.values()]
    assert sorted(devices) == ["0", "1"]


def test_a_requeued_training_goes_on_in_the_same_job(
    disturbed: Study, whole: dict[str, object]
) -> None:
    [job] = disturbed.jobs(REQUEUED)
    tell("requeued", job)
    assert disturbed.cluster.job(job)["Restarts"] == "1"
    disturbed.require_the_same(REQUEUED, whole)


@pytest.mark.parametrize(
    ("run", "end"), [(CANCELLED, "CANCELLED"), (TIMED_OUT, "TIMEOUT")], ids=["scancel", "limit"]
)
def test_a_training_that_slurm_ends_goes_on_in_another_job(
    disturbed: Study, whole: dict[str, object], run: str, end: str
) -> None:
    jobs = disturbed.jobs(run)
    states = [disturbed.cluster.job(job)["JobState"] for job in jobs]
    tell(end, dict(zip(jobs, states, strict=True)))
    assert states == [end, "COMPLETED"]
    first, second = (disturbed.cluster.job(job)["TimeLimit"] for job in jobs)
    assert first < second  # as the second attempt asks for more
    disturbed.require_the_same(run, whole)


def test_a_training_outlives_the_daemon_of_its_node(
    cluster: Cluster, clone: Repository, whole: dict[str, object]
) -> None:
    study = Study(cluster, clone, [REQUEUED])
    job = study.wait_for(REQUEUED, "RUNNING")
    process = study.hold(REQUEUED)
    cluster.kill_node()
    cluster.start_node()
    os.kill(process, signal.SIGCONT)
    said = study.finish()
    tell("its daemon was killed and came back", job)
    assert study.jobs(REQUEUED) == [job], said
    assert cluster.job(job)["Restarts"] == "0"
    assert outputs(clone.results / "pretrain" / REQUEUED) == whole[REQUEUED]


def test_a_training_whose_node_was_given_up_goes_on_when_it_is_back(
    cluster: Cluster, clone: Repository, whole: dict[str, object]
) -> None:
    study = Study(cluster, clone, [REQUEUED])
    job = study.wait_for(REQUEUED, "RUNNING")
    study.hold(REQUEUED)
    cluster.kill_node()
    wait_until(lambda: cluster.node_state().startswith("down"), "the node to be missed")
    cluster.start_node()
    # The two minutes that SLURM lets the job wait are not cut short: at first the node goes on to
    # end whatever runs under the job's number, a new attempt too.
    said = study.finish()
    tell("its node was down", job)
    assert study.jobs(REQUEUED) == [job], f"{said}\n{cluster.said_of(job)}"
    assert cluster.job(job)["Restarts"] == "1", cluster.said_of(job)
    study.require_the_same(REQUEUED, whole)


def test_a_training_that_needs_more_memory_gets_it_with_the_next_attempt(
    cluster: Cluster, clone: Repository, whole: dict[str, object]
) -> None:
    study = Study(
        cluster, clone, [REQUEUED], *PROFILE, "--set-resources", "pretrain_model:mem_mb=300*attempt"
    )
    said = study.finish()
    states = {job: cluster.job(job)["JobState"] for job in study.jobs(REQUEUED)}
    tell("out of memory", states)
    assert re.search("(?i)exceeded.*memory", said), said
    first, *_, last = states.values()
    assert first in ("OUT_OF_MEMORY", "CANCELLED", "FAILED")  # as SLURM noticed it
    assert last == "COMPLETED"
    assert outputs(clone.results / "pretrain" / REQUEUED) == whole[REQUEUED]


def test_ctrl_c_cancels_all_jobs_and_the_same_command_goes_on(
    cluster: Cluster, clone: Repository, whole: dict[str, object]
) -> None:
    study = Study(cluster, clone, TRAININGS)
    study.hold(REQUEUED)
    jobs = [study.jobs(run)[-1] for run in TRAININGS]
    os.killpg(study.snakemake.pid, signal.SIGINT)
    study.snakemake.communicate(timeout=120)
    assert study.snakemake.returncode != 0
    wait_until(lambda: not set(jobs) & set(cluster.jobs()), "the jobs to end")
    states = {job: cluster.job(job)["JobState"] for job in jobs}
    tell("after Ctrl-C", states)
    assert "CANCELLED" in states.values()
    assert set(states.values()) <= {"CANCELLED", "COMPLETED"}

    again = Study(cluster, clone, [REQUEUED])
    again.finish()
    again.require_the_same(REQUEUED, whole)


def test_jobs_of_a_killed_snakemake_are_cancelled_by_its_run_id_and_go_on(
    cluster: Cluster, clone: Repository, whole: dict[str, object]
) -> None:
    study = Study(cluster, clone, TRAININGS)
    study.hold(REQUEUED)
    study.snakemake.kill()
    study.snakemake.communicate()
    jobs = [study.jobs(run)[-1] for run in TRAININGS]
    assert study.jobs(REQUEUED)[0] in cluster.jobs()

    *_, log = sorted((clone.directory / ".snakemake/log").glob("*.log"))
    name = log.read_text().split("SLURM run ID: ")[1].split()[0]
    output("scancel", "--name", name)
    wait_until(lambda: not cluster.jobs(), "the jobs to end")
    states = {job: cluster.job(job)["JobState"] for job in jobs}
    tell("left by a killed Snakemake, then cancelled", states)
    assert states[study.jobs(REQUEUED)[0]] == "CANCELLED"

    again = Study(cluster, clone, [REQUEUED])
    again.finish()
    again.require_the_same(REQUEUED, whole)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("mem_mb=100000000", "Memory specification can not be satisfied"),
        ("slurm_partition='nowhere'", "invalid partition specified: nowhere"),
        ("gpu=3", "--set-resources pretrain_model:gpu=3: a training uses one GPU"),
    ],
)
def test_what_no_node_can_give_is_told_and_nothing_waits(
    cluster: Cluster, clone: Repository, request_: str, message: str
) -> None:
    ran = clone.snakemake(
        *targets([REQUEUED]),
        *PROFILE,
        *SOON,
        *("--set-resources", f"pretrain_model:{request_}", "--retries", "0"),
        config=LONG,
    )
    assert ran.returncode != 0
    assert message in ran.stdout
    assert "Traceback" not in ran.stdout
    assert cluster.jobs() == []
