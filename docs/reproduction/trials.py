"""Try ways of finetuning that the published page could mean, and write how accurate each one gets.

    python docs/reproduction/trials.py TRIAL [--data 1] [--model 2] [--steps 20000] [--seeds 4]

The labels are told in words of the language model: after an equation stand six more tokens, and
what the model says at the i-th of them, `0` or `1`, is whether the i-th label applies. Training is
plain SGD with the published batch size, learning rate, warmup, decay (as an L2 term) and number of
steps, from the models in `results/reproduce/data_<data>_model_<model>`. Each trial tells in what it
differs from `base`. Writes `docs/reproduction/trials/<TRIAL>_model_<model>.csv` as it goes, with
`_data_<data>` for other data versions than 1.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from gpt_math_domains.data.tables import read_equations, read_labels
from gpt_math_domains.data.vocabulary import Vocabulary, read_vocabulary
from gpt_math_domains.jobs.caches import private_caches
from gpt_math_domains.run import EMBEDDING, POSITION, ModelSize, Settings, learning_rate
from gpt_math_domains.training.checkpoint import read_checkpoints
from gpt_math_domains.training.device import prepare_torch
from gpt_math_domains.training.execution import CPP_OPTIONS
from gpt_math_domains.training.model import (
    Dropout,
    Parameters,
    forward,
    initialize,
    token_scores,
)
from gpt_math_domains.training.stack import (
    BatchOrder,
    Stack,
    build_stack,
    clip_scale,
    decide,
    gradient_norms,
    torch_generator,
)

LABELS = 6
SETTINGS = Settings(  # as published
    num_train_epochs=5000,
    eval_steps=1000,
    batch_size=32,
    learning_rate=5e-4,
    weight_decay=0.1,
    gradient_accumulation_steps=1,
    num_warmup_steps=1000,
    shuffle=False,
)


@dataclass(frozen=True)
class Trial:
    """What a trial does otherwise than `base`.

    Attributes:
        settings: of the run.
        new_words: two new tokens tell the labels, not those of the digits 0 and 1.
        aligned: labels stand at the same positions for all equations, not right after each.
        counted: of which targets the loss is a mean: `labels`, `equation` for the equation's
            tokens too, `padding` for those and the padding after the labels.
        fed: each label's word is the input at the next one, and generated in evaluation.
        pretrained: starts from a pretrained model, not from random weights.
    """

    settings: Settings = SETTINGS
    new_words: bool = False
    aligned: bool = False
    counted: str = "labels"
    fed: bool = False
    pretrained: bool = True


TRIALS = {
    "base": Trial(),
    "no_weight_decay": Trial(replace(SETTINGS, weight_decay=0.0)),
    "not_clipped": Trial(replace(SETTINGS, max_grad_norm=None)),
    "neither": Trial(replace(SETTINGS, weight_decay=0.0, max_grad_norm=None)),
    "new_words": Trial(new_words=True),
    "aligned": Trial(aligned=True),
    "equation_too": Trial(counted="equation"),
    "padding_too": Trial(counted="padding"),
    "aligned_no_weight_decay": Trial(replace(SETTINGS, weight_decay=0.0), aligned=True),
    "generated": Trial(fed=True),
    "random_weights": Trial(pretrained=False),
}


@dataclass(frozen=True)
class Slots:
    """Tell the labels of an equation at the positions after it; judged label by label.

    Attributes:
        tokens: `[n + 1, T]` inputs.
        targets: `[n + 1, T]` what to say at each.
        weights: `[n + 1, T]` 1 where the loss counts.
        slots: `[n + 1, L]` positions of the labels.
        generates: inputs at slots are what the model said before, not those of `tokens`.
    """

    tokens: Tensor
    targets: Tensor
    weights: Tensor
    slots: Tensor
    generates: bool
    last_only: ClassVar[bool] = False

    @classmethod
    def of(
        cls, data: Path, labels: Path, vocabulary: Vocabulary, trial: Trial, *, valid: bool
    ) -> "Slots":
        """Read the equations and labels of a split."""
        equations = read_equations(data)
        told = torch.from_numpy(read_labels(labels)[1].astype("int64"))
        width = equations.tokens.shape[1] + LABELS
        lengths = torch.from_numpy(equations.lengths.astype("int64"))
        starts = torch.full_like(lengths, width - LABELS) if trial.aligned else lengths
        slots = starts[:, None] + torch.arange(LABELS)
        known = torch.from_numpy(equations.tokens.astype("int64"))
        tokens = torch.full((len(known), width), vocabulary.eos)
        tokens[:, : known.shape[1]] = known.where(known >= 0, vocabulary.eos)
        targets = tokens.roll(-1, dims=1)
        targets[:, -1] = vocabulary.eos
        words = told + (vocabulary.size if trial.new_words else 0)
        targets.scatter_(1, slots, words)
        if trial.fed and not valid:
            tokens.scatter_(1, slots[:, 1:], words[:, :-1])
        counts = torch.zeros(tokens.shape).scatter_(1, slots, 1)
        if trial.counted == "equation":
            counts = counts.where(torch.arange(width) >= lengths[:, None], 1)
        elif trial.counted == "padding":
            counts = torch.ones_like(counts)
        filler = torch.zeros_like(counts[:1])
        return cls(
            tokens=torch.cat([tokens, tokens[:1]]),
            targets=torch.cat([targets, targets[:1]]),
            weights=torch.cat([counts, filler]),
            slots=torch.cat([slots, slots[:1]]),
            generates=trial.fed and valid,
        )

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def device(self) -> torch.device:
        """Return where the examples are."""
        return self.tokens.device

    def terms(self, rows: Tensor) -> Tensor:
        """Return how many targets the rows have."""
        return self.weights[rows].sum(dim=(-2, -1))

    def outputs(
        self, parameters: Parameters, size: ModelSize, rows: Tensor, dropout: Dropout
    ) -> Tensor:
        """Return the logarithm of each word's probability, `[B, T, V]`."""
        tokens, slots = self.tokens[rows], self.slots[rows]
        positions = torch.arange(tokens.shape[1])
        said = self._say(parameters, size, tokens, dropout)
        for slot in range(LABELS - 1 if self.generates else 0):
            here, following = (slots[:, slot + i, None] == positions for i in (0, 1))
            word = said.argmax(dim=-1).where(here, 0).sum(dim=-1, keepdim=True)
            tokens = word.where(following, tokens)
            said = self._say(parameters, size, tokens, dropout)
        return said

    def _say(
        self, parameters: Parameters, size: ModelSize, tokens: Tensor, dropout: Dropout
    ) -> Tensor:
        states = forward(parameters, size, tokens, dropout)
        return token_scores(parameters, states).log_softmax(dim=-1)

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the cross-entropy, summed over the targets that count."""
        words = torch.arange(outputs.shape[-1])
        wanted = outputs.where(self.targets[rows][..., None] == words, 0).sum(dim=-1)
        return -(wanted * self.weights[rows]).sum()

    def right(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return which labels the likeliest words tell right, `[B, L]`."""
        right = outputs.argmax(dim=-1) == self.targets[rows]
        return right.gather(1, self.slots[rows])


