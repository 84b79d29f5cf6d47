"""One training job from input files to output files: pretraining or finetuning, all its seeds."""

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from gpt_math_domains.checkpoint import read_checkpoints, write_checkpoints
from gpt_math_domains.execution import make_executor, prepare_execution
from gpt_math_domains.manifest import check_manifest
from gpt_math_domains.memory import free_bytes, require_memory, training_bytes
from gpt_math_domains.metrics import (
    ACCURACY,
    errors_name,
    write_label_accuracy,
    write_metrics,
)
from gpt_math_domains.model import ModelSize, Parameters, initialize
from gpt_math_domains.progress import Progress
from gpt_math_domains.provenance import Record, cpu_name
from gpt_math_domains.state import resumable
from gpt_math_domains.stops import Stop
from gpt_math_domains.tables import LONGEST, read_equations, read_labels
from gpt_math_domains.tasks import DomainLabels, NextTokens, Task
from gpt_math_domains.training import (
    BatchOrder,
    Evaluation,
    Settings,
    build_stack,
    torch_generator,
    train,
)
from gpt_math_domains.vocabulary import Vocabulary, read_vocabulary

# Named precisions: type of parameters and states, and type of the blocks' matrix products.
PRECISIONS = {
    "fp32": (torch.float32, torch.float32),
    "tf32": (torch.float32, torch.float32),  # and products of rounded factors, on a GPU
    "bf16": (torch.float32, torch.bfloat16),
    "fp64": (torch.float64, torch.float64),
}
PRETRAINED = ("full", "frozen")  # protocols that start from a pretrained checkpoint
HEAD_ONLY = ("frozen", "random_frozen")  # protocols that train the head alone


@dataclass(frozen=True)
class Job:
    """What both phases need to know.

    Attributes:
        run: phase, data, model, domain and protocol; the last two None in pretraining.
        model: `num_layers`, `num_heads`, `d_model`.
        settings: the fields of `training.Settings`.
        seeds: in stack order.
        device: `auto`, `cpu` or `cuda`.
        precision: a key of `PRECISIONS`.
        execution: see `execution.prepare_execution`.
        threads: of the CPU.
        metrics_csv: to write.
        record: of the job, to write beside the metrics.
        checkpoints: directories to write, one for each seed.
        log: where progress is told in full.
        labels_csv: to write in finetuning: accuracy of each label.
    """

    run: Mapping[str, Any]
    model: Mapping[str, int]
    settings: Mapping[str, Any]
    seeds: Sequence[int]
    device: str
    precision: str
    execution: str
    threads: int
    metrics_csv: Path
    record: Record
    checkpoints: Sequence[Path]
    log: TextIO
    labels_csv: Path | None = None

    def size(self, vocabulary: Vocabulary) -> ModelSize:
        """Return the size of the run's models."""
        return ModelSize(**self.model, vocabulary_size=vocabulary.size, num_positions=LONGEST + 1)

    def initialize(self, size: ModelSize, num_labels: int | None = None) -> Parameters:
        """Draw the initial parameters of all seeds, on the CPU."""
        generators = [torch_generator(seed, "weights") for seed in self.seeds]
        return initialize(size, generators, num_labels, PRECISIONS[self.precision][0])

    def require_memory(self, size: ModelSize, examples: int, device: str) -> None:
        """Refuse a run that does not fit.

        Raises:
            ValueError: with the bytes that it needs and those that are free.
        """
        settings = Settings(**self.settings)
        needed = training_bytes(
            **asdict(size),
            seeds=len(self.seeds),
            batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            evaluations=settings.total_steps(examples) // settings.eval_steps,
            value_bytes=PRECISIONS[self.precision][0].itemsize,
        )
        free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_bytes()
        require_memory(
            needed,
            free,
            f"config: models.{self.run['model']} with {len(self.seeds)} seeds on {device}",
            "choose a smaller model, fewer seeds, smaller batches or fewer evaluations",
        )


