"""Training a stack of seeds: the step, the schedule, the batch order and the evaluations.

The step and its settings are those of `transformers.Trainer`: AdamW without decay on biases and
LayerNorm, linear warmup from 0 then linear decay to 0, gradients clipped to norm 1. Each seed has
its own loss, clipping, dropout and batch order; the seeds never meet.

Shape letters: R seeds, B rows of a step.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gpt_math_domains.model import (
    EMBEDDING,
    HEAD,
    ModelSize,
    Parameters,
    dropout_values,
    is_layer_norm,
)
from gpt_math_domains.tasks import Task

DROPOUT = 0.1  # GPT-2's default
CLIP_NORM = 1.0
EARLY_EVALUATIONS = [2**power for power in range(10)]  # 1 .. 512
EVALUATION_ROWS = {"cpu": 128, "cuda": 16384}  # judged at once, over all seeds: fits the cache


@dataclass(frozen=True)
class Settings:
    """How one run trains; names and meanings as in `config/README.md`."""

    num_train_epochs: int
    eval_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gradient_accumulation_steps: int
    num_warmup_steps: int
    shuffle: bool

    @property
    def step_rows(self) -> int:
        """Rows in an optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps

    def steps_per_epoch(self, examples: int) -> int:
        """Return the optimizer steps in an epoch; a short last one counts."""
        return -(-examples // self.step_rows)

    def total_steps(self, examples: int) -> int:
        """Return the optimizer steps of the run."""
        return self.num_train_epochs * self.steps_per_epoch(examples)


@dataclass(frozen=True)
class Evaluation:
    """The state of a run after `step` optimizer steps; lists have one value per seed."""

    step: int
    epoch: float
    learning_rate: float
    train_loss: list[float]
    eval_loss: list[float]
    accuracy: list[float]
    seconds: float


def random_stream(seed: int, purpose: str, *more: int) -> np.random.SeedSequence:
    """Return the source of random numbers of one seed for one purpose."""
    return np.random.SeedSequence([seed, *purpose.encode(), *more])


def torch_generator(seed: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """Return a generator on `device`, seeded from `random_stream`."""
    state = random_stream(seed, purpose).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def learning_rate(step: int, total_steps: int, settings: Settings) -> float:
    """Return the learning rate of optimizer step `step` (from 1), as `Trainer`'s linear schedule.

    The first step of a warmup has rate 0.
    """
    done, warmup = step - 1, settings.num_warmup_steps
    if done < warmup:
        return settings.learning_rate * done / warmup
    return settings.learning_rate * max(0, total_steps - done) / max(1, total_steps - warmup)


def evaluation_steps(total_steps: int, eval_steps: int) -> list[int]:
    """Return the steps after which a run is evaluated: regular, early and the last."""
    regular = range(eval_steps, total_steps + 1, eval_steps)
    early = [step for step in EARLY_EVALUATIONS if step <= total_steps]
    return sorted({*regular, *early, total_steps})


class StackedDropout:
    """Dropout for R seeds; the masks of a pass are drawn at once, each seed's from its generator.

    A value is dropped if a random 16-bit number is below a threshold; drawing four of them as one
    64-bit number is several times as fast as drawing floats, and rounds the rate to 1 / 65,536.

    Args:
        rate: share of values that are dropped.
        values: mask values of one seed that a forward pass asks for (`model.dropout_values`).
        generators: one for each seed, on `device`.
        dtype: type of the states.
        device: where the states are.
    """

    def __init__(
        self,
        rate: float,
        values: int,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype,
        device: str,
    ) -> None:
        self.generators = generators
        self._dropped = round(rate * 2**16)
        self._numbers = torch.empty(
            len(generators), -(-values // 4), dtype=torch.int64, device=device
        )
        self._masks = torch.empty(
            len(generators), 4 * self._numbers.shape[1], dtype=dtype, device=device
        )
        self._used = 0

    def draw(self) -> None:
        """Draw the masks of the next forward pass."""
        for numbers, generator in zip(self._numbers, self.generators, strict=True):
            numbers.random_(-(2**63), None, generator=generator)
        torch.ge(self._numbers.view(torch.int16), self._dropped - 2**15, out=self._masks)
        self._masks.mul_(2**16 / (2**16 - self._dropped))
        self._used = 0

    def mask(self, shape: Sequence[int]) -> Tensor:
        """Return the next unused part of the masks in a shape `[R, ...]`."""
        first, self._used = self._used, self._used + math.prod(shape[1:])
        return self._masks[:, first : self._used].view(shape)


class BatchOrder:
    """Which examples each step takes: a pure function of seed and epoch.

    Args:
        examples: number of training examples; this index is the filler row.
        settings: of the run.
        seeds: the seeds, in stack order.
        device: where the row numbers are wanted.
    """

    def __init__(
        self, examples: int, settings: Settings, seeds: Sequence[int], device: str
    ) -> None:
        self.examples = examples
        self.settings = settings
        self.seeds = seeds
        self.device = device
        self.steps_per_epoch = settings.steps_per_epoch(examples)
        self._epoch = -1
        self._table = torch.empty(0)

    def rows(self, step: int) -> Tensor:
        """Return the rows `[R, B]` of optimizer step `step` (from 1)."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        if epoch != self._epoch and (self.settings.shuffle or self._epoch < 0):
            self._table = self._epoch_table(epoch)
        self._epoch = epoch
        return self._table[place]

    def _epoch_table(self, epoch: int) -> Tensor:
        """Return an epoch's rows `[steps, R, B]`, the last step filled up with the filler."""
        shape = len(self.seeds), self.steps_per_epoch * self.settings.step_rows
        table = np.full(shape, self.examples)
        for row, seed in zip(table, self.seeds, strict=True):
            row[: self.examples] = self._permutation(seed, epoch)
        steps = table.reshape(len(self.seeds), self.steps_per_epoch, self.settings.step_rows)
        return torch.from_numpy(steps.swapaxes(0, 1).copy()).to(self.device)

    def _permutation(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        if not self.settings.shuffle:
            return np.arange(self.examples)
        stream = random_stream(seed, "order", epoch)
        return np.random.default_rng(stream).permutation(self.examples)


@dataclass
class Stack:
    """All seeds of a run, ready to train.

    Attributes:
        task: the training examples.
        size: of each model.
        parameters: `[R, ...]` each, on the task's device.
        gradients: `[R, ...]` of each parameter that may change.
        buffers: the trained parameters as tensors `[R, ...]`, one with and one without decay; their
            `grad` holds `gradients`. The optimizer and clipping see only these.
        optimizer: over `buffers`.
        rate: the learning rate of the next step, a tensor of no dimension.
        dropout: of this run.
        loss_sum: `[R]` losses of all steps since somebody set it to 0.
        batch_size: rows of one forward pass.
    """

    task: Task
    size: ModelSize
    parameters: Parameters
    gradients: Parameters
    buffers: list[Tensor]
    optimizer: torch.optim.Optimizer
    rate: Tensor
    dropout: StackedDropout
    loss_sum: Tensor
    batch_size: int

    def differentiate(self, rows: Tensor, terms: Tensor) -> Tensor:
        """Write the gradients of a batch with fresh dropout; return its losses, `[R]`."""
        return self.task.differentiate(
            self.parameters, self.gradients, self.size, rows, terms, self.dropout
        )

    def buffer_gradients(self) -> list[Tensor]:
        """Return the gradients `[R, n]` of the buffers."""
        return [buffer.grad for buffer in self.buffers if buffer.grad is not None]


def build_stack(
    task: Task,
    size: ModelSize,
    parameters: Parameters,
    settings: Settings,
    generators: Sequence[torch.Generator],
    *,
    head_only: bool = False,
    dropout: float = DROPOUT,
) -> Stack:
    """Make a stack that starts from parameters `[R, ...]`.

    Args:
        task: the training examples.
        size: of each model.
        parameters: of all seeds, on the task's device; copied.
        settings: of the run.
        generators: of the dropout masks, one for each seed, on the task's device.
        head_only: leave everything but the classification head as it is.
        dropout: share of values dropped.
    """
    parameters, gradients = dict(parameters), Parameters()
    buffers, groups = [], []
    trained = [name for name in parameters if not head_only or name == HEAD]
    for decaying, weight_decay in ((True, settings.weight_decay), (False, 0.0)):
        names = [name for name in trained if decays(name) == decaying]
        if names:
            buffer = torch.cat([parameters[name].flatten(1) for name in names], dim=1)
            buffer.grad = torch.zeros_like(buffer)
            buffers.append(buffer)
            groups.append({"params": [buffer], "weight_decay": weight_decay})
            shapes = {name: parameters[name].shape for name in names}
            parameters |= _views(buffer, shapes)
            gradients |= _views(buffer.grad, shapes)
    embedding = parameters[EMBEDDING]
    masks = StackedDropout(
        dropout,
        dropout_values(size, settings.batch_size),
        generators,
        embedding.dtype,
        str(embedding.device),
    )
    # Tensors rather than numbers, so that a captured step reads the current values.
    rate = torch.zeros((), dtype=torch.float64, device=embedding.device)
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True, capturable=embedding.is_cuda)
    return Stack(
        task=task,
        size=size,
        parameters=parameters,
        gradients=gradients,
        buffers=buffers,
        optimizer=optimizer,
        rate=rate,
        dropout=masks,
        loss_sum=torch.zeros(len(embedding), dtype=torch.float64, device=embedding.device),
        batch_size=settings.batch_size,
    )


def _views(buffer: Tensor, shapes: Mapping[str, torch.Size]) -> Parameters:
    """Return consecutive parts of a buffer `[R, ...]` in the shapes named."""
    parts = buffer.split([shape[1:].numel() for shape in shapes.values()], dim=1)
    return {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}


def decays(name: str) -> bool:
    """Tell whether weight decay applies to a parameter: not to biases and LayerNorm."""
    return not (name.endswith("bias") or is_layer_norm(name))


@torch.no_grad()
def training_step(stack: Stack, rows: Tensor) -> Tensor:
    """Take one optimizer step on rows `[R, B]` at `stack.rate`; return its losses, `[R]`."""
    terms = stack.task.terms(rows)
    first, *others = rows.split(stack.batch_size, dim=1)
    stack.dropout.draw()
    losses = stack.differentiate(first, terms)
    for batch in others:
        earlier = [gradient.clone() for gradient in stack.buffer_gradients()]
        stack.dropout.draw()
        losses = losses + stack.differentiate(batch, terms)
        for gradient, part in zip(stack.buffer_gradients(), earlier, strict=True):
            gradient += part
    clip_gradients(stack.buffer_gradients())
    stack.optimizer.step()
    stack.loss_sum += losses
    return losses


def clip_gradients(gradients: Sequence[Tensor], max_norm: float = CLIP_NORM) -> None:
    """Scale gradients `[R, n]` in place so that each seed's norm over all is at most `max_norm`.

    The formula is that of `torch.nn.utils.clip_grad_norm_`, for each seed on its own.
    """
    norms = torch.stack([torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    scale = (max_norm / (total + 1e-6)).clamp(max=1.0)[:, None]
    for gradient in gradients:
        gradient.mul_(scale)


@torch.no_grad()
def evaluate(task: Task, parameters: Parameters, size: ModelSize) -> tuple[Tensor, Tensor]:
    """Return mean loss and accuracy over all examples of a task, `[R]` each, dropout off."""
    embedding = parameters[EMBEDDING]
    seeds = len(embedding)
    chunk = max(1, EVALUATION_ROWS[embedding.device.type] // seeds)
    loss, terms, right = (torch.zeros(seeds, dtype=torch.float64) for _ in range(3))
    decisions = 0
    for first in range(0, len(task), chunk):
        rows = torch.arange(first, min(first + chunk, len(task)), device=embedding.device)
        rows = rows.expand(seeds, -1)
        chunk_loss, chunk_right, per_row = task.judge(parameters, size, rows)
        loss += chunk_loss.cpu()
        terms += task.terms(rows).cpu()
        right += chunk_right.cpu()
        decisions += rows.shape[1] * per_row
    return loss / terms, right / decisions


class Executor(Protocol):
    """What carries out training steps."""

    def run(self, first: int, last: int) -> Iterator[int]:
        """Take steps `first` to `last`; yield the number of the last one done, now and then."""
        ...


def train(
    stack: Stack,
    valid: Task,
    order: BatchOrder,
    settings: Settings,
    executor: Executor,
    heartbeat: Callable[[int], None],
) -> Iterator[Evaluation]:
    """Train a stack to the end and yield its evaluations on the way.

    Args:
        stack: trained in place.
        valid: the validation examples.
        order: of the training examples.
        settings: of the run.
        executor: of the steps.
        heartbeat: called with the number of steps done, now and then.

    Raises:
        FloatingPointError: a seed's loss is not finite; the message names step and seed.
    """
    started = time.monotonic()
    total_steps, done = settings.total_steps(order.examples), 0
    for step in evaluation_steps(total_steps, settings.eval_steps):
        stack.loss_sum.zero_()
        for latest in executor.run(done + 1, step):
            heartbeat(latest)
        train_loss = (stack.loss_sum / (step - done)).tolist()
        eval_loss, accuracy = evaluate(valid, stack.parameters, stack.size)
        for seed, *losses in zip(order.seeds, train_loss, eval_loss.tolist(), strict=True):
            if not all(map(math.isfinite, losses)):
                raise FloatingPointError(
                    f"seed {seed} diverged: train and eval loss are {losses} at step {step}"
                )
        done = step
        yield Evaluation(
            step=step,
            epoch=step / order.steps_per_epoch,
            learning_rate=learning_rate(step, total_steps, settings),
            train_loss=train_loss,
            eval_loss=eval_loss.tolist(),
            accuracy=accuracy.tolist(),
            seconds=time.monotonic() - started,
        )
