"""Training follows `transformers.Trainer`, and seeds in a stack never meet."""

from collections.abc import Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

import little
from gpt_math_domains.run import (
    EMBEDDING,
    ModelSize,
    Settings,
    Start,
    checkpoint_steps,
    evaluation_steps,
    learning_rate,
)
from gpt_math_domains.training.execution import Eager
from gpt_math_domains.training.model import forward, keep
from gpt_math_domains.training.stack import BatchOrder, Stack, decide, train
from gpt_math_domains.training.tasks import NextTokens

SETTINGS = little.settings(num_train_epochs=10, eval_steps=20, num_warmup_steps=10, shuffle=False)


def language_task() -> NextTokens:
    return NextTokens.of(little.equations(), little.VOCABULARY, "cpu", torch.float64)


def stack(
    seeds: list[int],
    settings: Settings = SETTINGS,
    kind: str = "language",
    dropout: float = 0.0,
) -> Stack:
    return little.stack(settings, seeds, kind, size=replace(little.SIZE, dropout=dropout))[0]


def run(
    stacked: Stack, seeds: list[int], settings: Settings, steps: int, execution: str = "eager"
) -> list[list[float]]:
    """Take the first steps of a run; return the losses summed after each step."""
    order = BatchOrder(len(stacked.task), settings, seeds, "cpu")
    return little.take_steps(stacked, order, settings, steps, execution)


