"""The stacked model computes what Hugging Face's GPT-2 computes."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from gpt_math_domains.data.equations import enumerate_family
from gpt_math_domains.data.tables import Equations
from gpt_math_domains.run import EMBEDDING, HEAD, ModelSize
from gpt_math_domains.training.model import Parameters, initialize, keep
from gpt_math_domains.training.stack import gradients_of, torch_generator
from gpt_math_domains.training.tasks import DomainLabels, NextTokens, Task
from little import VOCABULARY

SIZES = {
    "model 2": ModelSize(1, 8, 128, VOCABULARY.size, 7),
    "model 4": ModelSize(2, 8, 128, VOCABULARY.size, 7),
    "narrow and deep": ModelSize(3, 2, 16, VOCABULARY.size, 7),
}
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
LABELS = 6


def some_equations() -> Equations:
    """A batch with short and long equations: 5 and 6 tokens, with and without a modulus."""
    families = [("subtract", None), ("multiply", 3), ("divide", None)]
    tokens = torch.cat(
        [torch.from_numpy(enumerate_family(VOCABULARY, *family))[::9] for family in families]
    ).numpy()
    starts = torch.from_numpy(tokens)[:, 3].eq(VOCABULARY.equal_mod).long().add(4).numpy()
    return Equations(tokens, (tokens >= 0).sum(axis=1), starts)


def perturbed(size: ModelSize, seeds: int, dtype: torch.dtype, labels: int | None) -> Parameters:
    """Initial parameters moved off their special values, so that no term of a gradient is 0."""
    generators = [torch_generator(seed, "test") for seed in range(seeds)]
    parameters = initialize(size, generators, labels, dtype)
    for value in parameters.values():
        for seed, generator in enumerate(generators):
            value[seed] += 0.1 * torch.randn(value[seed].shape, generator=generator).to(dtype)
    return parameters


def reference(size: ModelSize, parameters: Parameters, seed: int) -> Any:
    """The same model as `transformers` builds it, with the weights of one seed."""
    config = GPT2Config(
        vocab_size=size.vocabulary_size,
        n_positions=size.num_positions,
        n_embd=size.d_model,
        n_layer=size.num_layers,
        n_head=size.num_heads,
        pad_token_id=VOCABULARY.eos,
    )
    config.num_labels = LABELS
    config.problem_type = "multi_label_classification"
    kind: Any = GPT2ForSequenceClassification if HEAD in parameters else GPT2LMHeadModel
    model = kind(config).to(parameters[EMBEDDING].dtype).eval()
    weights = {name: value[seed] for name, value in parameters.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    return model


def largest_relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def loss_and_gradients(
    task: Task, size: ModelSize, parameters: Parameters
) -> tuple[torch.Tensor, Parameters]:
    def loss(parameters: Parameters) -> torch.Tensor:
        outputs = task.outputs(parameters, size, rows, keep)
        return task.loss(outputs, rows) / task.terms(rows)

    rows = torch.arange(len(task))
    gradients, losses = gradients_of(torch.vmap(loss), parameters)
    return losses, gradients


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_language_model_loss_and_every_gradient_equal_transformers(
    size: ModelSize, dtype: torch.dtype
) -> None:
    task = NextTokens.of(some_equations(), VOCABULARY, "cpu", dtype)
    parameters = perturbed(size, 2, dtype, None)
    losses, gradients = loss_and_gradients(task, size, parameters)
    sequences = torch.cat([task.tokens, task.targets[:, -1:]], dim=1)[:-1]
    padding = torch.cat([task.weights[:, :1], task.weights], dim=1)[:-1] == 0
    for seed in range(2):
        model = reference(size, parameters, seed)
        # The model's own loss casts to float32; cross entropy of its logits does not.
        targets = sequences.masked_fill(padding, -100)[:, 1:]
        loss = F.cross_entropy(model(sequences).logits[:, :-1].flatten(0, 1), targets.flatten())
        loss.backward()
        assert losses[seed].item() == pytest.approx(loss.item(), rel=TOLERANCES[dtype])
        for name, wanted in model.named_parameters():
            found = gradients[name][seed]
            assert wanted.grad is not None
            assert largest_relative_error(found, wanted.grad) < TOLERANCES[dtype], name


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_label_loss_and_every_gradient_equal_transformers(dtype: torch.dtype) -> None:
    size, equations = SIZES["model 4"], some_equations()
    targets = (equations.tokens[:, :1] + range(LABELS)) % 2
    task = DomainLabels.of(equations, targets.astype("uint8"), VOCABULARY, "cpu", dtype)
    parameters = perturbed(size, 2, dtype, LABELS)
    losses, gradients = loss_and_gradients(task, size, parameters)
    for seed in range(2):
        model = reference(size, parameters, seed)
        loss = model(task.tokens[:-1], labels=task.targets[:-1]).loss
        loss.backward()
        assert losses[seed].item() == pytest.approx(loss.item(), rel=TOLERANCES[dtype])
        for name, wanted in model.named_parameters():
            found = gradients[name][seed]
            assert wanted.grad is not None
            assert largest_relative_error(found, wanted.grad) < TOLERANCES[dtype], name


def test_initial_weights_have_the_spread_of_transformers() -> None:
    size = SIZES["model 4"]
    drawn = initialize(size, [torch_generator(0, "test")])
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=size.vocabulary_size,
            n_positions=size.num_positions,
            n_embd=size.d_model,
            n_layer=size.num_layers,
            n_head=size.num_heads,
        )
    )
    for name, wanted in model.named_parameters():
        assert drawn[name].shape[1:] == wanted.shape
        assert drawn[name].std().item() == pytest.approx(wanted.std().item(), rel=0.15), name
        error = wanted.std().item() * (2 / wanted.numel()) ** 0.5
        assert drawn[name].mean().item() == pytest.approx(wanted.mean().item(), abs=4 * error), name


def test_initial_weights_of_a_seed_do_not_depend_on_its_neighbours() -> None:
    size = SIZES["model 2"]
    alone = initialize(size, [torch_generator(7, "weights")], LABELS)
    stacked = initialize(size, [torch_generator(s, "weights") for s in (3, 7)], LABELS)
    for name, value in alone.items():
        assert torch.equal(stacked[name][1], value[0]), name
