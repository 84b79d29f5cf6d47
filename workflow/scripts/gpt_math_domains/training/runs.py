"""One training job from input files to output files: pretraining or finetuning, all its seeds."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.backends.cpu import get_cpu_capability

from gpt_math_domains.data.families import Parts, families_of, is_mirrored, parts_of
from gpt_math_domains.data.manifest import check_labelled, check_manifest
from gpt_math_domains.data.tables import read_equations, read_labels
from gpt_math_domains.data.vocabulary import POSITIONS, Vocabulary, read_vocabulary
from gpt_math_domains.files import errors_name, sha256
from gpt_math_domains.jobs.memory import free_bytes, require_memory, training_bytes
from gpt_math_domains.jobs.progress import Progress
from gpt_math_domains.jobs.record import Record, cpu_name
from gpt_math_domains.jobs.stops import Stop
from gpt_math_domains.results.metrics import write_metrics, write_parts
from gpt_math_domains.run import (
    ACCURACY,
    CONFIG,
    EMBEDDING,
    PROTOCOLS,
    STEP,
    WEIGHTS,
    ModelSize,
    Settings,
    checkpoint_steps,
)
from gpt_math_domains.training.checkpoint import read_checkpoints, write_checkpoints
from gpt_math_domains.training.device import PRECISIONS, has_bf16, prepare_torch
from gpt_math_domains.training.execution import make_executor, prepare_execution
from gpt_math_domains.training.model import Parameters, initialize
from gpt_math_domains.training.resume import resumable
from gpt_math_domains.training.stack import BatchOrder, Judge, build_stack, torch_generator, train
from gpt_math_domains.training.tasks import DomainLabels, NextTokens, Task


@dataclass(frozen=True)
class Job:
    """What both phases need to know.

    Attributes:
        run: phase, data, model, domain and protocol; the last two None in pretraining.
        model: the fields of `run.ModelSize` that do not follow from the data.
        settings: the fields of `run.Settings`.
        seeds: in stack order.
        pretrain_seeds: of the checkpoints that they start from; none where the start is random.
        device: `auto`, `cpu` or `cuda`.
        precision: a key of `PRECISIONS`.
        execution: see `execution.prepare_execution`.
        threads: of the CPU.
        metrics_csv: to write.
        parts_csv: to write: accuracy of each label, in pretraining of each family.
        record: of the job, to write beside the metrics.
        checkpoints: directories to write, one for each seed.
        log: where progress is told in full.
        point: of the grid, as in `run.DIRECTORIES`.
    """

    run: Mapping[str, Any]
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    seeds: Sequence[int]
    pretrain_seeds: Sequence[int]
    device: str
    precision: str
    execution: str
    threads: int
    metrics_csv: Path
    parts_csv: Path
    record: Record
    checkpoints: Sequence[Path]
    log: TextIO
    point: str = ""

    def size(self, vocabulary: Vocabulary) -> ModelSize:
        """Return the size of the run's models."""
        return ModelSize(**self.model, vocabulary_size=vocabulary.size, num_positions=POSITIONS)

    def initialize(self, size: ModelSize, num_labels: int | None = None) -> Parameters:
        """Draw the initial parameters of all seeds, on the CPU."""
        generators = [torch_generator(seed, "weights") for seed in self.seeds]
        return initialize(size, generators, num_labels, PRECISIONS[self.precision][0])

    def judge(
        self, tasks: Sequence[Task], parts: Sequence[Parts], told: NDArray[np.bool_]
    ) -> Judge:
        """Return what evaluates the run.

        Args:
            tasks: the training and the validation examples.
            parts: of the equations of both.
            told: `[n, P]` groups of the validation examples that are told of.
        """
        train, valid = tasks
        count = len(train)
        rows = min(Settings(**self.settings).train_eval_rows or count, count)
        return Judge(
            valid=valid,
            mirrored=torch.from_numpy(is_mirrored(parts[1], parts[0])),
            parts=torch.from_numpy(told),
            # Spread over the whole file, in which families stand one after the other.
            sample=(torch.arange(rows) * count // rows).to(train.device),
        )

    def require_memory(self, size: ModelSize, examples: int, device: str) -> None:
        """Refuse a run that does not fit.

        Raises:
            ValueError: with the bytes that it needs and those that are free.
        """
        settings = Settings(**self.settings)
        needed = training_bytes(
            parameters=size.parameters(),
            num_layers=size.num_layers,
            num_heads=size.num_heads,
            d_model=size.d_model,
            num_positions=size.num_positions,
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


def pretrain_model(
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
    tasks, parts = [], []
    for path in (train_csv, valid_csv):
        equations = read_equations(path)
        with errors_name(path):
            tasks.append(NextTokens.of(equations, vocabulary, device, dtype))
            parts.append(parts_of(equations, vocabulary))
    families, members = families_of(parts[1])
    judge = job.judge(tasks, parts, members)
    job.require_memory(size, len(tasks[0]), device)

    def publish(directories: Sequence[Path], parameters: Parameters) -> None:
        write_checkpoints(directories, parameters, size, vocabulary)

    _train(job, tasks[0], judge, families, size, job.initialize(size), device, publish)


def finetune_model(
    job: Job,
    train_csv: Path,
    valid_csv: Path,
    vocabulary_json: Path,
    manifest_json: Path,
    train_labels_csv: Path,
    valid_labels_csv: Path,
    labels_manifest_json: Path,
    pretrained: Sequence[Path],
    pretrained_vocabulary: Sequence[Path],
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
        labels_manifest_json: the checksums of these two, and of the equations that they are of.
        pretrained: checkpoint directories, one for each seed; unused where the start is random.
        pretrained_vocabulary: the one vocabulary of these, perhaps of another data version.

    Raises:
        ValueError: an input file is malformed or was changed, `cuda` is asked for and not there, or
            the run does not fit in memory.
        FloatingPointError: the training diverged.
    """
    device = prepare_torch(job.device, job.threads, job.precision)
    dtype, _ = PRECISIONS[job.precision]
    check_manifest(manifest_json, train=train_csv, valid=valid_csv, vocabulary=vocabulary_json)
    check_manifest(labels_manifest_json, train=train_labels_csv, valid=valid_labels_csv)
    check_labelled(labels_manifest_json, train=train_csv, valid=valid_csv)
    vocabulary = read_vocabulary(vocabulary_json)
    size = job.size(vocabulary)
    tasks, parts, columns = [], [], []
    for path, labels_path in ((train_csv, train_labels_csv), (valid_csv, valid_labels_csv)):
        equations = read_equations(path)
        names, labels = read_labels(labels_path)
        columns.append(names)
        with errors_name(f"{path} and {labels_path}"):
            tasks.append(DomainLabels.of(equations, labels, vocabulary, device, dtype))
            parts.append(parts_of(equations, vocabulary))
    if columns[0] != columns[1]:
        raise ValueError(f"{valid_labels_csv}: has the labels {columns[1]}, not {columns[0]}")
    judge = job.judge(tasks, parts, np.ones((len(parts[1]), 1), dtype=np.bool_))
    kinds = [{"label": name} for name in names]
    job.require_memory(size, len(tasks[0]), device)
    parameters = job.initialize(size, len(names))
    new_symbols: list[str] = []
    if PROTOCOLS[job.run["protocol"]].pretrained:
        source = read_vocabulary(pretrained_vocabulary[0])
        loaded, loaded_size = read_checkpoints(pretrained)
        if loaded_size != replace(size, vocabulary_size=source.size):
            raise ValueError(f"{pretrained[0]}: holds {loaded_size}, but the run asks for {size}")
        loaded = {name: value.to(dtype) for name, value in loaded.items() if name in parameters}
        loaded[EMBEDDING], new_symbols = carried_over(
            loaded[EMBEDDING], source, parameters[EMBEDDING], vocabulary
        )
        parameters |= loaded

    def publish(directories: Sequence[Path], parameters: Parameters) -> None:
        write_checkpoints(directories, parameters, size, vocabulary, names)

    facts = {"new_symbols": new_symbols}
    _train(job, tasks[0], judge, kinds, size, parameters, device, publish, facts)


def carried_over(
    embedding: Tensor, source: Vocabulary, start: Tensor, vocabulary: Vocabulary
) -> tuple[Tensor, list[str]]:
    """Return the embedding `[R, V, D]` of a vocabulary from that of another, symbol by symbol.

    Args:
        embedding: `[R, V, D]` of the source.
        source: the vocabulary that it is of.
        start: `[R, V, D]` where symbols start that the source does not have.
        vocabulary: of the result.

    Returns:
        The embedding, and the symbols that the source does not have.
    """
    known = {symbol: place for place, symbol in enumerate(source.symbols)}
    carried = start.clone()
    for place, symbol in enumerate(vocabulary.symbols):
        if symbol in known:
            carried[:, place] = embedding[:, known[symbol]]
    return carried, [symbol for symbol in vocabulary.symbols if symbol not in known]


def checkpoint_directories(files: Sequence[str]) -> list[Path]:
    """Return the directories of checkpoint files, in their order; one may stand there twice."""
    return [Path(file).parent for file in files if Path(file).name == CONFIG]


def _train(
    job: Job,
    task: Task,
    judge: Judge,
    parts: Sequence[Mapping[str, Any]],
    size: ModelSize,
    parameters: Parameters,
    device: str,
    publish: Callable[[Sequence[Path], Parameters], None],
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Train to the end, from where an earlier attempt got to; write all that a run leaves.

    `publish` writes parameters as checkpoints into directories, one for each seed; the record tells
    `facts` too. Once all is written, the resume state goes.
    """
    phase, settings = job.run["phase"], Settings(**job.settings)
    stack = build_stack(
        task,
        size,
        {name: value.to(device) for name, value in parameters.items()},
        settings,
        [torch_generator(seed, f"{phase} dropout", device) for seed in job.seeds],
        head_only=phase == "finetune" and PROTOCOLS[job.run["protocol"]].head_only,
        products=PRECISIONS[job.precision][1],
    )
    order = BatchOrder(len(task), settings, job.seeds, device)
    total_steps = settings.total_steps(len(task))
    progress = Progress({**job.run, "point": job.point}, ACCURACY[phase], total_steps, job.log)
    progress.detail(f"{len(task):,} training examples, seeds {list(job.seeds)}, on {device}")
    if job.precision == "bf16" and not has_bf16(device):
        progress.note("this processor has no bf16 arithmetic: fp32 would be many times as fast")
    directory = Path(job.metrics_csv).parent / "resume"
    with ExitStack() as until_done:
        stop = until_done.enter_context(Stop(progress.note))
        execution = prepare_execution(job.execution, stack, order, settings, progress.note)
        if stop.reason:  # it may have reached the compiler too: eager steps are not what was asked
            stop.leave("nothing more was trained")
        progress.detail(f"executor {execution}")
        identity = _identity(job, execution, device)
        resume = until_done.enter_context(
            resumable(directory, identity, stack, len(parts), stop, progress.note)
        )
        if resume.start.step > 0:
            progress.note(f"resumed at step {resume.start.step:,}")
        executor = make_executor(execution, stack, order, settings)

        kept = checkpoint_steps(total_steps, settings.checkpoints)
        if kept:
            needed = len(kept) * sum(value.nbytes for value in stack.parameters.values())
            free = shutil.disk_usage(directory).free
            progress.note(
                f"keeps checkpoints of {len(kept)} steps: {needed / 1e6:,.0f} MB of the "
                f"{free / 1e6:,.0f} MB that are free"
            )
        _remove_checkpoints(job.checkpoints, resume.start.step)

        def heartbeat(step: int) -> None:
            progress.heartbeat(step)
            resume.heartbeat(step)

        def keep_weights(step: int) -> None:
            resume.require_alone()
            publish([path / STEP.format(step=step) for path in job.checkpoints], stack.parameters)

        progress.begin(resume.start.step)
        progress.tell_in(directory, job.seeds, resume.start.step, resume.evaluations)
        for evaluation in train(
            stack, judge, order, settings, executor, heartbeat, resume.start, keep_weights
        ):
            progress.evaluation(evaluation)
            resume.evaluated(evaluation, is_last=evaluation.step == total_steps)
        resume.require_alone()
        done = resume.evaluations
        rows = [row for evaluation in done for row in evaluation.rows(job.run, job.seeds)]
        write_metrics(rows, phase, job.metrics_csv)
        rows = [row for e in done for row in e.part_rows(job.run, job.seeds, parts)]
        write_parts(rows, phase, job.parts_csv)
        publish(job.checkpoints, stack.parameters)
        told = {
            "tables": {Path(path).name: sha256(path) for path in (job.metrics_csv, job.parts_csv)},
            "weights": _checksums(directory.parent, job.checkpoints),
            "checkpoints": _checksums(
                directory.parent,
                [path / STEP.format(step=step) for path in job.checkpoints for step in kept],
            ),
        }
        _write_record(job, device, execution, resume.resumes, told | dict(facts or {}))
        resume.clear()


def _checksums(run: Path, checkpoints: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of what models are, by their paths below a run's directory."""
    files = [directory / name for directory in checkpoints for name in (CONFIG, WEIGHTS)]
    return {str(file.relative_to(run)): sha256(file) for file in files}


def _remove_checkpoints(directories: Sequence[Path], step: int) -> None:
    """Remove the checkpoints after a step, which an earlier run left."""
    for directory in directories:
        for path in directory.glob(STEP.format(step="*")):
            number = path.name.removeprefix(STEP.format(step=""))
            if number.isdecimal() and int(number) >= step:
                shutil.rmtree(path)


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
        "pretrain_seeds": list(job.pretrain_seeds),
        "device": device,
        "precision": job.precision,
        "execution": execution,
        "threads": job.threads,
        "processor": _processor(device),
        "code": job.record.code,
        "torch": torch.__version__,
    }


def _processor(device: str) -> str:
    """Return the kind of processor that decides the bits: a GPU's name, else what a CPU can do."""
    return torch.cuda.get_device_name() if device == "cuda" else get_cpu_capability()


def _write_record(
    job: Job,
    device: str,
    execution: str,
    resumes: int,
    facts: Mapping[str, Any],
) -> None:
    """Write what was trained, and on what."""
    job.record.write(
        resumes=resumes,
        run=job.run,
        point=job.point,
        model=job.model,
        settings=job.settings,
        seeds=job.seeds,
        pretrain_seeds=job.pretrain_seeds,
        device=torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        processor=_processor(device),
        precision=job.precision,
        execution=execution,
        threads=job.threads,
        **facts,
    )