class Recorder(TrainerCallback):
    """Keeps the learning rate that each of Trainer's steps uses."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.rates.append(more["optimizer"].param_groups[0]["lr"])


class InOrder(Trainer):
    """Trainer without shuffling, and with a loss that is not cast to float32."""

    decays_all = False

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        everything = [name for name, _ in model.named_parameters()]
        return everything if self.decays_all else super().get_decay_parameter_names(model)

    def _get_train_sampler(self, *args: Any, **more: Any) -> Any:
        return torch.utils.data.SequentialSampler(cast(Sized, self.train_dataset))

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        logits = model(inputs["input_ids"]).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), inputs["labels"][:, 1:].flatten())


def trained_by_transformers(
    directory: Path, settings: Settings, size: ModelSize
) -> tuple[GPT2LMHeadModel, list[float], set[str]]:
    """Train seed 0 with Trainer; return the model, its learning rates, and what decays."""
    task = language_task()
    sequences = torch.cat([task.tokens, task.targets[:, -1:]], dim=1)[:-1]
    padding = torch.cat([task.weights[:, :1], task.weights], dim=1)[:-1] == 0
    labels = sequences.masked_fill(padding, -100)
    dataset = [
        {"input_ids": ids, "labels": wanted} for ids, wanted in zip(sequences, labels, strict=True)
    ]
    config = GPT2Config(
        vocab_size=size.vocabulary_size,
        n_positions=size.num_positions,
        n_embd=size.d_model,
        n_layer=size.num_layers,
        n_head=size.num_heads,
        tie_word_embeddings=size.tie_word_embeddings,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config).double()
    start = little.stack(settings, [0], size=size)[0].parameters
    model.load_state_dict({name: value[0] for name, value in start.items()}, strict=False)
    recorder = Recorder()
    trainer = InOrder(
        model=model,
        args=TrainingArguments(
            output_dir=str(directory),
            num_train_epochs=settings.num_train_epochs,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=settings.num_warmup_steps,
            lr_scheduler_type=settings.lr_scheduler_type,
            max_grad_norm=settings.max_grad_norm or 0.0,
            adam_beta1=settings.adam_beta1,
            adam_beta2=settings.adam_beta2,
            adam_epsilon=settings.adam_epsilon,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=dataset,
        callbacks=[recorder],
    )
    trainer.decays_all = settings.weight_decay_on == "all"
    trainer.train()
    assert trainer.optimizer is not None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {
        names[id(parameter)]
        for group in trainer.optimizer.param_groups
        if group["weight_decay"] > 0
        for parameter in group["params"]
    }
    return model, recorder.rates, decaying


RECIPES: dict[str, dict[str, Any]] = {
    "published": {},
    "no clipping, cosine": {"max_grad_norm": None, "lr_scheduler_type": "cosine"},
    "all decay, constant": {
        "weight_decay_on": "all",
        "lr_scheduler_type": "constant",
        "num_warmup_steps": 0,
    },
    "other moments": {
        "adam_beta1": 0.8,
        "adam_beta2": 0.98,
        "adam_epsilon": 1e-4,
        "lr_scheduler_type": "constant_with_warmup",
        "max_grad_norm": 0.25,
    },
}


@pytest.mark.parametrize(
    ("recipe", "execution"),
    [
        *((recipe, "eager") for recipe in RECIPES),
        *((recipe, "compiled") for recipe in ("published", "no clipping, cosine", "other moments")),
    ],
)
def test_rates_decay_groups_and_weights_follow_trainer_over_sixty_steps(
    tmp_path: Path, recipe: str, execution: str
) -> None:
    settings = replace(SETTINGS, **RECIPES[recipe])
    size = replace(little.SIZE, dropout=0.0, tie_word_embeddings=recipe != "other moments")
    model, rates, decaying = trained_by_transformers(tmp_path, settings, size)
    stacked, order = little.stack(settings, [0], size=size)
    total = settings.total_steps(len(stacked.task))
    little.take_steps(stacked, order, settings, total, execution)

    assert total == len(rates) == 60  # six batches an epoch, the last one short
    assert rates == pytest.approx([learning_rate(s, total, settings) for s in range(1, total + 1)])
    assert decaying == {
        name for group in stacked.groups if group.weight_decay > 0 for name in group.shapes
    }
    for name, wanted in model.named_parameters():
        torch.testing.assert_close(
            stacked.parameters[name][0], wanted, rtol=1e-7, atol=1e-9, msg=name
        )


@pytest.mark.parametrize("kind", ["language", "labels"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_seed_in_a_stack_equals_the_same_seed_alone(kind: str, shuffle: bool) -> None:
    settings = replace(SETTINGS, shuffle=shuffle)
    together = stack([3, 11, 5], settings, kind)
    losses = run(together, [3, 11, 5], settings, 50)
    alone = stack([11], settings, kind)
    losses_alone = run(alone, [11], settings, 50)
    for stacked_loss, loss in zip(losses, losses_alone, strict=True):
        assert stacked_loss[1] == pytest.approx(loss[0], rel=1e-9)
    for name, value in alone.parameters.items():
        # The gradient of a key bias is 0 but for rounding, which AdamW scales up.
        torch.testing.assert_close(together.parameters[name][1:2], value, rtol=1e-9, atol=1e-9)


def test_a_seed_draws_the_same_dropout_in_a_stack_as_alone() -> None:
    together, alone = (stack(seeds, dropout=0.1) for seeds in ([3, 11], [11]))
    losses = run(together, [3, 11], SETTINGS, 10)
    losses_alone = run(alone, [11], SETTINGS, 10)
    for stacked_loss, loss in zip(losses, losses_alone, strict=True):
        assert stacked_loss[1] == pytest.approx(loss[0], rel=1e-9)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    stacked = stack([0, 1], dropout=0.1)
    stacked.dropout.draw()
    masks = stacked.dropout.masks[:, :1000]
    assert not torch.equal(masks[0], masks[1])
    assert (masks == 0).double().mean().item() == pytest.approx(0.1, abs=0.03)
    assert masks.unique().tolist() == pytest.approx([0, 1 / 0.9], rel=1e-4)


def test_each_seed_is_clipped_by_its_own_norm() -> None:
    """A seed with enormous gradients does not shrink its neighbour's step."""
    quiet, loud = stack([0]), stack([0, 1])
    with torch.no_grad():
        loud.parameters["transformer.wte.weight"][1] *= 1000
    run(quiet, [0], SETTINGS, 3)
    run(loud, [0, 1], SETTINGS, 3)
    for name, value in quiet.parameters.items():
        torch.testing.assert_close(loud.parameters[name][:1], value, rtol=1e-9, atol=1e-12)


