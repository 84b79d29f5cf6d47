"""What is told of the inside of models is what TransformerLens sees in the same checkpoint."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.data.written import tokens_of
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.checkpoint import read_checkpoints, write_checkpoints
from gpt_math_domains.training.inside import inspect_model, look_inside, of_seed
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.stack import torch_generator

SETTINGS = DataSettings(5, 3)
VOCABULARY = SETTINGS.vocabulary
SIZES = {
    "tied": ModelSize(3, 4, 32, VOCABULARY.size, 7),
    "untied": ModelSize(2, 2, 16, VOCABULARY.size, 7, tie_word_embeddings=False),
}
EQUATIONS = ["1 - 4 = - 3", "3 + 4 =(m) 3 1", "2 * 2 = 4", "0 /"]
FILES = ("train", "valid", "vocabulary", "manifest")
TABLES = ("attention", "components", "spectrum", "lens")


@pytest.fixture(params=list(SIZES.values()), ids=list(SIZES))
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint of which no parameter is 0 or 1, beside its data and what is told of it."""
    size, directory = request.param, tmp_path / "seed_0"
    generator = torch_generator(0, "test")
    parameters = initialize(size, [generator])
    for value in parameters.values():
        value += 0.2 * torch.randn(value.shape, generator=generator)
    write_checkpoints([directory], parameters, size, VOCABULARY)
    files = {name: tmp_path / name for name in FILES}
    generate_equations(SETTINGS, **files)
    tables = {name: tmp_path / f"{name}.csv" for name in TABLES}
    told = asdict(size)
    for follows in ("vocabulary_size", "num_positions"):
        del told[follows]
    paths: dict[str, Any] = files | tables
    inspect_model(1, 2, [0], [directory], told, EQUATIONS, **paths)
    return directory


def peer(directory: Path) -> TransformerBridge:
    """The checkpoint as TransformerLens loads it, its weights left as they are."""
    return TransformerBridge.boot_transformers(str(directory), device="cpu")


def test_attention_is_the_same(checkpoint: Path) -> None:
    model = peer(checkpoint)
    table = pd.read_csv(checkpoint.parent / "attention.csv", keep_default_na=False)
    assert set(table["equation"]) == set(EQUATIONS)
    for equation, rows in table.groupby("equation"):
        tokens = torch.tensor([tokens_of(str(equation), VOCABULARY)])
        _, seen = model.run_with_cache(tokens, prepend_bos=False)
        wanted = [
            seen["pattern", row["layer"] - 1][0, row["head"], row["query"], row["key"]].item()
            for row in rows.to_dict("records")
        ]
        assert rows["weight"].tolist() == pytest.approx(wanted, abs=1e-5)


def test_states_of_each_layer_are_the_same(checkpoint: Path) -> None:
    model = peer(checkpoint)
    parameters, size = read_checkpoints([checkpoint])
    tokens = torch.tensor([tokens_of(text, VOCABULARY) for text in EQUATIONS[:2]])
    found = look_inside(of_seed(parameters, 0), size, tokens).states
    _, seen = model.run_with_cache(tokens, prepend_bos=False)
    wanted = [seen["resid_pre", 0], *(seen["resid_post", n] for n in range(size.num_layers))]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-4, rtol=1e-4)


def test_each_layer_answers_the_same(checkpoint: Path) -> None:
    """The lens of TransformerLens: its accumulated states through its last LayerNorm."""
    model = peer(checkpoint)
    equations = pd.read_csv(checkpoint.parent / "valid", keep_default_na=False)
    rows = []
    for line in equations.to_dict("records"):
        tokens = [int(token) for token in line["tokens"].split()]
        _, seen = model.run_with_cache(torch.tensor([tokens]), prepend_bos=False)
        states, _ = seen.accumulated_resid(layer=-1, incl_mid=False, return_labels=True)
        answer = torch.tensor(tokens[line["answer_start"] :])
        for layer, state in enumerate(states[:, 0]):
            scores = model.unembed(model.ln_final(state[None]))[0].log_softmax(-1)
            told = scores[line["answer_start"] - 1 : len(tokens) - 1]
            rows.append(
                {
                    "layer": layer,
                    "operation": line["operation"],
                    "modulo": str(line["modulo"]),
                    "accuracy": float((told.argmax(-1) == answer).all()),
                    "probability": told.gather(1, answer[:, None]).sum().exp().item(),
                }
            )
    keys = ["layer", "operation", "modulo"]
    wanted = pd.DataFrame(rows).groupby(keys)[["accuracy", "probability"]].mean()
    table = pd.read_csv(
        checkpoint.parent / "lens.csv", keep_default_na=False, dtype={"modulo": str}
    )
    found = table[table["split"] == "valid"].set_index(keys)[["accuracy", "probability"]]
    pd.testing.assert_frame_equal(found.sort_index(), wanted.sort_index(), atol=1e-5)


def test_the_matrices_of_symbols_are_the_same(checkpoint: Path) -> None:
    """Their Fourier powers, from the definition, with matrices of NumPy."""
    model = peer(checkpoint)
    table = pd.read_csv(checkpoint.parent / "spectrum.csv")
    matrices = {"embedding": model.W_E, "tied": model.W_E, "unembedding": model.W_U.T}
    digits = torch.arange(SETTINGS.digits)
    for name, rows in table.groupby("matrix"):
        matrix = matrices[str(name)][: SETTINGS.digits].detach().double()
        powers = []
        for frequency in rows["frequency"]:
            turns = 2 * torch.pi * frequency * digits.double() / SETTINGS.digits
            waves = torch.stack([turns.cos(), turns.sin()])
            powers.append((waves @ matrix).square().sum().item() * 2 / SETTINGS.digits)
        variance = (matrix - matrix.mean(dim=0)).square().sum().item()
        assert rows["power"].tolist() == pytest.approx([p / variance for p in powers], abs=1e-6)


def test_the_vocabulary_is_that_of_the_checkpoint(checkpoint: Path) -> None:
    assert peer(checkpoint).cfg.d_vocab == Vocabulary(5).size
