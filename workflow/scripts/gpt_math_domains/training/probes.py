"""Linear probes: which labels of an equation can be read from the states of each layer.

The states are those of an equation's last token, which finetuning reads too; layers count as in
`training.inside`.

Shape letters: L blocks, n equations, D `d_model`, K labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpt_math_domains.data.tables import read_equations, read_labels
from gpt_math_domains.data.vocabulary import read_vocabulary
from gpt_math_domains.files import errors_name, read_json
from gpt_math_domains.results.inside import PROBES
from gpt_math_domains.run import EMBEDDING, ModelSize, Settings
from gpt_math_domains.training.checkpoint import kept_checkpoints
from gpt_math_domains.training.inside import ROWS, look_inside, of_seed
from gpt_math_domains.training.judge import prepare, read_models
from gpt_math_domains.training.model import Parameters, initialize
from gpt_math_domains.training.stack import torch_generator
from gpt_math_domains.training.tasks import DomainLabels

Floats = NDArray[np.float64]

PENALTY = 1.0  # as scikit-learn's LogisticRegression has it, C = 1
TOLERANCE = 1e-8  # of the gradient, as a share of the equations
MOST_STEPS = 200


@torch.no_grad()
def probe_labels(
    run: Mapping[str, Any],
    seeds: Sequence[int],
    checkpoints: Sequence[Path],
    size: Mapping[str, Any],
    record: str | Path,
    *,
    train: str | Path,
    valid: str | Path,
    vocabulary: str | Path,
    manifest: str | Path,
    train_labels: str | Path,
    valid_labels: str | Path,
    output: str | Path,
    threads: int = 1,
) -> None:
    """Write how well probes tell labels of each layer of a run's models; see `PROBES`.

    Probes are fitted at the end of training and at the checkpoints that the run kept along it. In
    pretraining step 0 is told of in any case: the random weights that the training began with, from
    which a probe reads what the symbols and the architecture alone give away.

    Args:
        run: phase, data, model, domain and protocol; the domain is that of the labels.
        seeds: of the checkpoints.
        checkpoints: directories, one for each seed.
        size: that the models should have, but for what follows from the vocabulary.
        record: of the run.
        train: the equations that probes are fitted to.
        valid: the equations that they are judged by.
        vocabulary: of both.
        manifest: the checksums of these three.
        train_labels: labels of the equations to fit.
        valid_labels: labels of the equations to judge by.
        output: the table.
        threads: of the CPU.

    Raises:
        ValueError: a file is malformed, or a checkpoint is of another vocabulary, or is not what
            the record says.
        FloatingPointError: a probe does not converge.
    """
    prepare(threads, manifest, train=train, valid=valid, vocabulary=vocabulary)
    known = read_vocabulary(vocabulary)
    final, found = read_models(checkpoints, size, known)
    dtype = final[EMBEDDING].dtype
    tasks, columns = [], []
    for path, labels_path in ((train, train_labels), (valid, valid_labels)):
        equations = read_equations(path)
        names, labels = read_labels(labels_path)
        columns.append(names)
        with errors_name(f"{path} and {labels_path}"):
            tasks.append(DomainLabels.of(equations, labels, known, "cpu", dtype))
    if columns[0] != columns[1]:
        raise ValueError(f"{valid_labels}: has the labels {columns[1]}, not {columns[0]}")
    stages: dict[int, Parameters | Sequence[Path]] = {}
    if run["phase"] == "pretrain":
        generators = [torch_generator(seed, "weights") for seed in seeds]
        stages[0] = initialize(found, generators, dtype=dtype)
    stages |= kept_checkpoints(Path(record), seeds)
    stages[last_step(Path(record), len(tasks[0]))] = final
    rows = []
    for step, stage in stages.items():
        parameters = stage if isinstance(stage, dict) else read_models(stage, size, known)[0]
        for place, seed in enumerate(seeds):
            for told in probe_rows(of_seed(parameters, place), found, tasks[0], tasks[1], names):
                rows.append({**run, "seed": seed, "step": step, **told})
    PROBES.write(sorted(rows, key=lambda row: row["seed"]), output)


def last_step(record: Path, examples: int) -> int:
    """Return the optimizer steps of a training that is done.

    Args:
        record: of the run.
        examples: that it trained on.

    Raises:
        ValueError: this is no record of a run.
    """
    try:
        return Settings(**read_json(record)["settings"]).total_steps(examples)
    except (KeyError, TypeError):
        raise ValueError(f"{record}: expected the record of a run, with its settings") from None


def probe_rows(
    parameters: Parameters,
    size: ModelSize,
    train: DomainLabels,
    valid: DomainLabels,
    labels: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Yield how well each label is told from each layer of one model."""
    pairs = zip(
        last_states(parameters, size, train), last_states(parameters, size, valid), strict=True
    )
    for layer, (states, others) in enumerate(pairs):
        for place, label in enumerate(labels):
            answers, wanted = ((task.targets[:-1, place] > 0).numpy() for task in (train, valid))
            probe = fit_probe(states, answers)
            yield {
                "layer": layer,
                "label": label,
                "accuracy": float((probe.tell(others) == wanted).mean()),
                "train_accuracy": float((probe.tell(states) == answers).mean()),
                "majority": float((wanted == (answers.mean() >= 0.5)).mean()),
            }