def pretrain(
    job: Job, train_csv: Path, valid_csv: Path, vocabulary_json: Path, manifest_json: Path
) -> None:
    """Pretrain all seeds of a model on next tokens; write metrics and checkpoints.

    Args:
        job: what to train and where to write.
        train_csv: equations to train on.
        valid_csv: equations to judge by.
        vocabulary_json: their vocabulary.
        manifest_json: the checksums of these three.

    Raises:
        ValueError: an input file is malformed or was changed, `cuda` is asked for and not there, or
            the run does not fit in memory.
        FloatingPointError: the training diverged.
    """
    device = prepare_torch(job.device, job.threads, job.precision)
    dtype, _ = PRECISIONS[job.precision]
    check_manifest(manifest_json, train=train_csv, valid=valid_csv, vocabulary=vocabulary_json)
    vocabulary = read_vocabulary(vocabulary_json)
    size = job.size(vocabulary)
    tasks = []
    for path in (train_csv, valid_csv):
        equations = read_equations(path)
        with errors_name(path):
            tasks.append(NextTokens.of(equations, vocabulary, device, dtype))
    task, valid = tasks
    job.require_memory(size, len(task), device)
    with _trained(job, task, valid, size, job.initialize(size), device) as parameters:
        write_checkpoints(job.checkpoints, parameters, size, vocabulary)


def finetune(
    job: Job,
    train_csv: Path,
    valid_csv: Path,
    vocabulary_json: Path,
    manifest_json: Path,
    train_labels_csv: Path,
    valid_labels_csv: Path,
    pretrained: Sequence[Path],
) -> None:
    """Finetune all seeds of a model to tell domain labels; write metrics and checkpoints.

    The run's protocol decides where it starts (`full`, `frozen`: from the checkpoints; `scratch`,
    `random_frozen`: from random weights) and what may change (`frozen`, `random_frozen`: the head
    alone).

    Args:
        job: what to train and where to write.
        train_csv: equations to train on.
        valid_csv: equations to judge by.
        vocabulary_json: their vocabulary.
        manifest_json: the checksums of these three.
        train_labels_csv: labels of the equations to train on.
        valid_labels_csv: labels of the equations to judge by.
        pretrained: checkpoint directories, one for each seed; unused where the start is random.

    Raises:
        ValueError: an input file is malformed or was changed, `cuda` is asked for and not there, or
            the run does not fit in memory.
        FloatingPointError: the training diverged.
    """
    device = prepare_torch(job.device, job.threads, job.precision)
    dtype, _ = PRECISIONS[job.precision]
    check_manifest(manifest_json, train=train_csv, valid=valid_csv, vocabulary=vocabulary_json)
    vocabulary = read_vocabulary(vocabulary_json)
    size = job.size(vocabulary)
    tasks, columns = [], []
    for path, labels_path in ((train_csv, train_labels_csv), (valid_csv, valid_labels_csv)):
        equations = read_equations(path)
        names, labels = read_labels(labels_path)
        columns.append(names)
        with errors_name(f"{path} and {labels_path}"):
            tasks.append(DomainLabels.of(equations, labels, vocabulary, device, dtype))
    if columns[0] != columns[1]:
        raise ValueError(f"{valid_labels_csv}: has the labels {columns[1]}, not {columns[0]}")
    task, valid = tasks
    job.require_memory(size, len(task), device)
    parameters = job.initialize(size, len(names))
    if job.run["protocol"] in PRETRAINED:
        loaded, loaded_size = read_checkpoints(pretrained)
        if loaded_size != size:
            raise ValueError(f"{pretrained[0]}: holds {loaded_size}, but the run asks for {size}")
        parameters |= {name: value.to(dtype) for name, value in loaded.items()}
    with _trained(job, task, valid, size, parameters, device, names) as parameters:
        write_checkpoints(job.checkpoints, parameters, size, vocabulary, names)


def checkpoint_directories(files: Sequence[str]) -> list[Path]:
    """Return the directories that hold checkpoint files, in the order of the files."""
    return list(dict.fromkeys(Path(file).parent for file in files))


def prepare_torch(device: str, threads: int, precision: str = "fp32") -> str:
    """Make torch deterministic and return the device to train on, `cpu` or `cuda`.

    Raises:
        ValueError: `cuda` or `tf32` is asked for and not there.
    """
    _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for the same on CUDA
    torch.use_deterministic_algorithms(True)
    # Every tensor here is written before it is read; filling them first takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("config: device = 'cuda': no CUDA device is here; use auto or cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "tf32" and device == "cpu":
        raise ValueError("config: precision = 'tf32': only a GPU has it; use fp32 or bf16")
    torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    return device