def test_accumulated_batches_equal_one_large_batch() -> None:
    large = replace(SETTINGS, batch_size=32)
    parts = replace(SETTINGS, gradient_accumulation_steps=2)
    whole, split = stack([0], large), stack([0], parts)
    run(whole, [0], large, 12)
    run(split, [0], parts, 12)
    for name, value in whole.parameters.items():
        torch.testing.assert_close(split.parameters[name], value, rtol=1e-8, atol=1e-10)


def test_only_the_head_of_a_frozen_model_changes() -> None:
    frozen = stack([0, 1], kind="head only", dropout=0.1)
    before = {name: value.detach().clone() for name, value in frozen.parameters.items()}
    run(frozen, [0, 1], SETTINGS, 30)
    changed = {n for n, value in frozen.parameters.items() if not torch.equal(value, before[n])}
    assert changed == {"score.weight"}


def test_file_order_is_the_same_every_epoch_and_the_last_batch_is_filled_up() -> None:
    order = BatchOrder(85, SETTINGS, [0, 1], "cpu")
    first = torch.cat([order.rows(step) for step in range(1, 7)], dim=1)
    second = torch.cat([order.rows(step) for step in range(7, 13)], dim=1)
    wanted = [*range(85), *[85] * 11]
    assert first.tolist() == second.tolist() == [wanted, wanted]


def test_shuffled_epochs_hold_every_example_once_and_can_be_asked_for_in_any_order() -> None:
    settings = replace(SETTINGS, shuffle=True)
    order, later = (BatchOrder(85, settings, [0, 1], "cpu") for _ in range(2))
    batches = [order.rows(step) for step in range(1, 13)]
    for seed in range(2):
        epochs = [torch.cat([b[seed] for b in batches[i : i + 6]]) for i in (0, 6)]
        assert all(sorted(epoch.tolist())[:85] == list(range(85)) for epoch in epochs)
        assert epochs[0].tolist() != epochs[1].tolist()
    assert batches[0][0].tolist() != batches[0][1].tolist()
    assert torch.equal(later.rows(8), batches[7])
    assert torch.equal(later.rows(2), batches[1])


def test_evaluations_are_regular_early_and_at_the_end() -> None:
    assert evaluation_steps(2100, 1000) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 2100]
    assert evaluation_steps(7, 3) == [1, 2, 3, 4, 6, 7]


def test_a_run_yields_an_evaluation_at_each_of_these_steps() -> None:
    stacked = stack([0, 1], dropout=0.1)
    task = stacked.task
    beats: list[int] = []
    order = BatchOrder(len(task), SETTINGS, [0, 1], "cpu")
    executor = Eager(stacked, order, SETTINGS)
    found = list(
        train(stacked, little.judge(language_task()), order, SETTINGS, executor, beats.append)
    )
    assert [evaluation.step for evaluation in found] == evaluation_steps(60, 20)
    assert beats == list(range(1, 61))
    assert found[-1].epoch == 10
    assert all(len(evaluation.accuracy) == 2 for evaluation in found)
    assert found[-1].eval_loss < found[0].eval_loss


def test_an_evaluation_measures_parts_norms_and_training_without_dropout() -> None:
    settings = replace(SETTINGS, num_train_epochs=1, eval_steps=1)
    stacked, order = little.stack(settings, [0, 1])
    judge = little.judge(language_task())
    executor = Eager(stacked, order, settings)
    norms = []
    for evaluation in train(stacked, judge, order, settings, executor, lambda step: None):
        _, right = decide(judge.valid, stacked.parameters, little.SIZE)
        shares = right[..., 0].double()
        assert evaluation.mirrored_accuracy == shares[:, :20].mean(dim=1).tolist()
        assert evaluation.unmirrored_accuracy == shares[:, 20:].mean(dim=1).tolist()
        assert evaluation.part_accuracy == shares.mean(dim=1, keepdim=True).tolist()
        loss, right = decide(stacked.task, stacked.parameters, little.SIZE, judge.sample)
        assert evaluation.train_eval_loss == loss.tolist()
        assert evaluation.train_accuracy == right.double().mean(dim=(1, 2)).tolist()
        weights = torch.cat([value.flatten(1) for value in stacked.parameters.values()], dim=1)
        assert evaluation.weight_norm == pytest.approx(weights.norm(dim=1).tolist())
        norms.append(evaluation.grad_norm)
    # The first step has rate 0: its gradient can be had again.
    again, order = little.stack(settings, [0, 1])
    again.dropout.draw()
    _, gradients = again.differentiate(again.parameters, order.rows(1))
    assert norms[0] == pytest.approx(torch.cat(gradients, dim=1).norm(dim=1).tolist())


