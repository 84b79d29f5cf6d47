"""What a phase trains on and how it is judged: next tokens, or domain labels.

A task holds its examples on the device, followed by one filler row that counts nowhere, so that a
short last batch keeps the shape of a full one. Both tasks have the same methods; `Task` names them.
They are of one model; the seeds of a stack go through them side by side.

Shape letters: B rows, T positions, V vocabulary, L labels, n examples.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_math_domains.data.tables import Equations, require_known
from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.run import HEAD, ModelSize
from gpt_math_domains.training.model import Dropout, Parameters, forward, token_scores


class Task(Protocol):
    """Examples with a loss and an accuracy. Row `len(task)` is the filler.

    Attributes:
        last_only: whether the loss reads the state of each equation's last token alone.
    """

    last_only: ClassVar[bool]

    def __len__(self) -> int:
        """Return the number of examples, filler excluded."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where the examples are."""
        ...

    def terms(self, rows: Tensor) -> Tensor:
        """Return how many loss terms the rows `[..., B]` have, `[...]`."""
        ...

    def outputs(
        self, parameters: Parameters, size: ModelSize, rows: Tensor, dropout: Dropout
    ) -> Tensor:
        """Return what a model says of the rows `[B]`."""
        ...

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of what it said, summed over all terms."""
        ...

    def right(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return which decisions are right, `[B, L]`; L is 1 where a whole answer is one."""
        ...


@dataclass(frozen=True)
class NextTokens:
    """Predict every token of an equation and the end after it; judged by whole answers.

    Attributes:
        tokens: `[n + 1, T]` inputs.
        targets: `[n + 1, T]` the token after each input.
        weights: `[n + 1, T]` 1 where the target is not padding.
        answers: `[n + 1, T]` True where the target is a token of the answer.
    """

    tokens: Tensor
    targets: Tensor
    weights: Tensor
    answers: Tensor
    last_only: ClassVar[bool] = False

    @classmethod
    def of(
        cls, equations: Equations, vocabulary: Vocabulary, device: str, dtype: torch.dtype
    ) -> "NextTokens":
        """Make the task of a data version's equations.

        Raises:
            ValueError: the equations do not fit the vocabulary.
        """
        tokens, lengths = _padded(equations, vocabulary)
        starts = _with_filler(equations.answer_starts, 0)
        target = np.arange(1, tokens.shape[1])  # position of each target in the sequence
        weights = (target <= lengths[:, None]) & (lengths[:, None] > 0)
        answers = (target >= starts[:, None]) & (target < lengths[:, None])
        return cls(
            tokens=torch.from_numpy(tokens[:, :-1].copy()).to(device),
            targets=torch.from_numpy(tokens[:, 1:].copy()).to(device),
            weights=torch.from_numpy(weights).to(device, dtype),
            answers=torch.from_numpy(answers).to(device),
        )

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    def terms(self, rows: Tensor) -> Tensor:
        return self.weights[rows].sum(dim=(-2, -1))

    def outputs(
        self, parameters: Parameters, size: ModelSize, rows: Tensor, dropout: Dropout
    ) -> Tensor:
        """Return the logarithm of each next token's probability, `[B, T, V]`."""
        states = forward(parameters, size, self.tokens[rows], dropout)
        return token_scores(parameters, states).log_softmax(dim=-1)

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        # A look-up as a sum. On CUDA, the gradient of `gather` is the same each time by sorting.
        tokens = torch.arange(outputs.shape[-1], device=self.device)
        wanted = outputs.where(self.targets[rows][..., None] == tokens, 0).sum(dim=-1)
        return -(wanted * self.weights[rows]).sum()

    def right(self, outputs: Tensor, rows: Tensor) -> Tensor:
        wrong = outputs.argmax(dim=-1) != self.targets[rows]
        return ~(wrong & self.answers[rows]).any(dim=-1, keepdim=True)


@dataclass(frozen=True)
class DomainLabels:
    """Tell the labels of an equation from the state of its last token; judged label by label.

    Attributes:
        tokens: `[n + 1, T]` inputs.
        last: `[n + 1]` position of the equation's last token.
        targets: `[n + 1, L]` 0 or 1.
        weights: `[n + 1]` 1, and 0 for the filler.
    """

    tokens: Tensor
    last: Tensor
    targets: Tensor
    weights: Tensor
    last_only: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        equations: Equations,
        labels: npt.NDArray[np.uint8],
        vocabulary: Vocabulary,
        device: str,
        dtype: torch.dtype,
    ) -> "DomainLabels":
        """Make the task of a data version's equations and their labels `[n, L]`.

        Raises:
            ValueError: the equations do not fit the vocabulary, or the labels the equations.
        """
        if len(labels) != len(equations.tokens):
            raise ValueError(
                f"{len(labels)} rows of labels for {len(equations.tokens)} equations: "
                "the two tables must have the same rows"
            )
        tokens, lengths = _padded(equations, vocabulary)
        targets = np.concatenate([labels, np.zeros_like(labels[:1])])
        return cls(
            tokens=torch.from_numpy(tokens[:, :-1].copy()).to(device),
            last=torch.from_numpy((lengths - 1).clip(min=0)).to(device),
            targets=torch.from_numpy(targets).to(device, dtype),
            weights=torch.from_numpy(lengths > 0).to(device, dtype),
        )

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    def terms(self, rows: Tensor) -> Tensor:
        return self.weights[rows].sum(dim=-1) * self.targets.shape[1]

    def outputs(
        self, parameters: Parameters, size: ModelSize, rows: Tensor, dropout: Dropout
    ) -> Tensor:
        """Return the logit of each label, `[B, L]`."""
        states = forward(parameters, size, self.tokens[rows], dropout, self.last[rows])
        return states @ parameters[HEAD].T

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(outputs, self.targets[rows], reduction="none")
        return (losses.sum(dim=-1) * self.weights[rows]).sum()

    def right(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return (outputs > 0) == (self.targets[rows] > 0)


def _padded(
    equations: Equations, vocabulary: Vocabulary
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return token ids `[n + 1, T + 1]`, ended and padded with `[eos]`, and lengths `[n + 1]`.

    The last row is the filler; its length is 0.
    """
    require_known(equations.tokens, vocabulary)
    shape = len(equations.tokens) + 1, equations.tokens.shape[1] + 1
    tokens = np.full(shape, vocabulary.eos, dtype=np.int64)
    tokens[:-1, :-1] = np.where(equations.tokens < 0, vocabulary.eos, equations.tokens)
    return tokens, _with_filler(equations.lengths, 0)


def _with_filler(values: npt.NDArray[np.integer], filler: int) -> npt.NDArray[np.int64]:
    return np.append(values, filler).astype(np.int64)
