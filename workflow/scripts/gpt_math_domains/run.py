"""What a run is: its keys, protocols, files, model, settings, schedule and evaluations.

A run is a phase with a data and a model version and, in finetuning, a domain version and a
protocol; a job trains all its seeds. All wings speak of runs in these words, so this module imports
nothing but the standard library.
"""

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

RUN = ["phase", "data", "model", "domain", "protocol"]
"""The keys of a run; the last two are None in pretraining."""

ACCURACY = {"pretrain": "math_acc", "finetune": "domain_acc"}
"""What each phase is judged by."""


def measures(phase: str) -> dict[str, str]:
    """Return what an evaluation measures: its column in a phase's metrics, and field.

    Raises:
        ValueError: no such phase.
    """
    if phase not in ACCURACY:
        raise ValueError(f"phase {phase!r}: allowed are {', '.join(ACCURACY)}")
    accuracy = ACCURACY[phase]
    return {
        "train_loss": "train_loss",
        "train_eval_loss": "train_eval_loss",
        "eval_loss": "eval_loss",
        accuracy: "accuracy",
        f"train_{accuracy}": "train_accuracy",
        f"mirrored_{accuracy}": "mirrored_accuracy",
        f"unmirrored_{accuracy}": "unmirrored_accuracy",
        "grad_norm": "grad_norm",
        "weight_norm": "weight_norm",
    }


class Protocol(NamedTuple):
    """How finetuning starts, and what it trains."""

    pretrained: bool  # from a pretrained checkpoint, not from random weights
    head_only: bool  # the classification head alone, not everything


PROTOCOLS = {
    "full": Protocol(pretrained=True, head_only=False),
    "frozen": Protocol(pretrained=True, head_only=True),
    "scratch": Protocol(pretrained=False, head_only=False),
    "random_frozen": Protocol(pretrained=False, head_only=True),
}

# Where a run's files are, below the directory of all results. `point` is that of the grid, such as
# `grid/data.digits~5/`, and empty for the study's own runs.
DIRECTORIES = {
    "pretrain": "{point}pretrain/data_{data}/model_{model}",
    "finetune": "{point}finetune/domain_{domain}/data_{data}/model_{model}/{protocol}",
}
POINT = "(?:grid/(?:[^/]+~[^/]+/)+)?"  # what it may be, as a regular expression
METRICS, RECORD = "metrics.csv", "run.json"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"  # of language models alone
STEP = "step_{step}"  # below a seed's directory: a checkpoint along training
CHECKPOINT = [CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG]
"""The files of a seed's checkpoint."""

# The names of parameters that are no block's, as in `transformers`.
EMBEDDING, POSITION = "transformer.wte.weight", "transformer.wpe.weight"
HEAD = "score.weight"
UNEMBEDDING = "lm_head.weight"  # where it is not the embedding

EARLY_EVALUATIONS = [2**power for power in range(10)]  # 1 .. 512


def run_at(directory: Path) -> dict[str, Any] | None:
    """Return the keys of the run whose place a directory is, and its point; None if it is none's.

    A pretraining's `domain` and `protocol` are left out.
    """
    number = {key: f"(?P<{key}>[0-9]+)" for key in ("data", "model", "domain")}
    for phase, pattern in DIRECTORIES.items():
        place = pattern.format(
            point=f"(?P<point>{POINT})", protocol="(?P<protocol>[^/]+)", **number
        )
        if found := re.search(f"(?:^|/){place}$", directory.as_posix()):
            named = found.groupdict()
            return {
                "phase": phase,
                **{key: int(value) if key in number else value for key, value in named.items()},
            }
    return None


def require_place(path: Path, told: Mapping[str, Any]) -> None:
    """Refuse a file that lies in the place of another run than it tells of.

    Raises:
        ValueError: with both.
    """
    for key, value in (run_at(path.parent) or {}).items():
        if told.get(key, value) != value:
            raise ValueError(f"{path}: is of {key} {told[key]!r}, but lies where {value!r} belongs")


def describe_point(point: str) -> str:
    """Return a point of the grid for people: `data.digits 5` for `grid/data.digits~5/`."""
    return ", ".join(part.replace("~", " ") for part in point.split("/")[1:-1])


