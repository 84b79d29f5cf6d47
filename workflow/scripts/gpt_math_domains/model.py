"""GPT-2, stacked: all seeds of a run are one set of tensors with a leading seed axis.

Parameters are a plain dictionary from the names that Hugging Face uses to tensors of shape
`[seeds, ...]`; weight matrices are `[seeds, inputs, outputs]`, as in its `Conv1D`. The arithmetic
is that of `GPT2LMHeadModel` and `GPT2ForSequenceClassification` (Radford et al. 2019, "Language
Models are Unsupervised Multitask Learners").

Shape letters: R seeds, B equations, T positions, D `d_model`, V vocabulary, L labels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]
Dropout = Callable[[Tensor], Tensor]

HEAD = "score.weight"
INITIAL_STD = 0.02
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class ModelSize:
    """What fixes the shapes of one model.

    `num_positions` is the longest equation and its end, not GPT-2's 1,024: the rows beyond would
    never be read. The end predicts nothing, so training runs over one position less.
    """

    num_layers: int
    num_heads: int
    d_model: int
    vocabulary_size: int
    num_positions: int

    def shapes(self, num_labels: int | None = None) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of one seed, with a head where there are labels."""
        width = self.d_model
        shapes: dict[str, tuple[int, ...]] = {
            "transformer.wte.weight": (self.vocabulary_size, width),
            "transformer.wpe.weight": (self.num_positions, width),
        }
        for layer in range(self.num_layers):
            block = f"transformer.h.{layer}"
            shapes |= {
                f"{block}.ln_1.weight": (width,),
                f"{block}.ln_1.bias": (width,),
                f"{block}.attn.c_attn.weight": (width, 3 * width),
                f"{block}.attn.c_attn.bias": (3 * width,),
                f"{block}.attn.c_proj.weight": (width, width),
                f"{block}.attn.c_proj.bias": (width,),
                f"{block}.ln_2.weight": (width,),
                f"{block}.ln_2.bias": (width,),
                f"{block}.mlp.c_fc.weight": (width, 4 * width),
                f"{block}.mlp.c_fc.bias": (4 * width,),
                f"{block}.mlp.c_proj.weight": (4 * width, width),
                f"{block}.mlp.c_proj.bias": (width,),
            }
        shapes |= {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}
        if num_labels is not None:
            shapes[HEAD] = (num_labels, width)
        return shapes


