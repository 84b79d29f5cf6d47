"""What a phase trains on and how it is judged: next tokens, or domain labels.

A task holds its examples on the device, followed by one filler row that counts nowhere, so that a
short last batch keeps the shape of a full one. Both tasks have the same methods; `Task` names them.

Shape letters: R seeds, B rows, T positions, N = B * T, D width, L labels, n examples.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_math_domains.data.tables import Equations
from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.run import EMBEDDING, HEAD, ModelSize
from gpt_math_domains.training.model import (
    Dropout,
    NoDropout,
    Parameters,
    backward,
    forward,
    label_logits,
    one_hot_tokens,
    token_logits,
)


class Task(Protocol):
    """Examples with a loss and an accuracy. Row `len(task)` is the filler.

    Attributes:
        last_only: whether the loss reads the state of each equation's last token alone.
    """

    last_only: ClassVar[bool]

    def __len__(self) -> int:
        """Return the number of examples, filler excluded."""
        ...

    def terms(self, rows: Tensor) -> Tensor:
        """Return how many loss terms the rows `[R, B]` have, `[R]`."""
        ...

    def differentiate(
        self,
        parameters: Parameters,
        size: ModelSize,
        rows: Tensor,
        terms: Tensor,
        dropout: Dropout,
        *,
        head_only: bool = False,
    ) -> tuple[Tensor, Parameters]:
        """Return the rows' mean loss, `[R]`, and its gradients.

        Args:
            parameters: `[R, ...]` each.
            size: of each model.
            rows: `[R, B]`.
            terms: `[R]` by which sums over loss terms are divided.
            dropout: of the forward pass.
            head_only: leave out all gradients but that of the classification head.
        """
        ...

    def judge(self, parameters: Parameters, size: ModelSize, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss, `[R]`, and which decisions are right, `[R, B, L]`, dropout off.

        L is 1 where a whole answer is one decision.
        """
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

    def terms(self, rows: Tensor) -> Tensor:
        return self.weights[rows].sum(dim=(1, 2))

    def differentiate(
        self,
        parameters: Parameters,
        size: ModelSize,
        rows: Tensor,
        terms: Tensor,
        dropout: Dropout,
        *,
        head_only: bool = False,
    ) -> tuple[Tensor, Parameters]:
        states, trace = forward(parameters, size, self.tokens[rows], dropout)
        scores = token_logits(parameters, states).log_softmax(dim=-1)
        targets, weights = self._targets(rows)
        shares = weights / terms[:, None]
        losses = -(scores.gather(2, targets) * shares[..., None]).sum(dim=(1, 2))
        # Cross entropy: softmax, less 1 at the target.
        wanted = one_hot_tokens(targets.squeeze(2), size, scores.dtype)
        d_logits = (scores.exp() - wanted) * shares[..., None]
        embedding = parameters[EMBEDDING]
        gradients = backward(parameters, size, trace, torch.bmm(d_logits, embedding))
        gradients[EMBEDDING] += torch.bmm(d_logits.transpose(1, 2), states)
        return losses, gradients

    def judge(self, parameters: Parameters, size: ModelSize, rows: Tensor) -> tuple[Tensor, Tensor]:
        states, _ = forward(parameters, size, self.tokens[rows], NoDropout(self.weights))
        scores = token_logits(parameters, states).log_softmax(dim=-1)
        targets, weights = self._targets(rows)
        losses = -(scores.gather(2, targets).squeeze(2) * weights).sum(dim=1)
        wrong = (scores.argmax(dim=-1, keepdim=True) != targets).view(self.tokens[rows].shape)
        return losses, ~(wrong & self.answers[rows]).any(dim=-1, keepdim=True)

    def _targets(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows' targets `[R, N, 1]` and weights `[R, N]`."""
        return self.targets[rows].flatten(1)[..., None], self.weights[rows].flatten(1)


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

    def terms(self, rows: Tensor) -> Tensor:
        return self.weights[rows].sum(dim=1) * self.targets.shape[1]

    def differentiate(
        self,
        parameters: Parameters,
        size: ModelSize,
        rows: Tensor,
        terms: Tensor,
        dropout: Dropout,
        *,
        head_only: bool = False,
    ) -> tuple[Tensor, Parameters]:
        states, trace = forward(parameters, size, self.tokens[rows], dropout, self.last[rows])
        logits = label_logits(parameters, states)
        targets, shares = self.targets[rows], self.weights[rows] / terms[:, None]
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        d_logits = (logits.sigmoid() - targets) * shares[..., None]
        losses = (losses.sum(dim=2) * shares).sum(dim=1)
        head = torch.bmm(d_logits.transpose(1, 2), states)
        if head_only:
            return losses, {HEAD: head}
        d_states = torch.bmm(d_logits, parameters[HEAD])
        return losses, backward(parameters, size, trace, d_states) | {HEAD: head}

    def judge(self, parameters: Parameters, size: ModelSize, rows: Tensor) -> tuple[Tensor, Tensor]:
        dropout = NoDropout(self.weights)
        states, _ = forward(parameters, size, self.tokens[rows], dropout, self.last[rows])
        logits, targets = label_logits(parameters, states), self.targets[rows]
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        right = (logits > 0) == (targets > 0)
        weighted = (losses.sum(dim=2) * self.weights[rows]).sum(dim=1)
        return weighted, right


def _padded(
    equations: Equations, vocabulary: Vocabulary
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return token ids `[n + 1, T + 1]`, ended and padded with `[eos]`, and lengths `[n + 1]`.

    The last row is the filler; its length is 0.
    """
    largest = equations.tokens.max()
    if largest >= vocabulary.eos:
        raise ValueError(
            f"token {largest}: an equation's tokens are 0 to {vocabulary.eos - 1} here"
        )
    shape = len(equations.tokens) + 1, equations.tokens.shape[1] + 1
    tokens = np.full(shape, vocabulary.eos, dtype=np.int64)
    tokens[:-1, :-1] = np.where(equations.tokens < 0, vocabulary.eos, equations.tokens)
    return tokens, _with_filler(equations.lengths, 0)


def _with_filler(values: npt.NDArray[np.integer], filler: int) -> npt.NDArray[np.int64]:
    return np.append(values, filler).astype(np.int64)