def start(trial: Trial, directories: list[Path], extra: int) -> tuple[Parameters, ModelSize]:
    """Return the parameters that a trial starts from, with `extra` more positions."""
    parameters, size = read_checkpoints(directories)
    words = 2 if trial.new_words else 0
    size = replace(
        size,
        num_positions=size.num_positions + extra,
        vocabulary_size=size.vocabulary_size + words,
    )
    seeds = range(len(directories))
    drawn = initialize(size, [torch_generator(seed, "initialization") for seed in seeds])
    if not trial.pretrained:
        return drawn, size
    for name, more in ((POSITION, extra), (EMBEDDING, words)):
        tail = drawn[name][:, drawn[name].shape[1] - more :]
        parameters[name] = torch.cat([parameters[name], tail], dim=1)
    return parameters, size


def descend(stack: Stack, rows: Tensor) -> Tensor:
    """Take a step of SGD with decay as an L2 term; return its losses, `[R]`."""
    parameters = dict(stack.parameters)
    for group in stack.groups:
        parameters |= group.views()
    losses, gradients = stack.differentiate(parameters, rows)
    scale = clip_scale(gradient_norms(gradients), stack.settings.max_grad_norm)
    rate = stack.rate[0].to(losses.dtype)
    for group, gradient in zip(stack.groups, gradients, strict=True):
        decay = stack.settings.weight_decay * group.values
        group.values.sub_(rate * (gradient * scale + decay))
    return losses


def main() -> None:
    """Run a trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("--data", type=int, default=1)
    parser.add_argument("--model", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--results", type=Path, default=ROOT / "results/reproduce")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "trials")
    arguments = parser.parse_args()
    trial, data, model = TRIALS[arguments.trial], arguments.data, arguments.model
    settings = trial.settings
    if (data, model) == (3, 2):
        settings = replace(settings, num_train_epochs=1000)  # as published
    prepare_torch("cpu", threads=1, precision="fp32")
    study = arguments.results / f"data_{data}_model_{model}"
    vocabulary = read_vocabulary(study / f"data/{data}/vocabulary.json")
    train, valid = (
        Slots.of(
            study / f"data/{data}/{split}.csv",
            study / f"domains/1/data_{data}/{split}.csv",
            vocabulary,
            trial,
            valid=split == "valid",
        )
        for split in ("train", "valid")
    )
    seeds = range(arguments.seeds)
    pretrained = study / f"pretrain/data_{data}/model_{model}"
    directories = [pretrained / f"seed_{seed}" for seed in seeds]
    size = read_checkpoints(directories[:1])[1]
    parameters, size = start(trial, directories, train.tokens.shape[1] + 1 - size.num_positions)
    stack = build_stack(
        train, size, parameters, settings, [torch_generator(s, "dropout") for s in seeds]
    )
    order = BatchOrder(len(train), settings, list(seeds), "cpu")
    total_steps = settings.total_steps(len(train))
    rows = []
    other = f"_data_{data}" if data != 1 else ""
    path = arguments.output / f"{arguments.trial}_model_{model}{other}.csv"
    path.parent.mkdir(exist_ok=True)
    with private_caches(print), torch.no_grad():
        step_on = torch.compile(descend, fullgraph=True, dynamic=False, options=CPP_OPTIONS)
        last = min(arguments.steps, total_steps)
        for step in range(1, last + 1):
            stack.rate.fill_(learning_rate(step, total_steps, settings))
            stack.dropout.draw()
            step_on(stack, order.rows(step))
            if step % settings.eval_steps == 0 or step == last:
                loss, right = decide(valid, stack.parameters, size)
                accuracy = right.float().mean(dim=(1, 2)).tolist()
                found = zip(seeds, accuracy, loss.tolist(), strict=True)
                rows += [(step, *one) for one in found]
                table = pd.DataFrame(rows, columns=["step", "seed", "domain_acc", "eval_loss"])
                table.to_csv(path, index=False, float_format="%.6g")
                print(step, [round(share, 3) for share in accuracy], flush=True)


if __name__ == "__main__":
    main()
