"""nnsight takes a checkpoint's directory and nothing else."""

from pathlib import Path

import pytest
import torch
from nnsight import TransformersModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoints import PRETRAINED, equations, name


@pytest.mark.parametrize("checkpoint", PRETRAINED, ids=name)
def test_a_trace_gives_the_logits_of_transformers_and_the_states_inside(checkpoint: Path) -> None:
    traced = TransformersModel(str(checkpoint), task="text-generation", dispatch=True)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    prompt = equations()[0].prompt
    with traced.trace(prompt):
        states = traced.transformer.ln_f.output.save()
        logits = traced.lm_head.output.save()
    ours = model(**tokenizer(prompt, return_tensors="pt"), output_hidden_states=True)
    assert torch.allclose(logits, ours.logits, atol=1e-5)
    assert torch.allclose(states, ours.hidden_states[-1], atol=1e-5)
