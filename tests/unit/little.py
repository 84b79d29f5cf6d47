"""The little that tests train: 85 equations, settings for minutes of it, and stacks of seeds."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt_math_domains.data.equations import enumerate_family
from gpt_math_domains.data.tables import Equations
from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.run import ModelSize, Settings
from gpt_math_domains.training.execution import make_executor, prepare_execution
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.stack import BatchOrder, Judge, Stack, build_stack, torch_generator
from gpt_math_domains.training.tasks import DomainLabels, NextTokens, Task
from training_job import SETTINGS

VOCABULARY = Vocabulary(10)
SIZE = ModelSize(1, 4, 32, VOCABULARY.size, 7)


def settings(**changes: Any) -> Settings:
    """Return the settings of the job that tests stop, with changes."""
    return Settings(**SETTINGS | changes)


def equations() -> Equations:
    """Return equations of 5 and 6 tokens; 85 of them make five batches of 16 and one of 5."""
    tokens = enumerate_family(VOCABULARY, "subtract", None)[:85]
    return Equations(tokens, (tokens >= 0).sum(axis=1), np.full(len(tokens), 4))


def task(kind: str = "language", device: str = "cpu", dtype: torch.dtype = torch.float64) -> Task:
    """Return the task to continue these equations, or to tell two labels of them."""
    shown = equations()
    if kind == "language":
        return NextTokens.of(shown, VOCABULARY, device, dtype)
    labels = ((shown.tokens[:, :1] + [0, 1]) % 2).astype(np.uint8)
    return DomainLabels.of(shown, labels, VOCABULARY, device, dtype)


def stack(
    settings: Settings,
    seeds: Sequence[int],
    kind: str = "language",
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    size: ModelSize = SIZE,
    **more: Any,
) -> tuple[Stack, BatchOrder]:
    """Return a stack of these seeds before its first step, and its batch order.

    Args:
        settings: of the run.
        seeds: of weights, dropout and order.
        kind: `language`, `labels` or `head only`.
        device: where it trains.
        dtype: of its weights.
        size: of its models.
        more: arguments of `build_stack`.
    """
    examples = task(kind, device, dtype)
    labels = None if kind == "language" else 2
    weights = initialize(size, [torch_generator(s, "weights") for s in seeds], labels, dtype)
    stacked = build_stack(
        examples,
        size,
        {name: value.to(device) for name, value in weights.items()},
        settings,
        # The device without values has no generators either.
        [torch_generator(seed, "dropout", device.replace("meta", "cpu")) for seed in seeds],
        head_only=kind == "head only",
        **more,
    )
    return stacked, BatchOrder(len(examples), settings, seeds, device)


def judge(valid: Task) -> Judge:
    """Return what evaluates a stack on these examples, the first of which are mirrored."""
    return Judge(
        valid=valid,
        mirrored=torch.arange(len(valid)) < 20,
        parts=torch.ones(len(valid), 1, dtype=torch.bool),
        sample=torch.arange(10, device=valid.device),
    )


def take_steps(
    stacked: Stack,
    order: BatchOrder,
    settings: Settings,
    steps: int,
    execution: str = "eager",
    note: Callable[[str], None] = lambda text: None,
) -> list[list[float]]:
    """Take the first steps of a run; return the sums of the losses as its executor tells them."""
    prepared = prepare_execution(execution, stacked, order, settings, note)
    executor = make_executor(prepared, stacked, order, settings)
    return [stacked.loss_sum.tolist() for _ in executor.run(1, steps)]


def steps_compiled_with(compiler: Path) -> tuple[list[str], list[list[float]], list[list[float]]]:
    """Return what is noted of three steps, their losses, and those of eager steps.

    For a process of its own, since it sets variables of the environment.
    """
    os.environ |= {
        "CXX": str(compiler),
        "TORCHINDUCTOR_CACHE_DIR": str(compiler.with_name("cache")),
    }
    own, notes = settings(), list[str]()
    compiled = take_steps(*stack(own, [3, 11]), own, 3, "compiled", notes.append)
    return notes, compiled, take_steps(*stack(own, [3, 11]), own, 3)