def initialize(
    size: ModelSize,
    generators: Sequence[torch.Generator],
    num_labels: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Parameters:
    """Draw initial parameters `[R, ...]` on the CPU, each seed from its own generator.

    GPT-2's scheme: weights N(0, 0.02), those that write to the residual stream divided by
    sqrt(2 * num_layers), biases 0, LayerNorm gains 1.
    """
    parameters: Parameters = {}
    for name, shape in size.shapes(num_labels).items():
        if name.endswith("bias"):
            value = torch.zeros(len(generators), *shape)
        elif is_layer_norm(name):
            value = torch.ones(len(generators), *shape)
        else:
            residual = name.endswith("c_proj.weight")
            std = INITIAL_STD / math.sqrt(2 * size.num_layers) if residual else INITIAL_STD
            value = torch.stack([torch.randn(shape, generator=g) * std for g in generators])
        parameters[name] = value.to(dtype)
    return parameters


def is_layer_norm(name: str) -> bool:
    """Tell whether a parameter belongs to a LayerNorm."""
    return ".ln_" in name


def dropout_values(size: ModelSize, batch: int) -> int:
    """Return how many values of one seed `hidden_states` drops from, at full length."""
    length = size.num_positions - 1
    states = batch * length * size.d_model
    attention = batch * length * length * size.num_heads
    return states + size.num_layers * (attention + 2 * states)


def hidden_states(
    parameters: Parameters, tokens: Tensor, size: ModelSize, dropout: Dropout
) -> Tensor:
    """Return the final states `[R, B, T, D]` of token ids `[R, B, T]`.

    `dropout` is called on every tensor that GPT-2 drops from, in forward order.
    """
    seeds, batch, length = tokens.shape
    embedding, position = parameters["transformer.wte.weight"], parameters["transformer.wpe.weight"]
    # A product with one-hot rows instead of an index: its backward is deterministic and fast.
    one_hot = F.one_hot(tokens.flatten(1), size.vocabulary_size).to(embedding.dtype)
    states = torch.bmm(one_hot, embedding).view(seeds, batch, length, size.d_model)
    states = dropout(states + position[:, None, :length])
    for layer in range(size.num_layers):
        block = {name: parameters[f"transformer.h.{layer}.{name}"] for name in _BLOCK_PARAMETERS}
        normed = _layer_norm(states, block["ln_1.weight"], block["ln_1.bias"])
        states = states + dropout(_attention(normed, block, size.num_heads, dropout))
        normed = _layer_norm(states, block["ln_2.weight"], block["ln_2.bias"])
        states = states + dropout(_feed_forward(normed, block))
    return _layer_norm(
        states, parameters["transformer.ln_f.weight"], parameters["transformer.ln_f.bias"]
    )


_BLOCK_PARAMETERS = [
    name.removeprefix("transformer.h.0.")
    for name in ModelSize(1, 1, 1, 1, 1).shapes()
    if name.startswith("transformer.h.0.")
]


def token_logits(parameters: Parameters, states: Tensor) -> Tensor:
    """Return next-token logits `[R, B, T, V]` of states `[R, B, T, D]` (tied embedding)."""
    embedding = parameters["transformer.wte.weight"]
    logits = torch.bmm(states.flatten(1, 2), embedding.transpose(1, 2))
    return logits.view(*states.shape[:3], -1)


def label_logits(parameters: Parameters, states: Tensor, last: Tensor) -> Tensor:
    """Return label logits `[R, B, L]` from the states at position `last` `[R, B]`."""
    index = last[..., None, None].expand(-1, -1, 1, states.shape[-1])
    return torch.bmm(states.gather(2, index).squeeze(2), parameters[HEAD].transpose(1, 2))


def _layer_norm(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    normed = F.layer_norm(states, states.shape[-1:], eps=LAYER_NORM_EPSILON)
    return torch.addcmul(bias[:, None, None], normed, weight[:, None, None])


def _linear(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    flat = torch.baddbmm(bias[:, None], states.flatten(1, 2), weight)
    return flat.view(*states.shape[:3], -1)


def _attention(states: Tensor, block: Parameters, num_heads: int, dropout: Dropout) -> Tensor:
    """Causal self-attention over `[R, B, T, D]`."""
    seeds, batch, length, width = states.shape
    projected = _linear(states, block["attn.c_attn.weight"], block["attn.c_attn.bias"])
    query, key, value = (
        part.reshape(seeds * batch, length, num_heads, -1).transpose(1, 2)
        for part in projected.split(width, dim=-1)
    )
    scores = query @ key.transpose(2, 3) / math.sqrt(width // num_heads)
    future = torch.ones(length, length, dtype=torch.bool, device=states.device).triu(1)
    weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
    weights = dropout(weights.view(seeds, batch, num_heads, length, length))
    mixed = weights.view(seeds * batch, num_heads, length, length) @ value
    mixed = mixed.transpose(1, 2).reshape(seeds, batch, length, width)
    return _linear(mixed, block["attn.c_proj.weight"], block["attn.c_proj.bias"])


def _feed_forward(states: Tensor, block: Parameters) -> Tensor:
    wide = _linear(states, block["mlp.c_fc.weight"], block["mlp.c_fc.bias"])
    wide = F.gelu(wide, approximate="tanh")
    return _linear(wide, block["mlp.c_proj.weight"], block["mlp.c_proj.bias"])
