"""TransformerLens takes a checkpoint's directory and nothing else."""

from pathlib import Path

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoints import PRETRAINED, equations, name


@pytest.mark.parametrize("checkpoint", PRETRAINED, ids=name)
def test_the_bridge_gives_the_logits_of_transformers(checkpoint: Path) -> None:
    bridge = TransformerBridge.boot_transformers(str(checkpoint), device="cpu")
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    for prompt, _ in equations()[::4]:
        theirs = bridge(prompt, prepend_bos=False)
        ours = model(**tokenizer(prompt, return_tensors="pt")).logits
        assert theirs.shape == ours.shape
        assert torch.allclose(theirs, ours, atol=1e-5)


def test_the_bridge_caches_what_happens_inside() -> None:
    checkpoint = PRETRAINED[0]
    bridge = TransformerBridge.boot_transformers(str(checkpoint), device="cpu")
    logits, cache = bridge.run_with_cache("3 + 2 =", prepend_bos=False)
    pattern = cache["pattern", 0]
    assert pattern.shape == (1, 4, 4, 4)
    assert torch.allclose(pattern.sum(dim=-1), torch.ones(1, 4, 4))
    assert logits.shape == (1, 4, 13)


def test_the_bridge_refuses_an_unknown_symbol() -> None:
    bridge = TransformerBridge.boot_transformers(str(PRETRAINED[0]), device="cpu")
    with pytest.raises(IndexError):
        bridge("3 + seven =", prepend_bos=False)