def test_a_part_without_examples_has_no_accuracy() -> None:
    stacked = stack([0, 1])
    judge = replace(little.judge(language_task()), mirrored=torch.zeros(85, dtype=torch.bool))
    measured = judge.measure(stacked)
    assert measured["mirrored_accuracy"] == [None, None]
    assert measured["unmirrored_accuracy"] == measured["accuracy"]


def test_checkpoints_are_kept_at_powers_of_two_or_regularly_but_not_at_the_end() -> None:
    assert checkpoint_steps(9, "none") == []
    assert checkpoint_steps(8, "log") == [0, 1, 2, 4]
    assert checkpoint_steps(9, "log") == [0, 1, 2, 4, 8]
    assert checkpoint_steps(9, {"every": 3}) == [0, 3, 6]
    assert checkpoint_steps(1, {"every": 3}) == checkpoint_steps(1, "log") == [0]


@pytest.mark.parametrize("first", [0, 3, 4, 60])
def test_a_run_keeps_the_weights_of_each_checkpoint_from_where_it_starts(first: int) -> None:
    settings = replace(SETTINGS, checkpoints="log")
    stacked, order = little.stack(settings, [0])
    executor = Eager(stacked, order, settings)
    kept: list[int] = []
    start = Start(first, first and max(s for s in evaluation_steps(60, 20) if s <= first))
    judge = little.judge(language_task())
    list(train(stacked, judge, order, settings, executor, lambda s: None, start, kept.append))
    assert kept == [step for step in (0, 1, 2, 4, 8, 16, 32) if step >= first]


def test_without_dropout_every_value_is_kept_and_no_mask_is_drawn() -> None:
    stacked = stack([0, 1])
    assert stacked.dropout.masks.shape == (2, 0)
    stacked.dropout.draw()


def test_accuracy_counts_whole_answers() -> None:
    task = language_task()
    stacked = stack([0])
    run(stacked, [0], SETTINGS, 40)
    _, decided = decide(task, stacked.parameters, little.SIZE)
    accuracy = decided.double().mean(dim=(1, 2))
    with torch.no_grad():
        weights = {name: value[0] for name, value in stacked.parameters.items()}
        states = forward(weights, little.SIZE, task.tokens[:-1], keep)
        guesses = (states @ weights[EMBEDDING].T).argmax(dim=-1)
    right = 0
    for guess, tokens in zip(guesses, little.equations().tokens, strict=True):
        answer = [int(token) for token in tokens[4:] if token >= 0]
        right += guess[3 : 3 + len(answer)].tolist() == answer
    assert 0 < right < len(task)
    assert accuracy.item() == pytest.approx(right / len(task))


def test_a_loss_that_is_not_finite_ends_the_run_and_names_step_and_seed() -> None:
    stacked = stack([4, 9])
    task = stacked.task
    with torch.no_grad():
        stacked.parameters["transformer.wte.weight"][1] = torch.nan
    order = BatchOrder(len(task), SETTINGS, [4, 9], "cpu")
    executor = Eager(stacked, order, SETTINGS)
    with pytest.raises(FloatingPointError, match=r"seed 9 .* step 1"):
        list(train(stacked, little.judge(task), order, SETTINGS, executor, lambda step: None))