def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 numbers itself; a CPU may only emulate that, slowly."""
    return device == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one, where it is glibc.

    Otherwise it goes back to the system and comes back cleared: some 6% of a step of model 6. And
    small pieces kept in bins of their own would be collected again for each large tensor that is
    freed: 2 to 5% of a step of model 2 in bf16.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        trim_threshold, mmap_threshold, fast_bins = -1, -3, 1  # the numbers of malloc.h
        library.mallopt(mmap_threshold, 32 * 2**20)  # the most that it takes
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(fast_bins, 0)


@contextmanager
def _trained(
    job: Job,
    task: Task,
    valid: Task,
    size: ModelSize,
    parameters: Parameters,
    device: str,
    labels: Sequence[str] = (),
) -> Iterator[Parameters]:
    """Train to the end, from where an earlier attempt got to; write the metrics.

    The block gets the trained parameters and publishes them; then the resume state goes.
    """
    phase, settings = job.run["phase"], Settings(**job.settings)
    stack = build_stack(
        task,
        size,
        {name: value.to(device) for name, value in parameters.items()},
        settings,
        [torch_generator(seed, f"{phase} dropout", device) for seed in job.seeds],
        head_only=job.run["protocol"] in HEAD_ONLY,
        products=PRECISIONS[job.precision][1],
    )
    order = BatchOrder(len(task), settings, job.seeds, device)
    total_steps = settings.total_steps(len(task))
    progress = Progress(job.run, ACCURACY[phase], total_steps, job.log)
    progress.note(f"{len(task):,} training examples, seeds {list(job.seeds)}, on {device}")
    if job.precision == "bf16" and not has_bf16(device):
        progress.note("this processor has no bf16 arithmetic: fp32 would be many times as fast")
    directory = Path(job.metrics_csv).parent / "resume"
    with ExitStack() as until_done:
        stop = until_done.enter_context(Stop(progress.note))
        execution = prepare_execution(job.execution, stack, order, settings, progress.note)
        identity = _identity(job, execution, device)
        resume = until_done.enter_context(
            resumable(directory, identity, stack, stop, progress.note)
        )
        if resume.start.step > 0:
            progress.resumed(resume.start.step)
        progress.tell_in(directory, job.seeds, resume.start.step, resume.evaluations)
        executor = make_executor(execution, stack, order, settings)

        def heartbeat(step: int) -> None:
            progress.heartbeat(step)
            resume.heartbeat(step)

        for evaluation in train(stack, valid, order, settings, executor, heartbeat, resume.start):
            progress.evaluation(evaluation)
            resume.evaluated(evaluation, is_last=evaluation.step == total_steps)
        rows = [row for evaluation in resume.evaluations for row in _metric_rows(job, evaluation)]
        write_metrics(rows, phase, job.metrics_csv)
        if job.labels_csv is not None:
            rows = [row for e in resume.evaluations for row in _label_rows(job, e, labels)]
            write_label_accuracy(rows, job.labels_csv)
        _write_record(job, device, execution, resume.resumes)
        yield stack.parameters
        resume.clear()


def _identity(job: Job, execution: str, device: str) -> dict[str, object]:
    """Return what decides the bits of a run, by name: only the same may go on from a state."""
    parts: dict[str, Mapping[str, Any]] = {
        "run": job.run,
        "model": job.model,
        "settings": job.settings,
        "input": job.record.inputs,
    }
    named = {f"{part}.{key}": parts[part][key] for part in parts for key in parts[part]}
    return named | {
        "seeds": list(job.seeds),
        "device": device,
        "precision": job.precision,
        "execution": execution,
        "threads": job.threads,
        "code": job.record.code,
        "torch": torch.__version__,
    }


def _metric_rows(job: Job, evaluation: Evaluation) -> Iterator[dict[str, object]]:
    """Yield the rows of the metrics table that an evaluation makes, one for each seed."""
    for place, seed in enumerate(job.seeds):
        yield {
            **job.run,
            "seed": seed,
            "step": evaluation.step,
            "epoch": evaluation.epoch,
            "learning_rate": evaluation.learning_rate,
            "train_loss": evaluation.train_loss[place],
            "eval_loss": evaluation.eval_loss[place],
            ACCURACY[job.run["phase"]]: evaluation.accuracy[place],
            "seconds": evaluation.seconds,
        }


def _label_rows(
    job: Job, evaluation: Evaluation, labels: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Yield the accuracies of an evaluation, one row for each seed and label."""
    for seed, accuracies in zip(job.seeds, evaluation.label_accuracy, strict=True):
        for label, accuracy in zip(labels, accuracies, strict=True):
            measured = {"label": label, "accuracy": accuracy}
            yield {**job.run, "seed": seed, "step": evaluation.step, **measured}


def _write_record(job: Job, device: str, execution: str, resumes: int) -> None:
    """Write what was trained, and on what."""
    job.record.write(
        resumes=resumes,
        run=job.run,
        model=job.model,
        settings=job.settings,
        seeds=job.seeds,
        device=torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        precision=job.precision,
        execution=execution,
        threads=job.threads,
    )
