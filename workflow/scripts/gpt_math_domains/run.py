"""What a run is: its keys, protocols, files, model, settings, schedule and evaluations.

A run is a phase with a data and a model version and, in finetuning, a domain version and a
protocol; a job trains all its seeds. All wings speak of runs in these words, so this module imports
nothing but the standard library.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

RUN = ["phase", "data", "model", "domain", "protocol"]
"""The keys of a run; the last two are None in pretraining."""

ACCURACY = {"pretrain": "math_acc", "finetune": "domain_acc"}
"""What each phase is judged by."""


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

# Where a run's files are, below the directory of all results.
DIRECTORIES = {
    "pretrain": "pretrain/data_{data}/model_{model}",
    "finetune": "finetune/domain_{domain}/data_{data}/model_{model}/{protocol}",
}
METRICS, RECORD = "metrics.csv", "run.json"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
CHECKPOINT = [CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG]
"""The files of a seed's checkpoint."""

# The names of parameters that are no block's, as in `transformers`.
EMBEDDING, POSITION = "transformer.wte.weight", "transformer.wpe.weight"
HEAD = "score.weight"

EARLY_EVALUATIONS = [2**power for power in range(10)]  # 1 .. 512


@dataclass(frozen=True)
class ModelSize:
    """What fixes the shapes of one model.

    `num_positions` is the longest equation and its end, not GPT-2's 1,024: the rows beyond would
    never be read. The end predicts nothing, so training runs over one position less.
    """

    num_layers: int
    num_heads: int
    d_model: int
    vocabulary_size: int
    num_positions: int

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
        return shapes

    def parameters(self, num_labels: int = 0) -> int:
        """Return how many parameters one seed has, its embeddings and head among them.

        With D `d_model` and L `num_layers`, they are

            (vocabulary_size + num_positions + 2 + num_labels) D + L (12 D^2 + 13 D)
        """
        width = self.d_model
        outside = self.vocabulary_size + self.num_positions + 2 + num_labels
        return outside * width + self.num_layers * (12 * width**2 + 13 * width)


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
    # Of each seed, for each kind of decision (L in `training.tasks`); their mean is the accuracy.
    # States that older code saved lack it, and are refused for that code.
    label_accuracy: list[list[float]] = field(default_factory=list)

    def rows(self, run: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the metrics table that this makes, one for each seed in stack order."""
        for place, seed in enumerate(seeds):
            yield {
                **run,
                "seed": seed,
                "step": self.step,
                "epoch": self.epoch,
                "learning_rate": self.learning_rate,
                "train_loss": self.train_loss[place],
                "eval_loss": self.eval_loss[place],
                ACCURACY[run["phase"]]: self.accuracy[place],
                "seconds": self.seconds,
            }

    def label_rows(
        self, run: Mapping[str, Any], seeds: Sequence[int], labels: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield the accuracies of the labels, one row for each seed and label."""
        for seed, accuracies in zip(seeds, self.label_accuracy, strict=True):
            for label, accuracy in zip(labels, accuracies, strict=True):
                measured = {"label": label, "accuracy": accuracy}
                yield {**run, "seed": seed, "step": self.step, **measured}


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