@dataclass(frozen=True)
class ModelSize:
    """What one model is; everything else is GPT-2's default.

    `num_positions` is the longest equation and its end, not GPT-2's 1,024: the rows beyond would
    never be read. The end predicts nothing, so training runs over one position less. `dropout` is
    the share of values dropped in training; with `tie_word_embeddings` the embedding also turns
    states into logits.
    """

    num_layers: int
    num_heads: int
    d_model: int
    vocabulary_size: int
    num_positions: int
    dropout: float = 0.1
    tie_word_embeddings: bool = True

    def shapes(self, num_labels: int | None = None) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of one seed, with a head where there are labels."""
        width = self.d_model
        shapes: dict[str, tuple[int, ...]] = {
            EMBEDDING: (self.vocabulary_size, width),
            POSITION: (self.num_positions, width),
        }
        for layer in range(self.num_layers):
            block = f"transformer.h.{layer}"
            shapes |= {
                f"{block}.ln_1.weight": (width,),
                f"{block}.ln_1.bias": (width,),
                f"{block}.attn.c_attn.weight": (width, 3 * width),
                f"{block}.attn.c_attn.bias": (3 * width,),
                f"{block}.attn.c_proj.weight": (width, width),
                f"{block}.attn.c_proj.bias": (width,),
                f"{block}.ln_2.weight": (width,),
                f"{block}.ln_2.bias": (width,),
                f"{block}.mlp.c_fc.weight": (width, 4 * width),
                f"{block}.mlp.c_fc.bias": (4 * width,),
                f"{block}.mlp.c_proj.weight": (4 * width, width),
                f"{block}.mlp.c_proj.bias": (width,),
            }
        shapes |= {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}
        if num_labels is not None:
            shapes[HEAD] = (num_labels, width)
        elif not self.tie_word_embeddings:
            shapes[UNEMBEDDING] = (self.vocabulary_size, width)
        return shapes

    def parameters(self, num_labels: int | None = None) -> int:
        """Return how many parameters one seed has, its embeddings and head among them.

        With D `d_model` and L `num_layers`, a model with tied embeddings has

            (vocabulary_size + num_positions + 2) D + L (12 D^2 + 13 D)

        and one with a head, or with an unembedding of its own, as many D more as that has rows.
        """
        width = self.d_model
        outside = self.vocabulary_size + self.num_positions + 2
        if num_labels is not None:
            outside += num_labels
        elif not self.tie_word_embeddings:
            outside += self.vocabulary_size
        return outside * width + self.num_layers * (12 * width**2 + 13 * width)


@dataclass(frozen=True)
class Settings:
    """How one run trains; names and meanings as in `config/README.md`.

    The defaults are those of the published study and of `transformers.TrainingArguments`.
    """

    num_train_epochs: int
    eval_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gradient_accumulation_steps: int
    num_warmup_steps: int
    shuffle: bool
    lr_scheduler_type: str = "linear"
    max_grad_norm: float | None = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    weight_decay_on: str = "matrices"
    train_eval_rows: int | None = 1000
    checkpoints: str | Mapping[str, int] = "none"
    finetune_from: int | None = None

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


LR_SCHEDULERS = ["linear", "cosine", "constant", "constant_with_warmup"]
WEIGHT_DECAY_ON = ["matrices", "all"]


def learning_rate(step: int, total_steps: int, settings: Settings) -> float:
    """Return the learning rate of optimizer step `step` (from 1), as `Trainer` has it.

    The first step of a warmup has rate 0. The formulas are those of `transformers.optimization`.
    """
    peak, done, warmup = settings.learning_rate, step - 1, settings.num_warmup_steps
    if done < warmup:
        return peak * done / warmup
    left, span = max(0, total_steps - done), max(1, total_steps - warmup)
    if settings.lr_scheduler_type == "linear":
        return peak * left / span
    if settings.lr_scheduler_type == "cosine":
        return peak * (1 - math.cos(math.pi * left / span)) / 2
    return peak


def evaluation_steps(total_steps: int, eval_steps: int) -> list[int]:
    """Return the steps after which a run is evaluated: regular, early and the last."""
    regular = range(eval_steps, total_steps + 1, eval_steps)
    early = [step for step in EARLY_EVALUATIONS if step <= total_steps]
    return sorted({*regular, *early, total_steps})


def checkpoint_steps(total_steps: int, checkpoints: str | Mapping[str, int]) -> list[int]:
    """Return the steps after which a run keeps its weights, beside those at its end.

    Args:
        total_steps: of the run.
        checkpoints: `none`; `log` for the start and powers of two; or `{"every": N}`.
    """
    if checkpoints == "none":
        return []
    if isinstance(checkpoints, str):
        return [0, *(2**power for power in range((total_steps - 1).bit_length()))]
    return list(range(0, total_steps, checkpoints["every"]))


@dataclass(frozen=True)
class Evaluation:
    """The state of a run after `step` optimizer steps; lists have one value per seed.

    Attributes:
        step: optimizer steps done.
        epoch: passes over the training examples.
        learning_rate: of the step.
        train_loss: mean over the steps since the evaluation before, dropout on.
        train_eval_loss: on training examples, dropout off.
        eval_loss: on the validation examples.
        accuracy: on the validation examples.
        train_accuracy: on training examples, dropout off.
        mirrored_accuracy: on the validation examples whose operands stood in training the other way
            round; None if there are none.
        unmirrored_accuracy: on all others; None if there are none.
        grad_norm: of the gradient before clipping, mean over the steps since the evaluation before.
        weight_norm: of all trained parameters (L2).
        seconds: since the start.
        part_accuracy: of each seed, for each label in finetuning, for each family in pretraining.
    """

    step: int
    epoch: float
    learning_rate: float
    train_loss: list[float]
    train_eval_loss: list[float]
    eval_loss: list[float]
    accuracy: list[float]
    train_accuracy: list[float]
    mirrored_accuracy: list[float | None]
    unmirrored_accuracy: list[float | None]
    grad_norm: list[float]
    weight_norm: list[float]
    seconds: float
    part_accuracy: list[list[float]]

    def faults(self, seeds: int, parts: int | None = None) -> Iterator[str]:
        """Yield what is wrong with values that were read from a file, each in a few words.

        Args:
            seeds: of the run.
            parts: of which it tells the accuracy; None if that is not known.
        """
        for name, values in asdict(self).items():
            is_share = name.endswith("accuracy")
            if name == "step":
                is_right = type(values) is int and values >= 0
            elif name in ("epoch", "learning_rate", "seconds"):
                is_right = is_number(values)
            elif not isinstance(values, list) or len(values) != seeds:
                is_right = False
            elif name == "part_accuracy":
                rows = [row for row in values if isinstance(row, list)]
                lengths = {len(row) for row in rows} | ({parts} if parts is not None else set())
                is_right = len(rows) == seeds and len(lengths) == 1
                is_right &= all(is_number(value, is_share) for row in rows for value in row)
            elif name in ("mirrored_accuracy", "unmirrored_accuracy") and values[0] is None:
                is_right = values == [None] * seeds
            else:
                is_right = all(is_number(value, is_share) for value in values)
            if not is_right:
                yield f"{name} is {str(values)[:100]}"

    def rows(self, run: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the metrics table that this makes, one for each seed in stack order."""
        columns = measures(run["phase"])
        for place, seed in enumerate(seeds):
            yield {
                **run,
                "seed": seed,
                "step": self.step,
                "epoch": self.epoch,
                "learning_rate": self.learning_rate,
                **{column: getattr(self, field)[place] for column, field in columns.items()},
                "seconds": self.seconds,
            }

    def part_rows(
        self, run: Mapping[str, Any], seeds: Sequence[int], parts: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Yield the accuracies of the parts, one row for each seed and part."""
        for seed, accuracies in zip(seeds, self.part_accuracy, strict=True):
            for part, accuracy in zip(parts, accuracies, strict=True):
                yield {**run, "seed": seed, "step": self.step, **part, "accuracy": accuracy}


def is_number(value: object, is_share: bool = False) -> bool:
    """Tell whether a value is a finite number of at least 0, and a share of at most 1."""
    if type(value) is int:
        value = float(value) if abs(value) < 2**53 else math.inf
    return type(value) is float and 0 <= value <= (1 if is_share else sys.float_info.max)


@dataclass(frozen=True)
class Start:
    """Where a run goes on.

    Attributes:
        step: optimizer steps done.
        evaluated: the step of the last evaluation, 0 before the first.
        seconds: that these took.
    """

    step: int = 0
    evaluated: int = 0
    seconds: float = 0.0
