"""Training a stack of seeds: the step, the schedule, the batch order and the evaluations.

The step and its settings are those of `transformers.Trainer`: AdamW without decay on biases and
LayerNorm, linear warmup from 0 then linear decay to 0, gradients clipped to norm 1. Each seed has
its own loss, clipping, dropout and batch order; the seeds never meet.

Shape letters: R seeds, B rows of a step.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gpt_math_domains.model import HEAD, ModelSize, Parameters, dropout_values, is_layer_norm
from gpt_math_domains.tasks import Task

DROPOUT = 0.1  # GPT-2's default
CLIP_NORM = 1.0
EARLY_EVALUATIONS = [2**power for power in range(10)]  # 1 .. 512
EVALUATION_ROWS = 2048  # rows and seeds judged at once, bounding memory


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

    Args:
        rate: share of values that are dropped.
        values: values of one seed that a forward pass drops from (`model.dropout_values`).
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
        self.keep = 1.0 - rate
        self.generators = generators
        self.masks = torch.empty(len(generators), values, dtype=dtype, device=device)
        self.used = 0

    def draw(self) -> None:
        """Draw the masks of the next forward pass."""
        for mask, generator in zip(self.masks, self.generators, strict=True):
            mask.bernoulli_(self.keep, generator=generator)
        self.masks.div_(self.keep)
        self.used = 0

    def __call__(self, states: Tensor) -> Tensor:
        """Return states `[R, ...]` times the next unused part of the masks."""
        first, self.used = self.used, self.used + states[0].numel()
        return states * self.masks[:, first : self.used].view(states.shape)


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
        trained: the parameters that may change.
        optimizer: over `trained`.
        dropout: of this run.
        batch_size: rows of one forward pass.
    """

    task: Task
    size: ModelSize
    parameters: Parameters
    trained: list[Tensor]
    optimizer: torch.optim.Optimizer
    dropout: StackedDropout
    batch_size: int


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
    """Make a stack from parameters `[R, ...]`, which it trains in place.

    Args:
        task: the training examples.
        size: of each model.
        parameters: of all seeds, on the task's device.
        settings: of the run.
        generators: of the dropout masks, one for each seed, on the task's device.
        head_only: leave everything but the classification head as it is.
        dropout: share of values dropped.
    """
    trained = {
        name: value.requires_grad_()
        for name, value in parameters.items()
        if not head_only or name == HEAD
    }
    groups = [
        {
            "params": [p for n, p in trained.items() if decays(n)],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for n, p in trained.items() if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, fused=True
    )
    embedding = parameters["transformer.wte.weight"]
    masks = StackedDropout(
        dropout,
        dropout_values(size, settings.batch_size),
        generators,
        embedding.dtype,
        str(embedding.device),
    )
    values = list(trained.values())
    return Stack(task, size, parameters, values, optimizer, masks, settings.batch_size)


def decays(name: str) -> bool:
    """Tell whether weight decay applies to a parameter: not to biases and LayerNorm."""
    return not (name.endswith("bias") or is_layer_norm(name))


def training_step(stack: Stack, rows: Tensor, rate: float) -> Tensor:
    """Take one optimizer step on rows `[R, B]`; return the mean loss of each seed, `[R]`."""
    terms = stack.task.terms(rows)
    losses = torch.zeros_like(terms)
    for batch in rows.split(stack.batch_size, dim=1):
        stack.dropout.draw()
        loss = stack.task.loss(stack.parameters, stack.size, batch, stack.dropout) / terms
        loss.sum().backward()
        losses += loss.detach()
    clip_gradients(stack.trained)
    for group in stack.optimizer.param_groups:
        group["lr"] = rate
    stack.optimizer.step()
    stack.optimizer.zero_grad()
    return losses


def clip_gradients(parameters: Sequence[Tensor], max_norm: float = CLIP_NORM) -> None:
    """Scale the gradients `[R, ...]` of each seed in place so that its norm is at most `max_norm`.

    The formula is that of `torch.nn.utils.clip_grad_norm_`, for each seed on its own.
    """
    gradients = [p.grad.flatten(1) for p in parameters if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    scale = (max_norm / (total + 1e-6)).clamp(max=1.0)[:, None]
    for gradient in gradients:
        gradient.mul_(scale)


@torch.no_grad()
def evaluate(task: Task, parameters: Parameters, size: ModelSize) -> tuple[Tensor, Tensor]:
    """Return mean loss and accuracy over all examples of a task, `[R]` each, dropout off."""
    embedding = parameters["transformer.wte.weight"]
    seeds = len(embedding)
    chunk = max(1, EVALUATION_ROWS // seeds)
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


def train(
    stack: Stack,
    valid: Task,
    order: BatchOrder,
    settings: Settings,
    heartbeat: Callable[[int], None],
) -> Iterator[Evaluation]:
    """Train a stack to the end and yield its evaluations on the way.

    Args:
        stack: trained in place.
        valid: the validation examples.
        order: of the training examples.
        settings: of the run.
        heartbeat: called with the number of steps done, after each step.

    Raises:
        FloatingPointError: a seed's loss is not finite; the message names step and seed.
    """
    started = time.monotonic()
    total_steps = settings.num_train_epochs * order.steps_per_epoch
    summed, summed_steps = torch.zeros(len(order.seeds), dtype=torch.float64), 0
    points = set(evaluation_steps(total_steps, settings.eval_steps))
    for step in range(1, total_steps + 1):
        rate = learning_rate(step, total_steps, settings)
        summed += training_step(stack, order.rows(step), rate).cpu()
        summed_steps += 1
        heartbeat(step)
        if step in points:
            eval_loss, accuracy = evaluate(valid, stack.parameters, stack.size)
            train_loss = summed / summed_steps
            for seed, value in zip(order.seeds, (train_loss + eval_loss).tolist(), strict=True):
                if not math.isfinite(value):
                    raise FloatingPointError(f"loss of seed {seed} is {value} at step {step}")
            yield Evaluation(
                step=step,
                epoch=step / order.steps_per_epoch,
                learning_rate=rate,
                train_loss=train_loss.tolist(),
                eval_loss=eval_loss.tolist(),
                accuracy=accuracy.tolist(),
                seconds=time.monotonic() - started,
            )
            summed.zero_()
            summed_steps = 0