def last_states(parameters: Parameters, size: ModelSize, task: DomainLabels) -> Floats:
    """Return the states of each equation's last token in each layer, `[L + 1, n, D]`."""
    parts = []
    for rows in torch.arange(len(task)).split(ROWS):
        states = look_inside(parameters, size, task.tokens[rows]).states
        parts.append(states[:, torch.arange(len(rows)), task.last[rows]])
    found: Floats = torch.cat(parts, dim=1).double().numpy()
    return found


@dataclass(frozen=True)
class Probe:
    """A linear classifier of states.

    Attributes:
        mean: `[D]` subtracted from states.
        deviation: `[D]` by which they are then divided.
        weights: `[D]` of the states so made comparable.
        bias: added to their sum.
    """

    mean: Floats
    deviation: Floats
    weights: Floats
    bias: float

    def tell(self, states: Floats) -> NDArray[np.bool_]:
        """Return whether the label holds for states `[n, D]`."""
        found: NDArray[np.bool_] = (
            (states - self.mean) / self.deviation
        ) @ self.weights + self.bias > 0
        return found


def fit_probe(states: Floats, answers: NDArray[np.bool_]) -> Probe:
    """Return the logistic regression of answers `[n]` on states `[n, D]`.

    States are standardized, each of the D by the mean and the standard deviation of the n. Then

        sum over equations of log(1 + exp(-s (w x + b))) + |w|^2 PENALTY / 2

    is least, s being 1 for yes and -1 for no. It has one minimum; Newton's method finds it, with
    steps halved until they lead down.

    Raises:
        FloatingPointError: it does not within `MOST_STEPS`.
    """
    mean, deviation = states.mean(axis=0), states.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    inputs = np.column_stack([(states - mean) / deviation, np.ones(len(states))])
    penalty = np.append(np.full(states.shape[1], PENALTY), 0.0)
    signs = np.where(answers, 1.0, -1.0)

    def loss(weights: Floats) -> float:
        margins = signs * (inputs @ weights)
        return float(np.logaddexp(0.0, -margins).sum() + penalty @ weights**2 / 2)

    weights = np.zeros(len(penalty))
    for _ in range(MOST_STEPS):
        yes = 1 / (1 + np.exp(-np.clip(inputs @ weights, -500, 500)))
        gradient = inputs.T @ (yes - answers) + penalty * weights
        if np.abs(gradient).max() <= TOLERANCE * len(states):
            return Probe(mean, deviation, weights[:-1], float(weights[-1]))
        curvature = (inputs.T * (yes * (1 - yes))) @ inputs + np.diag(penalty)
        step, here = np.linalg.solve(curvature, gradient), loss(weights)
        slope = float(gradient @ step)
        size = 1.0
        while loss(weights - size * step) > here - 1e-4 * size * slope and size > 1e-6:
            size /= 2
        weights = weights - size * step
    raise FloatingPointError(f"a probe does not converge in {MOST_STEPS} steps of Newton's method")
