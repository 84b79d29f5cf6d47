"""Text in, answer out, with plain `transformers`, old and new."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from checkpoints import FINETUNED, PRETRAINED, STUDY, equations, name, rows


def load(kind: Any, checkpoint: Path) -> tuple[Any, Any]:
    """Return a model and its tokenizer, with nothing but their defaults."""
    return kind.from_pretrained(checkpoint).eval(), AutoTokenizer.from_pretrained(checkpoint)


def told_right(checkpoint: Path) -> list[bool]:
    """Return which validation equations the project itself counts as right."""
    seed = checkpoint.name.removeprefix("seed_")
    table = rows(checkpoint.parent / "answers.csv")
    return [row["right"] == "1" for row in table if (row["seed"], row["split"]) == (seed, "valid")]


@pytest.mark.parametrize("checkpoint", PRETRAINED, ids=name)
def test_a_batch_of_prompts_is_answered_as_the_table_of_answers_says(checkpoint: Path) -> None:
    model, tokenizer = load(AutoModelForCausalLM, checkpoint)
    asked = equations()
    batch = tokenizer([equation.prompt for equation in asked], padding=True, return_tensors="pt")
    continued = model.generate(**batch)[:, batch["input_ids"].shape[1] :]
    answers = tokenizer.batch_decode(continued, skip_special_tokens=True)
    right = [f"{a} ".startswith(f"{e.answer} ") for a, e in zip(answers, asked, strict=True)]
    assert right == told_right(checkpoint)
    assert any(right) and not all(right)


@pytest.mark.parametrize("checkpoint", PRETRAINED, ids=name)
def test_a_pipeline_gives_the_same_answers(checkpoint: Path) -> None:
    generator = pipeline("text-generation", model=str(checkpoint))
    asked = equations()
    prompts = [equation.prompt for equation in asked]
    told = generator(prompts, return_full_text=False, batch_size=8)
    answers = [one["generated_text"].strip() for [one] in told]
    right = [f"{a} ".startswith(f"{e.answer} ") for a, e in zip(answers, asked, strict=True)]
    assert right == told_right(checkpoint)


def test_transformers_5_glues_an_answer_to_a_prompt_that_does_not_end_with_a_blank() -> None:
    generator = pipeline("text-generation", model=str(PRETRAINED[0]))
    blank = " " if transformers.__version__.startswith("5.") else ""
    [told] = generator(f"1 + 2 =(m) 3{blank}", max_new_tokens=1)
    assert len(told["generated_text"].split(" ")) == 6


@pytest.mark.parametrize("checkpoint", FINETUNED, ids=name)
def test_the_labels_of_a_batch_are_told_as_right_as_the_table_of_labels_says(
    checkpoint: Path,
) -> None:
    classifier = pipeline("text-classification", model=str(checkpoint), top_k=None)
    asked = [f"{equation.prompt} {equation.answer}" for equation in equations()]
    truth = rows(STUDY / "domains/1/data_5/valid.csv")
    told = [
        {label["label"]: label["score"] > 0.5 for label in labels}
        for labels in classifier(asked, batch_size=8)
    ]
    ends = [
        row
        for row in rows(checkpoint.parent / "labels.csv")
        if row["seed"] == checkpoint.name.removeprefix("seed_")
    ]
    for row in ends[-len(told[0]) :]:
        label = row["label"]
        hits = [yes[label] == (true[label] == "1") for yes, true in zip(told, truth, strict=True)]
        assert sum(hits) / len(hits) == pytest.approx(float(row["accuracy"]))


@pytest.mark.parametrize("checkpoint", FINETUNED, ids=name)
def test_a_classifier_tells_the_same_of_one_equation_and_of_a_batch(checkpoint: Path) -> None:
    model, tokenizer = load(AutoModelForSequenceClassification, checkpoint)
    asked = [f"{equation.prompt} {equation.answer}" for equation in equations()][::4]
    together = model(**tokenizer(asked, padding=True, return_tensors="pt")).logits
    alone = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in asked]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_an_unknown_symbol_is_refused_by_the_model() -> None:
    model, tokenizer = load(AutoModelForCausalLM, PRETRAINED[0])
    prompt = tokenizer("3 + seven =", return_tensors="pt")
    assert prompt["input_ids"][0].tolist().count(tokenizer.unk_token_id) == 1
    assert tokenizer.decode(prompt["input_ids"][0]) == "3 + [unk] ="
    with pytest.raises(IndexError):
        model.generate(**prompt)


def test_a_tokenizer_says_what_a_reader_might_take_for_granted() -> None:
    for checkpoint, side in ((PRETRAINED[0], "left"), (FINETUNED[0], "right")):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        assert tokenizer.padding_side == side
        assert set(tokenizer("1 + 1 =")) == {"input_ids", "attention_mask"}
