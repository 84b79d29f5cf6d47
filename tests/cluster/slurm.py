"""A SLURM cluster of one node on this machine, with pretend GPUs.

Needs root and the packages that `make test-slurm` installs, but no systemd. What is started here is
ended here, by its own process id. SLURM finds the cluster in /etc/slurm, the one place that all of
its programs know, so a machine that has a cluster already is left alone.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket  # noqa: TID251 - this machine's name, and free ports
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

CONFIGURATION = Path("/etc/slurm")
LOCK = Path("/run/lock/gpt_math_domains_slurm.lock")
MARK = "# Written by tests/cluster/slurm.py; may be removed.\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODE = "node1"
CPUS = 8  # pretended; what runs at once is few
GPUS = 2
DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


class Cluster:
    """Munge, the controller and one node, in a `with` block.

    Raises:
        RuntimeError: the machine lacks what is needed, or has another cluster.
    """

    def __init__(self) -> None:
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        self._require()
        self._lock = LOCK.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError("these tests run on this machine already") from None
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.directory.chmod(0o755)  # munge refuses a socket that not everybody reaches
        try:
            self._configure()
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D", "-c")
            self.start_node()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._alive("slurmctld") and self._alive("slurmd"):
            self.cancel_all()
        for name in reversed(list(self._daemons)):
            self._end(name)
        for name in ("slurm.conf", "gres.conf"):
            path = CONFIGURATION / name
            if path.is_file() and path.read_text().startswith(MARK):
                path.unlink()
        self._environment.undo()
        shutil.rmtree(self.directory)
        self._lock.close()

    def start_node(self) -> None:
        """Start the node's daemon, and wait until the node takes jobs."""
        self._start("slurmd", "slurmd", "-D", "-N", NODE)
        wait_until(
            lambda: self.node_state() in ("idle", "mixed", "allocated"),
            f"the node to be up, see {self.directory}",
        )

    def kill_node(self) -> None:
        """Kill the node's daemon as a crash does; the jobs on the node live on."""
        self._daemons.pop("slurmd").kill()

    def node_state(self) -> str:
        """Return what the controller thinks of the node, such as `idle` or `down*`."""
        return output("sinfo", "--noheader", "--format=%T", "--partition=gpu").strip()

    def jobs(self, name: str | None = None, states: str = "") -> list[str]:
        """Return the ids of jobs that wait or run, oldest first.

        Args:
            name: of the jobs: the run id that Snakemake says.
            states: those to list instead, such as `pending` or `all`.
        """
        command = ["squeue", "--noheader", "--format=%i", "--sort=i"]
        command += [f"--name={name}"] if name else []
        command += [f"--states={states}"] if states else []
        return output(*command).split()

    def cancel_all(self) -> None:
        """Cancel what waits or runs, and wait until it is over."""
        if jobs := self.jobs():
            subprocess.run(["scancel", *jobs], check=False)
            wait_until(lambda: not self.jobs(), "the jobs to end")

    def job(self, number: str) -> dict[str, str]:
        """Return what the controller knows of a job: `JobState`, `Reason`, `GRES`, ..."""
        text = output("scontrol", "--details", "show", "job", number)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def said_of(self, number: str) -> str:
        """Return the lines of the daemons' logs that name a job."""
        names = (f"JobId={number}", f"job {number}", f"[{number}.")
        logs = [self.directory / f"{name}.log" for name in ("slurmctld", "slurmd")]
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return "\n".join(line for line in lines if any(name in line for name in names))

    def _require(self) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise RuntimeError(f"{', '.join(missing)}: not installed; run `make test-slurm`")
        if os.geteuid() != 0:
            raise RuntimeError("a SLURM cluster is started by root alone")
        for name in ("slurm.conf", "gres.conf"):
            path = CONFIGURATION / name
            if path.exists() and not path.read_text().startswith(MARK):
                raise RuntimeError(f"{path}: this machine has a cluster already, which is kept")

    def _configure(self) -> None:
        """Write the cluster's configuration and make its pretend GPUs."""
        for name in ("state", "spool", "devices"):
            (self.directory / name).mkdir()
        for number in range(GPUS):
            # Copies of /dev/null: SLURM counts devices only, and their numbers become CUDA's.
            null = os.makedev(1, 3)
            os.mknod(self.directory / "devices" / f"gpu{number}", 0o666 | 0o020000, null)
        CONFIGURATION.mkdir(exist_ok=True)
        (CONFIGURATION / "gres.conf").write_text(
            f"{MARK}NodeName={NODE} Name=gpu Type=pretend "
            f"File={self.directory}/devices/gpu[0-{GPUS - 1}] Flags=nvidia_gpu_env\n"
        )
        host = socket.gethostname().partition(".")[0]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        ports = free_ports(2)
        self._environment.setenv("SLURM_CONF", str(CONFIGURATION / "slurm.conf"))
        (CONFIGURATION / "slurm.conf").write_text(
            f"""{MARK}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={self.directory}/munge.socket
StateSaveLocation={self.directory}/state
SlurmdSpoolDir={self.directory}/spool
SlurmctldPidFile={self.directory}/slurmctld.pid
SlurmdPidFile={self.directory}/slurmd.pid
SlurmctldLogFile={self.directory}/slurmctld.log
SlurmdLogFile={self.directory}/slurmd.log
# No control groups, which containers rarely give away.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
MpiDefault=none
SlurmdParameters=config_overrides
# A job that takes more memory than it asked for is ended.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
DefMemPerCPU=500
# What can never run is refused at once.
EnforcePartLimits=ALL
JobRequeue=1
ReturnToService=2
SlurmdTimeout=10
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=20
MinJobAge=900
MailProg=/bin/true
NodeName={NODE} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={memory} \
Gres=gpu:pretend:{GPUS} State=UNKNOWN
PartitionName=cpu Nodes={NODE} Default=YES MaxTime=1440 State=UP
PartitionName=gpu Nodes={NODE} MaxTime=1440 State=UP
"""
        )

    def _start_munge(self) -> None:
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._start(
            "munged",
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            f"--socket={self.directory}/munge.socket",
            f"--pid-file={self.directory}/munged.pid",
            f"--log-file={self.directory}/munged.log",
            f"--seed-file={self.directory}/munge.seed",
        )
        wait_until((self.directory / "munge.socket").exists, "munge")

    def _start(self, name: str, *command: str) -> None:
        with (self.directory / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=_end_with_us
            )

    def _alive(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def _end(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(timeout=30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _end_with_us() -> None:
    """Have the kernel end this process when its parent dies, however it dies."""
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback device that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def output(*command: str) -> str:
    """Run a command that shall succeed; return what it says."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait for something that shall come about.

    Raises:
        AssertionError: it did not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} seconds for {what}"
        time.sleep(0.1)
