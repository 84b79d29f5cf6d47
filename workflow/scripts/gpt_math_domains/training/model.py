"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

`forward` is that of one model, as `GPT2Model` in `transformers` has it; `stack` differentiates it,
and carries the seeds of a run through it side by side. Parameters are a plain dictionary from the
names that `transformers` uses to tensors; weight matrices are `[inputs, outputs]`, as in its
`Conv1D`. A stack's parameters have one more axis in front, of the seeds.

Shape letters: R seeds, B equations, T positions, D `d_model`, H heads, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_math_domains.run import EMBEDDING, POSITION, UNEMBEDDING, ModelSize

Parameters = dict[str, Tensor]
Dropout = Callable[[Tensor], Tensor]

INITIAL_STD = 0.02
LAYER_NORM_EPSILON = 1e-5


def forward(
    parameters: Parameters,
    size: ModelSize,
    tokens: Tensor,
    dropout: Dropout,
    last: Tensor | None = None,
) -> Tensor:
    """Return the final states of one model, `[B, T, D]`.

    Args:
        parameters: of the model; where a matrix of a block has another type, products are in that.
        size: of the model.
        tokens: `[B, T]` ids.
        dropout: called wherever GPT-2 drops values.
        last: `[B]` position of the one token of each equation whose state is wanted, `[B, D]`. The
            last block then computes nothing for the others but their keys and values.
    """
    # A product with one-hot rows in place of a look-up, whose gradient is a sum by index: the same
    # bits each time on every device, and fast with so few tokens.
    vocabulary = torch.arange(size.vocabulary_size, device=tokens.device)
    one_hot = (tokens[..., None] == vocabulary).to(parameters[EMBEDDING].dtype)
    states = one_hot @ parameters[EMBEDDING] + parameters[POSITION][: tokens.shape[1]]
    states = dropout(states)
    for layer in range(size.num_layers):
        wanted = last if layer == size.num_layers - 1 else None
        states = _block(parameters, f"transformer.h.{layer}", size, states, dropout, wanted)
    states = final_norm(parameters, states)
    return states if last is None else states.squeeze(1)


def _block(
    parameters: Parameters,
    name: str,
    size: ModelSize,
    states: Tensor,
    dropout: Dropout,
    last: Tensor | None,
) -> Tensor:
    """Return the states after a block, `[B, T, D]`, or `[B, 1, D]` at the positions `last`."""
    positions = torch.arange(states.shape[1], device=states.device)
    weight, bias = _weights(parameters, f"{name}.attn.c_attn")
    normed = _layer_norm(parameters, f"{name}.ln_1", states)
    if last is None:
        asking = positions[:, None]
        query, key, value = _linear(normed, weight, bias).chunk(3, dim=-1)
    else:
        asking = last[:, None, None]
        picked = (positions == last[:, None])[..., None]
        states = states.where(picked, 0).sum(dim=1, keepdim=True)
        parts = size.d_model, 2 * size.d_model
        (weight, others), (bias, other_bias) = weight.split(parts, dim=1), bias.split(parts)
        query = _linear(_layer_norm(parameters, f"{name}.ln_1", states), weight, bias)
        key, value = _linear(normed, others, other_bias).chunk(2, dim=-1)
    query, key, value = (part.unflatten(-1, (size.num_heads, -1)) for part in (query, key, value))
    # Attention as sums of products: over so few positions, batched matrix products are mostly
    # overhead, and a compiler stores none of the products [B, T, T, H, D / H].
    scores = (query[:, :, None] * key[:, None]).sum(dim=-1) * query.shape[-1] ** -0.5
    weights = scores.masked_fill((positions > asking)[..., None], -torch.inf).softmax(dim=2)
    mixed = (dropout(weights)[..., None] * value[:, None]).sum(dim=2).flatten(-2)
    states = states + dropout(_linear(mixed, *_weights(parameters, f"{name}.attn.c_proj")))
    normed = _layer_norm(parameters, f"{name}.ln_2", states)
    active = _gelu(_linear(normed, *_weights(parameters, f"{name}.mlp.c_fc")))
    return states + dropout(_linear(active, *_weights(parameters, f"{name}.mlp.c_proj")))


def _layer_norm(parameters: Parameters, name: str, states: Tensor) -> Tensor:
    weight, bias = _weights(parameters, name)
    return F.layer_norm(states, states.shape[-1:], weight, bias, LAYER_NORM_EPSILON)


def _weights(parameters: Parameters, name: str) -> tuple[Tensor, Tensor]:
    """Return a layer's weight and bias."""
    return parameters[f"{name}.weight"], parameters[f"{name}.bias"]


def _linear(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return states.to(weight.dtype) @ weight + bias.to(weight.dtype)


# GPT-2's tanh-approximated GELU (Hendrycks and Gimpel 2016, "Gaussian Error Linear Units"), in
# which (1 + tanh(u)) / 2 = sigmoid(2 u). On a CPU the sigmoid is three times as fast as the tanh.
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR


def _gelu(states: Tensor) -> Tensor:
    return states * torch.sigmoid(states * (_LINEAR + _CUBIC * states * states))


class Masks:
    """Drops what masks say that were drawn beforehand; each call takes the next of them.

    Args:
        masks: `[n]` factors each, of `dropout_sizes`: 0, or what makes up for those that are 0.
    """

    def __init__(self, masks: Iterable[Tensor]) -> None:
        self._masks = iter(masks)

    def __call__(self, states: Tensor) -> Tensor:
        """Return states, masked."""
        return states * next(self._masks).view(states.shape)


def final_norm(parameters: Parameters, states: Tensor) -> Tensor:
    """Return states `[..., D]` after the last LayerNorm, as logits are read from them."""
    return _layer_norm(parameters, "transformer.ln_f", states)


def token_scores(parameters: Parameters, states: Tensor) -> Tensor:
    """Return the logits of next tokens `[..., V]` from final states `[..., D]`."""
    return states @ parameters.get(UNEMBEDDING, parameters[EMBEDDING]).T


def keep(states: Tensor) -> Tensor:
    """Drop nothing, as in evaluation."""
    return states


def dropout_sizes(size: ModelSize, batch: int, *, last_only: bool = False) -> list[int]:
    """Return how many values a forward pass at full length gives to each dropout.

    Args:
        size: of the model.
        batch: equations.
        last_only: whether the state of each equation's last token alone is wanted.
    """
    length = size.num_positions - 1

    def block(queries: int) -> list[int]:
        parts = length * size.num_heads, size.d_model, size.d_model
        return [batch * queries * part for part in parts]

    blocks = [*block(length) * (size.num_layers - 1), *block(1 if last_only else length)]
    return [batch * length * size.d_model, *blocks]


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


def is_block_matrix(name: str) -> bool:
    """Tell whether a parameter is a weight matrix of a block."""
    return name.startswith("transformer.h.") and not (name.endswith("bias") or is_layer_norm(name))
