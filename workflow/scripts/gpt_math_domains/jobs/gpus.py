"""Which GPU a training takes: one that no other training on this machine holds.

To be asked before torch is imported. A lease is a lock on an empty file, so it ends with the
process, however that ends. The files are in /tmp, since all studies and users of a machine share
its GPUs. On a cluster, the scheduler hands out GPUs: a job that got one takes it, and where a job
got several, leases count inside the job.
"""

import fcntl
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gpt_math_domains.jobs.logs import notes, say
from gpt_math_domains.jobs.stops import Stop

VISIBLE = "CUDA_VISIBLE_DEVICES"
JOB = "SLURM_JOB_ID"
# Not $TMPDIR: a machine's studies must look in the same place.
LOCKS = Path("/tmp")  # noqa: S108 - no link there is followed
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Gpu:
    """A device that a training may take.

    Attributes:
        entry: what CUDA_VISIBLE_DEVICES calls it.
        key: what no other device of the machine is called.
    """

    entry: str
    key: str


def visible_gpus(devices: Path = Path("/dev")) -> list[Gpu]:
    """Return the GPUs that this process may use, none where there is no NVIDIA driver.

    If CUDA_VISIBLE_DEVICES is set, its entries are passed on as they are, be they indices, UUIDs or
    the names of MIG devices. Else all devices are told by UUID, and each MIG device of a divided
    GPU is one; where there is no `nvidia-smi`, device nodes are counted.

    Args:
        devices: directory of the device nodes.
    """
    listed = _listed_by_nvidia_smi()
    chosen = os.environ.get(VISIBLE)
    if chosen is not None:
        return [Gpu(entry, _key(entry, listed)) for entry in _entries(chosen)]
    if listed:
        return [Gpu(uuid, uuid) for parts in listed for uuid in parts]
    nodes = [int(path.name[6:]) for path in devices.glob("nvidia[0-9]*") if path.name[6:].isdigit()]
    # In a container, the only device may be node 3, which CUDA counts as 0.
    return [Gpu(str(index), f"nvidia{node}") for index, node in enumerate(sorted(nodes))]


def _listed_by_nvidia_smi() -> list[list[str]]:
    """Return for each GPU its UUID, or those of its MIG devices; nothing if it cannot be asked."""
    try:
        ran = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
        )
    except OSError:
        return []
    whole: list[str] = []
    parts: list[list[str]] = []
    if ran.returncode == 0:
        pattern = r"^ *(GPU|MIG) .*\(UUID: ([^)]+)\)$"
        for kind, uuid in re.findall(pattern, ran.stdout, re.MULTILINE):
            if kind == "GPU":
                whole.append(uuid)
                parts.append([])
            else:
                parts[-1].append(uuid)
    return [inside or [uuid] for uuid, inside in zip(whole, parts, strict=True)]


def _entries(chosen: str) -> Iterator[str]:
    """Yield the entries of CUDA_VISIBLE_DEVICES, as CUDA does: up to the first that is none."""
    for entry in map(str.strip, chosen.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", entry):
            return
        yield entry


def _key(entry: str, listed: Sequence[Sequence[str]]) -> str:
    """Return the UUID of the device that an entry means, as far as that is known.

    An index is taken as `nvidia-smi` counts, which on machines with different GPUs is what CUDA
    does only under CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if entry.isdigit():
        return listed[int(entry)][0] if int(entry) < len(listed) else entry
    # CUDA takes the beginning of a UUID too.
    found = [uuid for parts in listed for uuid in parts if uuid.startswith(entry)]
    return found[0] if len(found) == 1 else entry


@contextmanager
def leased_gpu(device: str, slots: int, log: TextIO, locks: Path = LOCKS) -> Iterator[None]:
    """Show this process one GPU, and hold it; wait if all are taken.

    Without a GPU, or on `cpu`, there is nothing to hold and all stays as it is.

    Args:
        device: to train on, as configured: `auto`, `cpu` or `cuda`.
        slots: trainings that share a GPU; with 1, this one has its GPU for itself.
        log: of the job, told what is taken or waited for.
        locks: directory of the lock files.

    Raises:
        OSError: the lock files cannot be written.
        SystemExit: the job is asked to stop while it waits.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if not gpus:
        yield
        return

    def note(text: str) -> None:
        say(f"{time.strftime('%H:%M:%S')}  {text}", log)

    if JOB in os.environ and len(gpus) == 1:
        note(f"takes GPU {gpus[0].entry}")
        yield
        return
    with ExitStack() as held:
        with Stop(note) as stop:
            told = False
            while (gpu := _take(gpus, slots, locks, held)) is None:
                if stop.reason:
                    stop.leave("no GPU was free yet")
                if not told:
                    each = "" if slots == 1 else f", {slots} trainings on each"
                    notes(log)(f"waits for a GPU: all {len(gpus)} are taken{each}")
                    told = True
                time.sleep(RETRY_SECONDS)
        os.environ[VISIBLE] = gpu.entry
        note(f"takes GPU {gpu.entry}")
        yield


def _take(gpus: Sequence[Gpu], slots: int, locks: Path, held: ExitStack) -> Gpu | None:
    """Return a GPU with a free slot, the emptiest first, or None; `held` then holds its locks.

    Who shares a GPU holds a shared lock on it, so that who wants it alone waits.
    """
    job = os.environ.get(JOB, "")
    for slot in range(slots):
        for gpu in gpus:
            name = "_".join(["gpt_math_domains", *([job] if job else []), gpu.key])
            name = re.sub(r"[^\w-]", "_", name)
            with ExitStack() as trial:
                if slots == 1:
                    taken = _lock(locks / f"{name}.lock", fcntl.LOCK_EX, trial)
                else:
                    taken = _lock(locks / f"{name}.lock", fcntl.LOCK_SH, trial) and _lock(
                        locks / f"{name}.{slot}.lock", fcntl.LOCK_EX, trial
                    )
                if taken:
                    held.push(trial.pop_all())
                    return gpu
    return None


def _lock(path: Path, kind: int, held: ExitStack) -> bool:
    """Tell whether a lock of this kind could be had; `held` then holds it.

    Raises:
        OSError: the file is neither there nor can it be made, or it is a link.
    """
    # Anybody may write into /tmp: nothing is followed, and nothing is written. No child of this
    # process shall hold the lock after it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)  # another user's file may be opened, but not with O_CREAT
    except FileNotFoundError:
        try:
            handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:  # somebody was faster
            return False
        os.fchmod(handle, 0o644)  # whatever the umask
    held.callback(os.close, handle)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        # Old files in /tmp are removed now and then: a lock on such a one protects nothing.
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
