"""Probes find what can be read along a line, and no more."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.files import sha256, write_json
from gpt_math_domains.results.inside import PROBES
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.checkpoint import write_checkpoints
from gpt_math_domains.training.inside import look_inside, of_seed
from gpt_math_domains.training.model import forward, initialize, keep
from gpt_math_domains.training.probes import fit_probe, last_states, last_step, probe_labels
from gpt_math_domains.training.stack import torch_generator
from gpt_math_domains.training.tasks import DomainLabels
from little import SIZE, task
from training_job import SETTINGS

MODEL = {"num_layers": 2, "num_heads": 2, "d_model": 16}
NAMES = ("train", "valid", "vocabulary", "manifest")
LABELS = ["first_odd", "has_zero"]
RUN = {"phase": "pretrain", "data": 4, "model": 2, "domain": 1, "protocol": None}


def states(rows: int, width: int, seed: int = 0) -> np.ndarray:
    """States whose dimensions differ much in size and place, as those of models do."""
    drawn = np.random.default_rng(seed).standard_normal((rows, width))
    return drawn * np.logspace(-3, 2, width) + np.arange(width)


def test_a_label_that_stands_along_a_line_is_told() -> None:
    shown, others = states(800, 12), states(400, 12, seed=1)
    for dimension in (0, 11):  # small and large ones alike
        answers, wanted = (x[:, dimension] > dimension for x in (shown, others))
        probe = fit_probe(shown, answers)
        assert (probe.tell(shown) == answers).mean() > 0.98  # the penalty costs the closest ones
        assert (probe.tell(others) == wanted).mean() > 0.97


def test_a_label_at_random_is_told_as_well_as_by_the_majority() -> None:
    chance = np.random.default_rng(5)
    answers, wanted = (chance.random(count) < 0.7 for count in (4000, 2000))
    probe = fit_probe(states(4000, 12), answers)
    told = (probe.tell(states(2000, 12, seed=1)) == wanted).mean()
    assert told == pytest.approx(wanted.mean(), abs=0.03)


@pytest.mark.parametrize("noise", [0.0, 1.0], ids=["separable", "noisy"])
def test_the_fit_is_the_minimum_that_another_method_finds(noise: float) -> None:
    shown = states(300, 6)
    comparable = (shown - shown.mean(axis=0)) / shown.std(axis=0)
    chance = np.random.default_rng(2).standard_normal(300)
    answers = comparable[:, 0] + noise * chance > 0.3
    signs = np.where(answers, 1.0, -1.0)

    def loss(weights: np.ndarray) -> float:
        margins = signs * (comparable @ weights[:-1] + weights[-1])
        return float(np.logaddexp(0, -margins).sum() + (weights[:-1] ** 2).sum() / 2)

    found = minimize(loss, np.zeros(7), method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
    probe = fit_probe(shown, answers)
    assert [*probe.weights, probe.bias] == pytest.approx(found.x, abs=1e-3)


@pytest.mark.parametrize("answer", [True, False])
def test_a_label_that_is_always_the_same_is_told_as_that(answer: bool) -> None:
    probe = fit_probe(states(50, 4), np.full(50, answer))
    assert (probe.tell(states(20, 4, seed=1)) == answer).all()


def test_a_dimension_that_never_varies_does_no_harm() -> None:
    shown = states(100, 4)
    shown[:, 2] = 7.0
    answers = shown[:, 0] > 0
    assert (fit_probe(shown, answers).tell(shown) == answers).mean() > 0.95


def test_probes_read_the_states_that_finetuning_reads() -> None:
    examples = task("labels")
    assert isinstance(examples, DomainLabels)
    parameters = of_seed(initialize(SIZE, [torch_generator(0, "test")], dtype=torch.float64), 0)
    found = last_states(parameters, SIZE, examples)
    assert found.shape == (SIZE.num_layers + 1, len(examples), SIZE.d_model)
    read = forward(parameters, SIZE, examples.tokens[:-1], keep, examples.last[:-1])
    width = (SIZE.d_model,)
    normed = torch.nn.functional.layer_norm(torch.from_numpy(found[-1]), width, eps=1e-5)
    torch.testing.assert_close(normed, read)  # fresh LayerNorms have gain 1 and no bias
    inside = look_inside(parameters, SIZE, examples.tokens[:1]).states
    assert found[0, 0] == pytest.approx(inside[0, 0, examples.last[0]].numpy())


def a_run(
    root: Path, checkpoints: dict[str, str], size: ModelSize | None = None
) -> dict[str, Path]:
    """Write the files of a data version, labels and a run of two seeds; return their paths."""
    paths = {name: root / name for name in NAMES}
    settings = DataSettings(4, None)
    generate_equations(settings, **paths)
    labelled = {
        f"labelled_{name}": root / f"{name}_labels" for name in ("train", "valid", "manifest")
    }
    label_domains(LABELS, **paths, **labelled)
    size = size or ModelSize(2, 2, 16, settings.vocabulary.size, 7)
    weights = initialize(size, [torch_generator(seed, "other") for seed in (0, 1)])
    directories = [root / f"seed_{seed}" for seed in (0, 1)]
    write_checkpoints(directories, weights, size, settings.vocabulary)
    write_json(root / "run.json", {"run": RUN, "settings": SETTINGS, "checkpoints": checkpoints})
    return paths


def probed(root: Path, **changes: object) -> pd.DataFrame:
    arguments: dict[str, Any] = {name: root / name for name in NAMES}
    arguments |= {f"{name}_labels": root / f"{name}_labels" for name in ("train", "valid")}
    run = RUN | changes
    directories = [root / f"seed_{seed}" for seed in (0, 1)]
    probe_labels(
        *(run, [0, 1], directories, MODEL, root / "run.json"),
        **arguments,
        output=root / "probes.csv",
    )
    return PROBES.read([root / "probes.csv"])


def test_random_weights_and_the_end_are_told_by_layer_label_and_seed(tmp_path: Path) -> None:
    a_run(tmp_path, {})
    table = probed(tmp_path)
    end = last_step(tmp_path / "run.json", len((tmp_path / "train").read_text().splitlines()) - 1)
    assert sorted(set(table["step"])) == [0, end]
    assert len(table) == 2 * 2 * 3 * 2  # seeds, steps, layers with the embedding, labels
    labels = pd.read_csv(tmp_path / "valid_labels")
    yes = pd.read_csv(tmp_path / "train_labels")["has_zero"].mean() >= 0.5
    own = table[table["label"] == "has_zero"]
    assert set(own["majority"]) == {(labels["has_zero"] == yes).mean()}
    again = probed(tmp_path)
    pd.testing.assert_frame_equal(table, again)


def test_step_0_is_what_training_begins_with(tmp_path: Path) -> None:
    a_run(tmp_path, {})
    drawn = probed(tmp_path)
    settings = DataSettings(4, None)
    size = ModelSize(2, 2, 16, settings.vocabulary.size, 7)
    first = initialize(size, [torch_generator(seed, "weights") for seed in (0, 1)])
    kept = [tmp_path / f"seed_{seed}" / "step_0" for seed in (0, 1)]
    write_checkpoints(kept, first, size, settings.vocabulary)
    names = [f"seed_{seed}/step_0/model.safetensors" for seed in (0, 1)]
    sums = {name: sha256(tmp_path / name) for name in names}
    write_json(tmp_path / "run.json", {"run": RUN, "settings": SETTINGS, "checkpoints": sums})
    pd.testing.assert_frame_equal(probed(tmp_path), drawn)


def test_finetuned_models_are_told_at_their_end_alone(tmp_path: Path) -> None:
    a_run(tmp_path, {})
    table = probed(tmp_path, phase="finetune", protocol="full")
    assert table["step"].nunique() == 1
    assert set(table["protocol"]) == {"full"}


def test_labels_of_which_some_are_missing_are_refused_in_one_line(tmp_path: Path) -> None:
    a_run(tmp_path, {})
    labels = tmp_path / "valid_labels"
    labels.write_text("\n".join(line.rpartition(",")[0] for line in labels.open()) + "\n")
    said = r"valid_labels: has the labels \['first_odd'\], not \['first_odd', 'has_zero'\]"
    with pytest.raises(ValueError, match=said):
        probed(tmp_path)
    assert not (tmp_path / "probes.csv").exists()


def test_a_record_without_settings_is_refused_in_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"checkpoints": {}})
    with pytest.raises(ValueError, match=r"run\.json: expected the record of a run"):
        last_step(tmp_path / "run.json", 10)
