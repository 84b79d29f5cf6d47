"""Looking inside pretrained models: where they look, how digits lie, when an answer is known.

Layer 0 is the embedded symbols, layer l what block l makes of them; heads count from 0. The states
of layer l are those of the residual stream (`hidden_states` of `transformers`), which the LayerNorm
at the end has not seen, also where l is the last.

Shape letters: B equations, T positions, D `d_model`, H heads, L blocks, V vocabulary, N digits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt_math_domains.data.families import families_of, parts_of
from gpt_math_domains.data.tables import Equations, read_equations
from gpt_math_domains.data.vocabulary import Vocabulary, read_vocabulary
from gpt_math_domains.data.written import tokens_of, written_of
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.answers import SPLITS
from gpt_math_domains.results.inside import ATTENTION, COMPONENTS, LENS, SPECTRUM
from gpt_math_domains.run import EMBEDDING, UNEMBEDDING, ModelSize
from gpt_math_domains.training.judge import prepare, read_models
from gpt_math_domains.training.model import Parameters, final_norm, forward, token_scores
from gpt_math_domains.training.tasks import NextTokens

ROWS = 256  # equations looked at at once, for memory
MOST = 8  # components of a matrix that are told of

Floats = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Inside:
    """What one model does with some equations.

    Attributes:
        states: `[L + 1, B, T, D]` of each layer.
        attention: `[L, B, H, T, T]` weights, of queries and keys.
    """

    states: Tensor
    attention: Tensor


class Shown:
    """Drops nothing, and keeps what it is shown.

    GPT-2 drops values of the embedded symbols and, in each block, of the attention weights and of
    what attention and feed-forward network add to the states. So who drops sees all of these.
    """

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, states: Tensor) -> Tensor:
        """Return the states as they are."""
        self.seen.append(states)
        return states


def look_inside(parameters: Parameters, size: ModelSize, tokens: Tensor) -> Inside:
    """Return the states of all layers, and the attention, of one model.

    Args:
        parameters: of the model, without a seed axis.
        size: of the model.
        tokens: `[B, T]` ids.
    """
    shown = Shown()
    forward(parameters, size, tokens, shown)
    embedded, *blocks = shown.seen
    states, attention = [embedded], []
    for weights, attended, fed in zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True):
        attention.append(weights.permute(0, 3, 1, 2))
        states.append(states[-1] + attended + fed)
    return Inside(torch.stack(states), torch.stack(attention))


def of_seed(parameters: Parameters, place: int) -> Parameters:
    """Return the parameters of one seed of a stack."""
    return {name: value[place] for name, value in parameters.items()}


@torch.no_grad()
def inspect_model(
    data: int,
    model: int,
    seeds: Sequence[int],
    checkpoints: Sequence[Path],
    size: Mapping[str, Any],
    equations: Sequence[str] | None,
    *,
    train: str | Path,
    valid: str | Path,
    vocabulary: str | Path,
    manifest: str | Path,
    attention: str | Path,
    components: str | Path,
    spectrum: str | Path,
    lens: str | Path,
    threads: int = 1,
) -> None:
    """Write what is inside each seed of a pretrained model; in the tables of `results.inside`.

    The models run on the CPU in the precision of their weights, dropout off.

    Args:
        data: the data version.
        model: the model version.
        seeds: of the checkpoints.
        checkpoints: directories, one for each seed.
        size: that the models should have, but for what follows from the vocabulary.
        equations: those whose attention is wanted, as they are written; None for that in the
            middle of each family's validation equations.
        train: the equations trained on.
        valid: the validation equations.
        vocabulary: of both.
        manifest: the checksums of these three.
        attention: the table of attention weights.
        components: the table of principal components of the symbols.
        spectrum: the table of Fourier spectra.
        lens: the table of what each layer answers.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, the checkpoints are of another vocabulary, or an equation
            cannot be read.
    """
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    known = read_vocabulary(vocabulary)
    parameters, found = read_models(checkpoints, size, known)
    splits = {}
    for split, path in zip(SPLITS, (train, valid), strict=True):
        splits[split] = read_equations(path)
        with errors_name(path):
            parts_of(splits[split], known)
    if equations is None:
        chosen = middle_of_families(splits["valid"], known)
    else:
        chosen = [tokens_of(text, known) for text in equations]

    def every(rows_of: Callable[[Parameters], Iterable[Row]]) -> Iterator[Row]:
        for place, seed in enumerate(seeds):
            for row in rows_of(of_seed(parameters, place)):
                yield {"data": data, "model": model, "seed": seed, **row}

    ATTENTION.write(every(lambda own: attention_rows(own, found, chosen, known)), attention)
    COMPONENTS.write(every(lambda own: component_rows(own, known.digits)), components)
    SPECTRUM.write(every(lambda own: spectrum_rows(own, known.digits)), spectrum)
    LENS.write(every(lambda own: lens_rows(own, found, splits, known)), lens)


def middle_of_families(equations: Equations, vocabulary: Vocabulary) -> list[list[int]]:
    """Return the token ids of the equation in the middle of each family."""
    _, members = families_of(parts_of(equations, vocabulary))
    rows = [own[len(own) // 2] for own in map(np.flatnonzero, members.T)]
    return [equations.tokens[row, : equations.lengths[row]].tolist() for row in rows]


def attention_rows(
    parameters: Parameters,
    size: ModelSize,
    chosen: Sequence[Sequence[int]],
    vocabulary: Vocabulary,
) -> Iterator[Row]:
    """Yield how much each position of each chosen equation attends to itself and those before it.

    Args:
        parameters: of one model.
        size: of it.
        chosen: token ids of each equation.
        vocabulary: of the equations.
    """
    for tokens in chosen:
        found = look_inside(parameters, size, torch.tensor([tokens])).attention[:, 0].tolist()
        symbols = written_of(tokens, vocabulary)
        for layer, heads in enumerate(found, start=1):
            for head, weights in enumerate(heads):
                for query, key in zip(*np.tril_indices(len(tokens)), strict=True):
                    yield {
                        "layer": layer,
                        "head": head,
                        "equation": " ".join(symbols),
                        "query": int(query),
                        "query_symbol": symbols[query],
                        "key": int(key),
                        "key_symbol": symbols[key],
                        "weight": weights[query][key],
                    }


def digit_matrices(parameters: Parameters, digits: int) -> dict[str, Floats]:
    """Return the rows `[N, D]` of the digit symbols in each matrix of symbols.

    These are the `embedding` and the `unembedding`, or the one matrix that is both, `tied`.
    """
    names = {"embedding": EMBEDDING, "unembedding": UNEMBEDDING}
    if UNEMBEDDING not in parameters:
        names = {"tied": EMBEDDING}
    return {name: parameters[key][:digits].double().numpy() for name, key in names.items()}


def component_rows(parameters: Parameters, digits: int) -> Iterator[Row]:
    """Yield where each digit symbol lies along the principal components of its matrix.

    Args:
        parameters: of one model.
        digits: how many digit symbols there are.
    """
    for matrix, rows in digit_matrices(parameters, digits).items():
        coordinates, shares = principal_components(rows)
        for component, share in enumerate(shares):
            for digit in range(digits):
                yield {
                    "matrix": matrix,
                    "component": component + 1,
                    "share": share,
                    "digit": digit,
                    "coordinate": coordinates[digit, component],
                }


def principal_components(rows: Floats) -> tuple[Floats, Floats]:
    """Return the coordinates `[N, C]` of rows `[N, D]` along their principal components.

    With the rows' mean removed and X = U S V^T the singular value decomposition, these are U S; the
    second array `[C]` has the share of the variance that each explains, S^2 / sum(S^2). There are
    `MOST` at most. The sign of a component is free: the coordinate farthest from 0 is
    positive here.
    """
    centred = rows - rows.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    count = min(MOST, len(rows) - 1, len(singular))
    coordinates = left[:, :count] * singular[:count]
    farthest = np.take_along_axis(coordinates, np.abs(coordinates).argmax(axis=0)[None], axis=0)
    shares = singular**2 / max(float((singular**2).sum()), np.finfo(float).tiny)
    return coordinates * np.where(farthest < 0, -1.0, 1.0), shares[:count]


def spectrum_rows(parameters: Parameters, digits: int) -> Iterator[Row]:
    """Yield how much of a matrix of symbols varies with each frequency over the digits.

    Args:
        parameters: of one model.
        digits: how many digit symbols there are.
    """
    for matrix, rows in digit_matrices(parameters, digits).items():
        powers = zip(fourier_powers(rows), random_powers(digits), strict=True)
        for frequency, (power, expected) in enumerate(powers, start=1):
            yield {"matrix": matrix, "frequency": frequency, "power": power, "random": expected}


def fourier_powers(rows: Floats) -> Floats:
    """Return the share of the variance over the digits that each frequency has, `[N // 2]`.

    With F_k = sum over n of x_n exp(-2 pi i k n / N), of each column of rows `[N, D]`, the power
    P_k is the sum over columns of |F_k|^2 + |F_(N-k)|^2, or of |F_k|^2 where k = N / 2. It is
    returned for k = 1 ... N // 2, divided by the sum of all; k = 0, the mean, is left out. By
    Parseval's theorem these are shares of the variance.
    """
    squares = (np.abs(np.fft.rfft(rows, axis=0)) ** 2).sum(axis=1)[1:]
    powers = squares * _waves(len(rows))
    shares: Floats = powers / max(float(powers.sum()), np.finfo(float).tiny)
    return shares


def random_powers(digits: int) -> Floats:
    """Return the powers `[N // 2]` that rows of independent random numbers have on average.

    A frequency has a cosine and a sine, N / 2 only a cosine, of N - 1 waves in all.
    """
    shares: Floats = _waves(digits) / (digits - 1)
    return shares


def _waves(digits: int) -> Floats:
    """Return how many waves the frequencies 1 ... N // 2 have."""
    frequencies = np.arange(1, digits // 2 + 1)
    return np.where(2 * frequencies == digits, 1.0, 2.0)


def lens_rows(
    parameters: Parameters,
    size: ModelSize,
    splits: Mapping[str, Equations],
    vocabulary: Vocabulary,
) -> Iterator[Row]:
    """Yield what each layer answers, by family: the logit lens (nostalgebraist 2020).

    The states of a layer go straight to the LayerNorm at the end and to the unembedding, as if no
    block came after.

    Args:
        parameters: of one model.
        size: of it.
        splits: the equations, by the name of the split.
        vocabulary: of the equations.
    """
    for split, equations in splits.items():
        families, members = families_of(parts_of(equations, vocabulary))
        right, probability = lens(parameters, size, equations, vocabulary)
        for layer in range(size.num_layers + 1):
            for family, member in zip(families, members.T, strict=True):
                yield {
                    "layer": layer,
                    "split": split,
                    **family,
                    "accuracy": float(right[layer, member].mean()),
                    "probability": float(probability[layer, member].mean()),
                }


def lens(
    parameters: Parameters, size: ModelSize, equations: Equations, vocabulary: Vocabulary
) -> tuple[NDArray[np.bool_], Floats]:
    """Return of each layer which whole answers are right, and their probability, `[L + 1, n]` each.

    A probability is the product of those of the answer's tokens, given all before them.
    """
    dtype = parameters[EMBEDDING].dtype
    task = NextTokens.of(equations, vocabulary, "cpu", dtype)
    right, probability = [], []
    for rows in torch.arange(len(task)).split(ROWS):
        states = look_inside(parameters, size, task.tokens[rows]).states
        outputs = token_scores(parameters, final_norm(parameters, states)).log_softmax(dim=-1)
        targets = task.targets[rows].expand(outputs.shape[:-1])[..., None]
        wanted = outputs.gather(-1, targets).squeeze(-1).double() * task.answers[rows]
        right.append(task.right(outputs, rows)[..., 0])
        probability.append(wanted.sum(dim=-1).exp())
    return torch.cat(right, dim=1).numpy(), torch.cat(probability, dim=1).numpy()
