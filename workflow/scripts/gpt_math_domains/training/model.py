"""GPT-2, stacked: all seeds of a run are one set of tensors with a leading seed axis.

Parameters are a plain dictionary from the names that Hugging Face uses to tensors of shape
`[seeds, ...]`; weight matrices are `[seeds, inputs, outputs]`, as in its `Conv1D`. The arithmetic
is that of `GPT2LMHeadModel` and `GPT2ForSequenceClassification` (Radford et al. 2019, "Language
Models are Unsupervised Multitask Learners").

The backward pass is written out below the forward pass, since autograd's bookkeeping costs more
than the arithmetic on models this small. Tests hold it against autograd through `transformers`.

Shape letters: R seeds, B equations, T positions, N = B * T, D `d_model`, H heads, V vocabulary,
L labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_math_domains.run import EMBEDDING, HEAD, POSITION, ModelSize

Parameters = dict[str, Tensor]

INITIAL_STD = 0.02
LAYER_NORM_EPSILON = 1e-5


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


class Dropout(Protocol):
    """Where a forward pass gets its masks from."""

    def mask(self, shape: Sequence[int]) -> Tensor:
        """Return the next mask of a shape `[R, ...]`: 0, or what makes up for those that are 0."""
        ...


class NoDropout:
    """Drops nothing, as in evaluation."""

    def __init__(self, like: Tensor) -> None:
        self._one = like.new_ones(())

    def mask(self, shape: Sequence[int]) -> Tensor:
        """Return 1."""
        return self._one


def dropout_values(size: ModelSize, batch: int, *, last_only: bool = False) -> int:
    """Return how many mask values of one seed a forward pass asks for, at full length.

    Args:
        size: of each model.
        batch: equations.
        last_only: whether the state of each equation's last token alone is wanted.
    """
    length = size.num_positions - 1

    def block(queries: int) -> int:
        return batch * queries * (length * size.num_heads + 2 * size.d_model)

    embedded = batch * length * size.d_model
    return embedded + (size.num_layers - 1) * block(length) + block(1 if last_only else length)


@dataclass
class NormTrace:
    """What the backward pass needs of a LayerNorm."""

    states: Tensor  # [R, N, D]
    normed: Tensor  # [R, N, D], before gain and bias
    mean: Tensor  # [R, N, 1]
    rstd: Tensor  # [R, N, 1]
    output: Tensor  # [R, N, D]


@dataclass
class BlockTrace:
    """What the backward pass needs of a block.

    Where the block returns the state of one token of each equation, what comes after keys and
    values has 1 in place of T, and B in place of N.
    """

    picked: Tensor | None  # [R, B, T] True at that token; None where all are returned
    first_norm: NormTrace
    query: Tensor  # [R, B, T, H, D / H]
    key: Tensor
    value: Tensor
    weights: Tensor  # [R, B, T, T, H] of attention, the second T attended to
    weights_mask: Tensor
    mixed: Tensor  # [R, N, D]
    mixed_mask: Tensor
    second_norm: NormTrace
    wide: Tensor  # [R, N, 4 D] before the activation
    gate: Tensor  # [R, N, 4 D]: wide times gate is the activation
    active: Tensor  # [R, N, 4 D]
    active_mask: Tensor


@dataclass
class Trace:
    """What the backward pass needs of the forward pass."""

    tokens: Tensor  # [R, N]
    embedded_mask: Tensor
    blocks: list[BlockTrace]
    final_norm: NormTrace


def forward(
    parameters: Parameters,
    size: ModelSize,
    tokens: Tensor,
    dropout: Dropout,
    last: Tensor | None = None,
) -> tuple[Tensor, Trace]:
    """Return the final states, and what `backward` needs.

    Args:
        parameters: `[R, ...]` each.
        size: of each model.
        tokens: `[R, B, T]` ids.
        dropout: where masks come from.
        last: `[R, B]` positions of the tokens whose states are wanted, one of each equation. No
            others are computed in the last block, but for their keys and values.

    Returns:
        The states `[R, N, D]`, or `[R, B, D]` with `last`.
    """
    length, width = tokens.shape[-1], size.d_model
    flat = tokens.flatten(1)
    states = parameters[EMBEDDING].gather(1, flat[..., None].expand(-1, -1, width))
    position = parameters[POSITION][:, None, :length]
    states = (states.view(*tokens.shape, width) + position).view(states.shape)
    embedded_mask = dropout.mask(states.shape)
    states = states * embedded_mask
    blocks = []
    for layer in range(size.num_layers):
        wanted = last if layer == size.num_layers - 1 else None
        states, block = _block(
            parameters, f"transformer.h.{layer}", size, states, tokens.shape, dropout, wanted
        )
        blocks.append(block)
    final_norm = _layer_norm(parameters, "transformer.ln_f", states)
    return final_norm.output, Trace(flat, embedded_mask, blocks, final_norm)


def backward(parameters: Parameters, size: ModelSize, trace: Trace, d_states: Tensor) -> Parameters:
    """Return the gradient of everything but the head.

    Args:
        parameters: as in `forward`.
        size: of each model.
        trace: from `forward`.
        d_states: gradient of the loss with respect to the states that `forward` returned.
    """
    gradients: Parameters = {}
    d_states = _layer_norm_backward(
        parameters, gradients, "transformer.ln_f", trace.final_norm, d_states
    )
    for layer in reversed(range(size.num_layers)):
        d_states = _block_backward(
            parameters, gradients, f"transformer.h.{layer}", size, trace.blocks[layer], d_states
        )
    d_states = d_states * trace.embedded_mask
    # A product with one-hot rows instead of sums by index: deterministic, and fast on few tokens.
    one_hot = one_hot_tokens(trace.tokens, size, d_states.dtype)
    gradients[EMBEDDING] = torch.bmm(one_hot.transpose(1, 2), d_states)
    length = trace.blocks[0].weights.shape[3]
    by_position = d_states.view(len(d_states), -1, length, size.d_model).sum(dim=1)
    gradients[POSITION] = F.pad(by_position, (0, 0, 0, size.num_positions - length))
    return gradients


def one_hot_tokens(tokens: Tensor, size: ModelSize, dtype: torch.dtype) -> Tensor:
    """Return tokens `[R, N]` as rows `[R, N, V]` of one 1."""
    vocabulary = torch.arange(size.vocabulary_size, device=tokens.device)
    return (tokens[..., None] == vocabulary).to(dtype)


def token_logits(parameters: Parameters, states: Tensor) -> Tensor:
    """Return next-token logits `[R, N, V]` of states `[R, N, D]` (tied embedding)."""
    return torch.bmm(states, parameters[EMBEDDING].transpose(1, 2))


def label_logits(parameters: Parameters, states: Tensor) -> Tensor:
    """Return label logits `[R, B, L]` of the states `[R, B, D]` of each equation's last token."""
    return torch.bmm(states, parameters[HEAD].transpose(1, 2))


