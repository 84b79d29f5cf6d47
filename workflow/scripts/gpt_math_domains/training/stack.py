"""Training a stack of seeds: the step, the schedule, the batch order and the evaluations.

The step and its settings are those of `transformers.Trainer`: AdamW, weight decay, a schedule with
warmup, clipped gradients. Each seed has its own loss, clipping, dropout and batch order; the seeds
never meet.

Shape letters: R seeds, B rows of a step.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.adamw import adamw

from gpt_math_domains.run import (
    EMBEDDING,
    HEAD,
    Evaluation,
    ModelSize,
    Settings,
    Start,
    checkpoint_steps,
    evaluation_steps,
    learning_rate,
)
from gpt_math_domains.training.model import (
    Masks,
    Parameters,
    dropout_sizes,
    is_block_matrix,
    is_layer_norm,
    keep,
)
from gpt_math_domains.training.tasks import Task

CHECK_STEPS = {"cpu": 1, "cuda": 8192}  # a look at the losses this often; a GPU is waited for
EVALUATION_ROWS = {"cpu": 128, "cuda": 16384}  # judged at once, over all seeds: fits the cache


def random_stream(seed: int, purpose: str, *more: int) -> np.random.SeedSequence:
    """Return the source of random numbers of one seed for one purpose."""
    return np.random.SeedSequence([seed, *purpose.encode(), *more])


def torch_generator(seed: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """Return a generator on `device`, seeded from `random_stream`."""
    state = random_stream(seed, purpose).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


class StackedDropout:
    """Dropout for R seeds; the masks of a step are drawn at once, each seed's from its generator.

    A value is dropped if a random 16-bit number is below a threshold; drawing four of them as one
    64-bit number is several times as fast as drawing floats, and rounds the rate to 1 / 65,536.

    Args:
        rate: share of values that are dropped.
        sizes: of the masks of one seed that a forward pass asks for.
        passes: in a step.
        generators: one for each seed, on `device`.
        dtype: type of the states.
        device: where the states are.

    Attributes:
        masks: `[R, values]` of the step at hand.
        parts: of them, each pass's masks `[R, n]`. If compiled code cut them out, their place would
            be part of its kernels, and no two layers could share one.
        generators: as given.
    """

    def __init__(
        self,
        rate: float,
        sizes: Sequence[int],
        passes: int,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype,
        device: str,
    ) -> None:
        self.generators = generators
        dropped = round(rate * 2**16)
        values = passes * sum(sizes)
        words = torch.empty(len(generators), -(-values // 4), dtype=torch.int64, device=device)
        drawn = torch.empty(len(generators), 4 * words.shape[1], dtype=dtype, device=device)
        self.masks, self._drawn = drawn[:, :values], drawn
        views = self.masks.view(len(generators), passes, sum(sizes)).unbind(1)
        self.parts = [view.split(list(sizes), dim=1) for view in views]
        self._words, self._numbers = list(words), words.view(torch.int16)
        self._threshold, self._kept = dropped - 2**15, 2**16 / (2**16 - dropped)

    def draw(self) -> None:
        """Draw the next step's masks."""
        for words, generator in zip(self._words, self.generators, strict=True):
            words.random_(-(2**63), None, generator=generator)
        torch.ge(self._numbers, self._threshold, out=self._drawn)
        self._drawn.mul_(self._kept)


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
        return torch.from_numpy(steps.swapaxes(0, 1).copy()).to(self.device, non_blocking=True)

    def _permutation(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        if not self.settings.shuffle:
            return np.arange(self.examples)
        stream = random_stream(seed, "order", epoch)
        return np.random.default_rng(stream).permutation(self.examples)


@dataclass
class Group:
    """Trained parameters as one buffer: a matrix, or all biases and LayerNorms together.

    Attributes:
        shapes: of its parameters, `[R, ...]` each, in the buffer's order.
        values: `[R, n]` of all of them.
        weight_decay: of the group.
        mean: `[R, n]` AdamW's running mean of the gradient.
        square: `[R, n]` and of its square.
        steps: how many were taken, a tensor of no dimension.
    """

    shapes: dict[str, torch.Size]
    values: Tensor
    weight_decay: float
    mean: Tensor
    square: Tensor
    steps: Tensor

    @classmethod
    def of(cls, parameters: Parameters, weight_decay: float, steps: Tensor) -> "Group":
        """Copy parameters into a buffer."""
        values = flatten(parameters, parameters).clone()
        return cls(
            shapes={name: value.shape for name, value in parameters.items()},
            values=values,
            weight_decay=weight_decay,
            mean=torch.zeros_like(values),
            square=torch.zeros_like(values),
            steps=steps,
        )

    def views(self) -> Parameters:
        """Return the parameters as parts of the buffer."""
        parts = self.values.split([shape[1:].numel() for shape in self.shapes.values()], dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in named}


def flatten(parameters: Parameters, names: Iterable[str]) -> Tensor:
    """Return the named parameters as one tensor `[R, n]`."""
    parts = [parameters[name].flatten(1) for name in names]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


@dataclass
class Stack:
    """All seeds of a run, ready to train.

    Attributes:
        task: the training examples.
        size: of each model.
        parameters: `[R, ...]` each, on the task's device; those that are trained, views of groups.
        groups: what is trained.
        steps: of each group; the optimizer wants them apart.
        products: type of the blocks' matrix products; other than that of the parameters, the
            matrices are rounded to it at each step.
        rate: the learning rate of the next step, `[1]`.
        dropout: of this run.
        loss_sum: `[R]` losses of all steps since the last evaluation.
        norm_sum: `[R]` and norms of all their gradients, before clipping.
        settings: of the run.
    """

    task: Task
    size: ModelSize
    parameters: Parameters
    groups: list[Group]
    steps: Tensor
    products: torch.dtype
    rate: Tensor
    dropout: StackedDropout
    loss_sum: Tensor
    norm_sum: Tensor
    settings: Settings

    def state(self) -> Parameters:
        """Return by name all that steps change, but for the generators: no copies."""
        state = {"steps": self.steps, "loss_sum": self.loss_sum, "norm_sum": self.norm_sum}
        for number, group in enumerate(self.groups):
            for name in ("values", "mean", "square"):
                state[f"group.{number}.{name}"] = getattr(group, name)
        return state

    def differentiate(self, parameters: Parameters, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the losses `[R]` of rows `[R, B]` and the gradients `[R, n]` of the groups."""
        terms = self.task.terms(rows)
        sums: list[Tensor] = []
        batches = rows.split(self.settings.batch_size, dim=1)
        for batch, masks in zip(batches, self.dropout.parts, strict=True):
            found = self._differentiate_batch(parameters, batch, terms, masks)
            sums = list(map(torch.add, sums, found)) if sums else found
        losses, *gradients = sums
        return losses, gradients

    def _differentiate_batch(
        self, parameters: Parameters, rows: Tensor, terms: Tensor, masks: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return what rows `[R, B]` add to the losses, and to the gradients of each group."""
        names = [name for group in self.groups for name in group.shapes]
        trained = {name: parameters[name] for name in names}
        fixed = {name: value for name, value in parameters.items() if name not in trained}

        def losses(trained: Parameters) -> Tensor:
            if len(rows) == 1:  # the same without `vmap`, in fewer and larger operations
                parts = trained, fixed
                one, rest = ({n: v.squeeze(0) for n, v in part.items()} for part in parts)
                return self._loss(one, rest, rows[0], terms[0], [m[0] for m in masks])[None]
            found: Tensor = torch.vmap(self._loss)(trained, fixed, rows, terms, masks)
            return found

        gradients, found = gradients_of(losses, trained)
        return [found, *(flatten(gradients, group.shapes) for group in self.groups)]

    def _loss(
        self,
        trained: Parameters,
        fixed: Parameters,
        rows: Tensor,
        terms: Tensor,
        masks: Sequence[Tensor],
    ) -> Tensor:
        """Return one model's loss on rows `[B]`, as a share of a mean over so many terms."""
        parameters = {
            name: value.to(self.products) if is_block_matrix(name) else value
            for name, value in (trained | fixed).items()
        }
        dropout = Masks(masks) if masks else keep
        outputs = self.task.outputs(parameters, self.size, rows, dropout)
        return self.task.loss(outputs, rows) / terms

    def update(self, rows: Tensor) -> Tensor:
        """Take one optimizer step, the masks being drawn; sum up and return its losses, `[R]`."""
        settings = self.settings
        losses, gradients = self.differentiate(self.parameters, rows)
        norms = gradient_norms(gradients)
        scale = clip_scale(norms, settings.max_grad_norm)
        gradients = [gradient * scale for gradient in gradients]
        for weight_decay in {group.weight_decay for group in self.groups}:
            members = [i for i, g in enumerate(self.groups) if g.weight_decay == weight_decay]
            adamw(
                [self.groups[i].values for i in members],
                [gradients[i] for i in members],
                [self.groups[i].mean for i in members],
                [self.groups[i].square for i in members],
                [],
                [self.groups[i].steps for i in members],
                lr=self.rate[0],
                beta1=settings.adam_beta1,
                beta2=settings.adam_beta2,
                eps=settings.adam_epsilon,
                weight_decay=weight_decay,
                amsgrad=False,
                maximize=False,
                fused=True,
                capturable=self.rate.is_cuda,
            )
        self.loss_sum += losses
        self.norm_sum += norms
        return losses


def gradients_of(
    losses: Callable[[Parameters], Tensor], parameters: Parameters
) -> tuple[Parameters, Tensor]:
    """Return the gradients of losses `[R]`, and the losses.

    Args:
        losses: of parameters `[R, ...]`, each of its own seed's alone.
        parameters: where.
    """
    if torch.compiler.is_compiling():

        def total(parameters: Parameters) -> tuple[Tensor, Tensor]:
            found = losses(parameters)
            return found.sum(), found

        gradients, found = torch.func.grad(total, has_aux=True)(parameters)
        return dict(gradients), found
    # The same by autograd alone, which does not compile, and takes a fifth less time eagerly.
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        found = losses(leaves)
        gradients = torch.autograd.grad(found.sum(), list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True)), found.detach()


def build_stack(
    task: Task,
    size: ModelSize,
    parameters: Parameters,
    settings: Settings,
    generators: Sequence[torch.Generator],
    *,
    head_only: bool = False,
    products: torch.dtype | None = None,
) -> Stack:
    """Make a stack that starts from parameters `[R, ...]`.

    Args:
        task: the training examples.
        size: of each model.
        parameters: of all seeds, on the task's device; copied.
        settings: of the run.
        generators: of the dropout masks, one for each seed, on the task's device.
        head_only: leave everything but the classification head as it is.
        products: type of the blocks' matrix products, that of the parameters if None.
    """
    members: dict[str, Parameters] = {}
    for name, value in parameters.items():
        if not head_only or name == HEAD:
            members.setdefault(name if is_matrix(name) else "others", {})[name] = value
    embedding = parameters[EMBEDDING]
    steps = torch.zeros(len(members), device=embedding.device)
    decays = settings.weight_decay_on == "all"
    groups = [
        Group.of(group, settings.weight_decay if decays or key != "others" else 0.0, step)
        for (key, group), step in zip(members.items(), steps, strict=True)
    ]
    for group in groups:
        parameters = parameters | group.views()
    sizes = dropout_sizes(size, settings.batch_size, last_only=task.last_only)
    masks = StackedDropout(
        size.dropout,
        sizes if size.dropout else [],
        settings.gradient_accumulation_steps,
        generators,
        embedding.dtype,
        str(embedding.device),
    )
    return Stack(
        task=task,
        size=size,
        parameters=parameters,
        groups=groups,
        steps=steps,
        products=products or embedding.dtype,
        # A tensor rather than a number, so that a captured step reads the current value. PyTorch's
        # fused AdamW takes it as fp32 alone on CUDA, and as a number elsewhere; its compiler would
        # take one of no dimension for a number too, and trace the step twice.
        rate=embedding.new_zeros(1, dtype=torch.float32 if embedding.is_cuda else torch.float64),
        dropout=masks,
        loss_sum=torch.zeros(len(embedding), dtype=torch.float64, device=embedding.device),
        norm_sum=torch.zeros(len(embedding), dtype=torch.float64, device=embedding.device),
        settings=settings,
    )


def is_matrix(name: str) -> bool:
    """Tell whether a parameter is a matrix, an embedding among them: no bias and no LayerNorm."""
    return not (name.endswith("bias") or is_layer_norm(name))


@torch.no_grad()
def training_step(stack: Stack, rows: Tensor) -> Tensor:
    """Take one optimizer step on rows `[R, B]` at `stack.rate`; return its losses, `[R]`."""
    stack.dropout.draw()
    return stack.update(rows)


def gradient_norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of each seed's gradients `[R, n]` together, `[R]`."""
    exact = torch.promote_types(gradients[0].dtype, torch.float32)
    norms = [torch.linalg.vector_norm(gradient, dim=1, dtype=exact) for gradient in gradients]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return total


def clip_scale(norms: Tensor, max_norm: float | None) -> Tensor:
    """Return what to multiply gradients of norms `[R]` by, `[R, 1]`, so that none is larger.

    The formula is that of `torch.nn.utils.clip_grad_norm_`, for each seed on its own.
    """
    if max_norm is None:
        return torch.ones_like(norms)[:, None]
    scale: Tensor = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return scale[:, None]


@torch.no_grad()
def decide(
    task: Task, parameters: Parameters, size: ModelSize, examples: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the mean loss over examples of a task, `[R]`, and which decisions are right.

    The latter are `[R, n, L]`, in the order of the examples; dropout is off, and both are on the
    CPU.

    Args:
        task: with the examples.
        parameters: of all seeds.
        size: of each model.
        examples: `[n]` rows of the task, all of them if None.
    """

    def judge(parameters: Parameters, rows: Tensor) -> tuple[Tensor, Tensor]:
        outputs = task.outputs(parameters, size, rows, keep)
        return task.loss(outputs, rows), task.right(outputs, rows)

    embedding = parameters[EMBEDDING]
    seeds = len(embedding)
    chunk = max(1, EVALUATION_ROWS[embedding.device.type] // seeds)
    loss, terms = (torch.zeros(seeds, dtype=torch.float64) for _ in range(2))
    right = []
    if examples is None:
        examples = torch.arange(len(task), device=embedding.device)
    for rows in examples.expand(seeds, -1).split(chunk, dim=1):
        chunk_loss, chunk_right = torch.vmap(judge)(parameters, rows)
        loss += chunk_loss.cpu()
        terms += task.terms(rows).cpu()
        right.append(chunk_right.cpu())
    return loss / terms, torch.cat(right, dim=1)


@dataclass(frozen=True)
class Judge:
    """What a run is evaluated on.

    Attributes:
        valid: the validation examples.
        mirrored: `[n]` which of them stood in training with their operands the other way round.
        parts: `[n, P]` which of them belong to each part that is told of, on the CPU. With one
            part of all of them, each kind of decision is told of instead.
        sample: rows of the training examples that are judged too.
    """

    valid: Task
    mirrored: Tensor
    parts: Tensor
    sample: Tensor

    def measure(self, stack: Stack) -> dict[str, list[Any]]:
        """Return fields of `Evaluation`, by name."""
        train_eval_loss, train_right = decide(stack.task, stack.parameters, stack.size, self.sample)
        eval_loss, right = decide(self.valid, stack.parameters, stack.size)
        parts = (right & self.parts).sum(dim=1).double() / self.parts.sum(dim=0)
        squares = [group.values.double().square().sum(dim=1) for group in stack.groups]
        return {
            "train_eval_loss": train_eval_loss.tolist(),
            "eval_loss": eval_loss.tolist(),
            "accuracy": _share(right),
            "train_accuracy": _share(train_right),
            "mirrored_accuracy": _share(right[:, self.mirrored]),
            "unmirrored_accuracy": _share(right[:, ~self.mirrored]),
            "weight_norm": torch.stack(squares).sum(dim=0).sqrt().tolist(),
            "part_accuracy": parts.tolist(),
        }


def _share(right: Tensor) -> list[Any]:
    """Return the share of each seed's decisions `[R, n, L]` that are right; None of none."""
    count = right[0].numel()
    shares: Tensor = right.sum(dim=(1, 2)).double() / max(count, 1)
    return shares.tolist() if count else [None] * len(right)


class Executor(Protocol):
    """What carries out training steps."""

    def run(self, first: int, last: int) -> Iterator[int]:
        """Take steps `first` to `last`; yield the number of the last one done, now and then."""
        ...


def train(
    stack: Stack,
    judge: Judge,
    order: BatchOrder,
    settings: Settings,
    executor: Executor,
    heartbeat: Callable[[int], None],
    start: Start = Start(),
    keep_weights: Callable[[int], None] = lambda step: None,
) -> Iterator[Evaluation]:
    """Train a stack to the end and yield its evaluations on the way.

    Args:
        stack: trained in place.
        judge: of its evaluations.
        order: of the training examples.
        settings: of the run.
        executor: of the steps.
        heartbeat: called with the number of steps done, now and then.
        start: where the stack is; only evaluations after that are yielded.
        keep_weights: called with the number of steps done at each of the settings' checkpoints.

    Raises:
        FloatingPointError: a seed's loss is not finite; the message names step and seed.
    """
    began = time.monotonic() - start.seconds
    total_steps = settings.total_steps(order.examples)
    done = checked = start.step
    evaluated = start.evaluated
    evaluations = evaluation_steps(total_steps, settings.eval_steps)
    kept = checkpoint_steps(total_steps, settings.checkpoints)
    for step in sorted({*evaluations, *kept}):
        keeps = step in kept and step >= start.step
        evaluates = step in evaluations and step > evaluated
        if not (keeps or evaluates):
            continue
        for latest in executor.run(done + 1, step):
            if latest - checked >= CHECK_STEPS[stack.rate.device.type]:
                _require_finite(order.seeds, "train", stack.loss_sum.tolist(), latest)
                checked = latest
            heartbeat(latest)
        done = step
        if keeps:
            keep_weights(step)
        if not evaluates:
            continue
        measured = judge.measure(stack)
        since = step - evaluated
        train_loss, grad_norm = (
            (total / since).tolist() for total in (stack.loss_sum, stack.norm_sum)
        )
        _require_finite(order.seeds, "train", train_loss, step)
        _require_finite(order.seeds, "eval", measured["eval_loss"], step)
        stack.loss_sum.zero_()
        stack.norm_sum.zero_()
        evaluated = step
        yield Evaluation(
            step=step,
            epoch=step / order.steps_per_epoch,
            learning_rate=learning_rate(step, total_steps, settings),
            train_loss=train_loss,
            grad_norm=grad_norm,
            seconds=time.monotonic() - began,
            **measured,
        )


def _require_finite(seeds: Sequence[int], what: str, losses: Sequence[float], step: int) -> None:
    """Raise FloatingPointError if the loss of a seed is not finite."""
    for seed, loss in zip(seeds, losses, strict=True):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"seed {seed} diverged: its {what} loss is {loss} at step {step}"
            )
