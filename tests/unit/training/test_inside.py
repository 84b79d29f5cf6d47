"""What is seen inside models is what `transformers` and NumPy say is there."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt_math_domains.run import EMBEDDING, UNEMBEDDING, ModelSize
from gpt_math_domains.training.inside import (
    attention_rows,
    component_rows,
    fourier_powers,
    lens,
    lens_rows,
    look_inside,
    middle_of_families,
    of_seed,
    principal_components,
    random_powers,
    spectrum_rows,
)
from gpt_math_domains.training.model import Parameters, initialize, keep
from gpt_math_domains.training.stack import decide, torch_generator
from gpt_math_domains.training.tasks import NextTokens
from little import VOCABULARY, equations

SIZES = {
    "one block": ModelSize(1, 8, 64, VOCABULARY.size, 7),
    "three blocks": ModelSize(3, 2, 16, VOCABULARY.size, 7),
    "untied": ModelSize(2, 4, 32, VOCABULARY.size, 7, tie_word_embeddings=False),
}
TOKENS = torch.from_numpy(equations().tokens[:40:3].clip(min=0))


def perturbed(size: ModelSize, seeds: int = 1) -> Parameters:
    """Parameters of which none is 0 or 1, so that each of them matters."""
    generators = [torch_generator(seed, "test") for seed in range(seeds)]
    parameters = initialize(size, generators, dtype=torch.float64)
    for value in parameters.values():
        value += 0.3 * torch.randn(value.shape, generator=generators[0], dtype=torch.float64)
    return parameters


def peer(size: ModelSize, parameters: Parameters) -> Any:
    """The same model as `transformers` builds it."""
    config = GPT2Config(
        vocab_size=size.vocabulary_size,
        n_positions=size.num_positions,
        n_embd=size.d_model,
        n_layer=size.num_layers,
        n_head=size.num_heads,
        tie_word_embeddings=size.tie_word_embeddings,
        bos_token_id=VOCABULARY.eos,
        eos_token_id=VOCABULARY.eos,
    )
    config._attn_implementation = "eager"  # which alone tells its weights
    model: Any = GPT2LMHeadModel(config).double().eval()
    missing, unexpected = model.load_state_dict(parameters, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    return model


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_attention_and_states_of_each_layer_are_those_of_transformers(size: ModelSize) -> None:
    parameters = of_seed(perturbed(size), 0)
    found = look_inside(parameters, size, TOKENS)
    with torch.no_grad():
        told = peer(size, parameters)(TOKENS, output_attentions=True, output_hidden_states=True)
    torch.testing.assert_close(found.attention, torch.stack(told.attentions))
    # The last of their hidden states has gone through the LayerNorm at the end.
    torch.testing.assert_close(found.states[:-1], torch.stack(told.hidden_states[:-1]))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_the_lens_reads_each_layer_as_transformers_reads_the_last(size: ModelSize) -> None:
    parameters = of_seed(perturbed(size), 0)
    model = peer(size, parameters)
    right, probability = lens(parameters, size, equations(), VOCABULARY)
    tokens = torch.from_numpy(equations().tokens)
    for row, length in enumerate(equations().lengths.tolist()):
        sequence = tokens[row, :length]
        with torch.no_grad():
            told = model(sequence[None], output_hidden_states=True)
            for layer, states in enumerate(told.hidden_states):
                normed = states if layer == size.num_layers else model.transformer.ln_f(states)
                scores = model.lm_head(normed)[0, 3 : length - 1].log_softmax(-1)
                answer = sequence[4:]
                assert right[layer, row] == (scores.argmax(-1) == answer).all()
                wanted = scores.gather(1, answer[:, None]).sum().exp().item()
                assert probability[layer, row] == pytest.approx(wanted, rel=1e-9)


def test_the_last_layer_answers_what_the_model_answers() -> None:
    size = SIZES["three blocks"]
    parameters = perturbed(size, seeds=2)
    task = NextTokens.of(equations(), VOCABULARY, "cpu", torch.float64)
    _, judged = decide(task, parameters, size)
    for seed in range(2):
        right, _ = lens(of_seed(parameters, seed), size, equations(), VOCABULARY)
        assert right[-1].tolist() == judged[seed, :, 0].tolist()


def test_a_familys_row_is_the_mean_over_its_equations() -> None:
    size = SIZES["one block"]
    parameters = of_seed(perturbed(size), 0)
    right, probability = lens(parameters, size, equations(), VOCABULARY)
    rows = pd.DataFrame(lens_rows(parameters, size, {"valid": equations()}, VOCABULARY))
    assert rows["layer"].tolist() == [0, 1]
    assert rows["equations"].tolist() == [85, 85]
    assert rows["accuracy"].tolist() == pytest.approx(right.mean(axis=1))
    assert rows["probability"].tolist() == pytest.approx(probability.mean(axis=1))


def test_rows_of_attention_name_symbols_and_sum_to_one_for_each_query() -> None:
    size = SIZES["untied"]
    chosen = [[3, VOCABULARY.subtract, 5, VOCABULARY.equal, VOCABULARY.negative, 2], [7, 12]]
    rows = pd.DataFrame(attention_rows(of_seed(perturbed(size), 0), size, chosen, VOCABULARY))
    assert set(rows["equation"]) == {"3 - 5 = - 2", "7 +"}
    own = rows[rows["equation"] == "3 - 5 = - 2"]
    assert len(own) == size.num_layers * size.num_heads * 21
    assert own[own["query"] == 4]["query_symbol"].unique().tolist() == ["-"]
    sums = rows.groupby(["layer", "head", "equation", "query"])["weight"].sum()
    assert sums.tolist() == pytest.approx([1.0] * len(sums))
    assert (rows["key"] <= rows["query"]).all()


def test_one_equation_of_each_family_is_chosen() -> None:
    assert middle_of_families(equations(), VOCABULARY) == [equations().tokens[42, :5].tolist()]


def wave(digits: int, frequency: int, width: int = 5) -> np.ndarray:
    """Rows in which all columns are waves of one frequency over the digits, off the middle."""
    phases = np.arange(width)
    turns = 2 * np.pi * frequency * np.arange(digits)[:, None] / digits
    return np.cos(turns + phases) * (1 + phases) + 10 * phases


@pytest.mark.parametrize("digits", [10, 11])
@pytest.mark.parametrize("frequency", [1, 3, 5])
def test_a_pure_wave_has_one_frequency(digits: int, frequency: int) -> None:
    powers = fourier_powers(wave(digits, frequency))
    assert len(powers) == 5
    assert powers.argmax() + 1 == frequency
    assert powers.max() == pytest.approx(1.0)


@pytest.mark.parametrize("digits", [2, 3, 10, 11])
def test_random_rows_have_the_powers_that_are_told_for_them(digits: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((digits, 200_000))
    assert random_powers(digits).sum() == pytest.approx(1.0)
    assert fourier_powers(drawn) == pytest.approx(random_powers(digits), abs=0.01)


def test_powers_are_shares_of_the_variance_over_the_digits() -> None:
    rows = 2.0 * wave(10, 1) + wave(10, 3)
    assert fourier_powers(rows)[[0, 2]] == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("shape", [(10, 4), (10, 64), (2, 3)])
def test_components_keep_what_they_say_of_the_rows(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).standard_normal(shape) * np.arange(1, shape[1] + 1) + 3
    coordinates, shares = principal_components(rows)
    variances, _ = np.linalg.eigh(np.cov(rows.T))
    wanted = variances[::-1][: len(shares)] / variances.sum()
    assert shares == pytest.approx(wanted)
    assert coordinates.mean(axis=0) == pytest.approx(np.zeros(len(shares)), abs=1e-9)
    assert coordinates.var(axis=0, ddof=1) == pytest.approx(wanted * variances.sum())
    farthest = np.abs(coordinates).argmax(axis=0)
    assert (coordinates[farthest, range(len(shares))] > 0).all()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_matrices_of_symbols_are_one_or_two(size: ModelSize) -> None:
    parameters = of_seed(perturbed(size), 0)
    digits = VOCABULARY.digits
    names = ["tied"] if size.tie_word_embeddings else ["embedding", "unembedding"]
    matrices = [EMBEDDING, UNEMBEDDING][: len(names)]
    spectrum = pd.DataFrame(spectrum_rows(parameters, digits))
    components = pd.DataFrame(component_rows(parameters, digits))
    for name, matrix in zip(names, matrices, strict=True):
        rows = parameters[matrix][:digits].numpy()
        own = spectrum[spectrum["matrix"] == name]
        assert own["power"].tolist() == pytest.approx(fourier_powers(rows))
        first = components[(components["matrix"] == name) & (components["component"] == 1)]
        assert first["coordinate"].tolist() == pytest.approx(principal_components(rows)[0][:, 0])
    assert set(spectrum["matrix"]) == set(components["matrix"]) == set(names)


def test_looking_changes_nothing() -> None:
    size = SIZES["three blocks"]
    parameters = of_seed(perturbed(size), 0)
    task = NextTokens.of(equations(), VOCABULARY, "cpu", torch.float64)
    before = task.outputs(parameters, size, torch.arange(20), keep)
    look_inside(parameters, size, task.tokens[:20])
    assert torch.equal(task.outputs(parameters, size, torch.arange(20), keep), before)