def _block(
    parameters: Parameters,
    name: str,
    size: ModelSize,
    states: Tensor,
    shape: Sequence[int],
    dropout: Dropout,
    last: Tensor | None,
) -> tuple[Tensor, BlockTrace]:
    """Return the states after a block, `[R, N, D]`, or `[R, B, D]` at the positions `last`."""
    first_norm = _layer_norm(parameters, f"{name}.ln_1", states)
    projected = _linear(parameters, f"{name}.attn.c_attn", first_norm.output)
    # Attention as sums of products: over so few positions, batched matrix products are mostly
    # overhead, and a compiler stores none of the products [R, B, T, T, H, D / H].
    heads = projected.view(*shape, 3, size.num_heads, size.d_model // size.num_heads)
    query, key, value = heads.unbind(dim=3)
    positions = torch.arange(shape[2], device=states.device)
    if last is None:
        picked, future = None, positions > positions[:, None]
    else:
        picked, future = positions == last[..., None], positions > last[..., None, None]
        query = _pick(query, last)
        states = _pick(states.view(*shape, -1), last).flatten(1, 2)
    scores = (query[:, :, :, None] * key[:, :, None]).sum(dim=-1) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(future[..., None], -torch.inf).softmax(dim=3)
    weights_mask = dropout.mask(weights.shape)
    mixed = ((weights * weights_mask)[..., None] * value[:, :, None]).sum(dim=3).view(states.shape)
    mixed_mask = dropout.mask(states.shape)
    projected = _linear(parameters, f"{name}.attn.c_proj", mixed)
    states = torch.addcmul(states, projected, mixed_mask)
    second_norm = _layer_norm(parameters, f"{name}.ln_2", states)
    wide = _linear(parameters, f"{name}.mlp.c_fc", second_norm.output)
    gate = _gelu_gate(wide)
    active = wide * gate
    projected = _linear(parameters, f"{name}.mlp.c_proj", active)
    active_mask = dropout.mask(states.shape)
    states = torch.addcmul(states, projected, active_mask)
    return states, BlockTrace(
        picked,
        first_norm,
        query,
        key,
        value,
        weights,
        weights_mask,
        mixed,
        mixed_mask,
        second_norm,
        wide,
        gate,
        active,
        active_mask,
    )


def _block_backward(
    parameters: Parameters,
    gradients: Parameters,
    name: str,
    size: ModelSize,
    trace: BlockTrace,
    d_states: Tensor,
) -> Tensor:
    """Turn the gradient of a block's output into that of its input, `[R, N, D]`."""
    d_output = d_states * trace.active_mask
    d_active = _linear_backward(parameters, gradients, f"{name}.mlp.c_proj", trace.active, d_output)
    d_wide = _gelu_backward(trace.wide, trace.gate, trace.active, d_active)
    d_normed = _linear_backward(
        parameters, gradients, f"{name}.mlp.c_fc", trace.second_norm.output, d_wide
    )
    d_states = d_states + _layer_norm_backward(
        parameters, gradients, f"{name}.ln_2", trace.second_norm, d_normed
    )

    d_output = d_states * trace.mixed_mask
    d_mixed = _linear_backward(parameters, gradients, f"{name}.attn.c_proj", trace.mixed, d_output)
    query, key, value = trace.query, trace.key, trace.value
    d_mixed = d_mixed.view(query.shape)[:, :, :, None]
    kept = trace.weights * trace.weights_mask
    # Softmax: each row's gradient, less its mean under the weights, times the weights.
    d_scores = (d_mixed * value[:, :, None]).sum(dim=-1) * kept
    d_scores = d_scores - trace.weights * d_scores.sum(dim=3, keepdim=True)
    d_scores = (d_scores * query.shape[-1] ** -0.5)[..., None]
    d_query = (d_scores * key[:, :, None]).sum(dim=3)
    d_key = (d_scores * query[:, :, :, None]).sum(dim=2)
    d_value = (kept[..., None] * d_mixed).sum(dim=2)
    normed = trace.first_norm.output
    if trace.picked is not None:
        d_query = d_query * trace.picked[..., None, None]
        d_states = (d_states[:, :, None] * trace.picked[..., None]).view(normed.shape)
    d_heads = torch.stack([d_query, d_key, d_value], dim=3).view(*normed.shape[:2], -1)
    d_normed = _linear_backward(parameters, gradients, f"{name}.attn.c_attn", normed, d_heads)
    return d_states + _layer_norm_backward(
        parameters, gradients, f"{name}.ln_1", trace.first_norm, d_normed
    )


def _pick(values: Tensor, last: Tensor) -> Tensor:
    """Return the values `[R, B, T, ...]` at the positions `last` `[R, B]`: `[R, B, 1, ...]`."""
    index = last.view(*last.shape, *[1] * (values.dim() - 2))
    return values.gather(2, index.expand(-1, -1, -1, *values.shape[3:]))


def _layer_norm(parameters: Parameters, name: str, states: Tensor) -> NormTrace:
    normed, mean, rstd = torch.native_layer_norm(
        states, states.shape[-1:], None, None, LAYER_NORM_EPSILON
    )
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    output = torch.addcmul(bias[:, None], normed, weight[:, None])
    return NormTrace(states, normed, mean, rstd, output)


def _layer_norm_backward(
    parameters: Parameters, gradients: Parameters, name: str, trace: NormTrace, d_output: Tensor
) -> Tensor:
    gradients[f"{name}.weight"] = (d_output * trace.normed).sum(dim=1)
    gradients[f"{name}.bias"] = d_output.sum(dim=1)
    d_states: Tensor = torch.ops.aten.native_layer_norm_backward(
        d_output * parameters[f"{name}.weight"][:, None],
        trace.states,
        trace.states.shape[-1:],
        trace.mean,
        trace.rstd,
        None,
        None,
        [True, False, False],
    )[0]
    return d_states


def _linear(parameters: Parameters, name: str, states: Tensor) -> Tensor:
    """Return states times weight plus bias; the product is in the weight's precision."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    return torch.baddbmm(bias[:, None].to(weight.dtype), states.to(weight.dtype), weight)


def _linear_backward(
    parameters: Parameters, gradients: Parameters, name: str, states: Tensor, d_output: Tensor
) -> Tensor:
    weight = parameters[f"{name}.weight"]
    gradients[f"{name}.bias"] = d_output.sum(dim=1)
    d_output = d_output.to(weight.dtype)
    gradients[f"{name}.weight"] = torch.bmm(states.to(weight.dtype).transpose(1, 2), d_output)
    return torch.bmm(d_output, weight.transpose(1, 2)).to(states.dtype)


# GPT-2's tanh-approximated GELU (Hendrycks and Gimpel 2016, "Gaussian Error Linear Units"), in
# which (1 + tanh(u)) / 2 = sigmoid(2 u): x * sigmoid(x * (LINEAR + CUBIC * x * x)). On a CPU the
# sigmoid is three times as fast as the tanh.
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR


def _gelu_gate(states: Tensor) -> Tensor:
    return (states * states).mul_(_CUBIC).add_(_LINEAR).mul_(states).sigmoid_()


def _gelu_backward(states: Tensor, gate: Tensor, active: Tensor, d_active: Tensor) -> Tensor:
    """Return d_active * (gate + active * (1 - gate) * (LINEAR + 3 * CUBIC * states^2))."""
    slope = (states * states).mul_(3 * _CUBIC).add_(_LINEAR).mul_(active)
    return slope.addcmul_(slope, gate, value=-1).add_(gate).mul_(d_active)
