"""A training loop in JAX for the same model, which `training_step.py` times beside the others.

    .venv-jax/bin/python benchmarks/jax_loop.py TOLD.json

Written as JAX's users would: one compiled function scans over several steps, optax clips and
updates. Keeps to one core. Reads numbers of steps from standard input, takes so many, and writes
the seconds that they took.
"""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np
import optax

BLOCK = 16  # steps of one call of the compiled function

Parameters = dict[str, Any]


def main() -> None:
    """Serve the loop."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    jax.config.update("jax_default_prng_impl", "rbg")  # draws masks faster than the default
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    examples = {name: np.array(rows) for name, rows in told["examples"].items()}
    parameters = initialize(told, jax.random.key(0))
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0, told["learning_rate"], told["warmup"]),
            optax.linear_schedule(told["learning_rate"], 0, told["steps"] - told["warmup"]),
        ],
        [told["warmup"]],
    )
    decays = jax.tree.map(lambda value: value.ndim > 1, parameters)
    optimizer = optax.chain(
        optax.clip_by_global_norm(told["max_grad_norm"]),
        optax.adamw(schedule, weight_decay=told["weight_decay"], mask=decays),
    )
    loss = partial(labels_loss if told["labels"] else tokens_loss, told)
    device = {name: jnp.asarray(value) for name, value in examples.items()}

    def step(state: tuple[Any, Any, Any], rows: Any) -> tuple[Any, Any]:
        parameters, moments, key = state
        key, drawn = jax.random.split(key)
        batch = {name: value[rows] for name, value in device.items()}
        found, gradients = jax.value_and_grad(loss)(parameters, batch, drawn)
        updates, moments = optimizer.update(gradients, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, key), found

    take = jax.jit(lambda state, rows: jax.lax.scan(step, state, rows), donate_argnums=0)
    state = parameters, optimizer.init(parameters), jax.random.key(1)
    order, rows = np.random.default_rng(0), len(examples["tokens"])
    for line in sys.stdin:
        left = int(line)
        started = time.perf_counter()
        while left:
            steps = BLOCK if left >= BLOCK else 1
            batches = order.integers(rows, size=(steps, told["batch_size"]))
            state, losses = take(state, batches)
            left -= steps
        assert bool(jnp.isfinite(losses).all())  # and waits for the last of them
        print(time.perf_counter() - started, flush=True)


def initialize(told: dict[str, Any], key: Any) -> Parameters:
    """Draw GPT-2's initial parameters from N(0, 0.02), its LayerNorms aside."""
    width, keys = told["d_model"], iter(jax.random.split(key, 4 * told["num_layers"] + 3))

    def matrix(inputs: int, outputs: int) -> Any:
        return 0.02 * jax.random.normal(next(keys), (inputs, outputs))

    def linear(inputs: int, outputs: int) -> Parameters:
        return {"weight": matrix(inputs, outputs), "bias": jnp.zeros(outputs)}

    def norm() -> Parameters:
        return {"weight": jnp.ones(width), "bias": jnp.zeros(width)}

    blocks = [
        {
            "ln_1": norm(),
            "attention": linear(width, 3 * width),
            "mixed": linear(width, width),
            "ln_2": norm(),
            "wide": linear(width, 4 * width),
            "narrow": linear(4 * width, width),
        }
        for _ in range(told["num_layers"])
    ]
    head = {"head": matrix(width, told["labels"])} if told["labels"] else {}
    embeddings = {
        "tokens": matrix(told["vocabulary_size"], width),
        "positions": matrix(told["num_positions"], width),
    }
    return {**embeddings, "blocks": blocks, "last": norm(), **head}


def forward(told: dict[str, Any], parameters: Parameters, tokens: Any, key: Any) -> Any:
    """Return the final states `[B, T, D]` of tokens `[B, T]`, with dropout."""
    length, heads = tokens.shape[1], told["num_heads"]
    keys = iter(jax.random.split(key, 3 * told["num_layers"] + 1))
    products = jnp.bfloat16 if told["precision"] == "bf16" else jnp.float32
    future = jnp.triu(jnp.full((length, length), -jnp.inf), k=1)

    def dropout(states: Any) -> Any:
        kept = jax.random.bernoulli(next(keys), 1 - told["dropout"], states.shape)
        return jnp.where(kept, states / (1 - told["dropout"]), 0)

    def linear(layer: Parameters, states: Any) -> Any:
        weight, bias = (layer[name].astype(products) for name in ("weight", "bias"))
        return states.astype(products) @ weight + bias

    def norm(layer: Parameters, states: Any) -> Any:
        return layer["weight"] * jax.nn.standardize(states, epsilon=1e-5) + layer["bias"]

    states = dropout(parameters["tokens"][tokens] + parameters["positions"][:length])
    for block in parameters["blocks"]:
        normed = norm(block["ln_1"], states)
        parts = jnp.split(linear(block["attention"], normed), 3, axis=-1)
        query, key_, value = (part.reshape(*part.shape[:2], heads, -1) for part in parts)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key_) * query.shape[-1] ** -0.5
        weights = dropout(jax.nn.softmax(scores.astype(jnp.float32) + future))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(products), value)
        states = states + dropout(linear(block["mixed"], mixed.reshape(states.shape)))
        wide = jax.nn.gelu(linear(block["wide"], norm(block["ln_2"], states)), approximate=True)
        states = states + dropout(linear(block["narrow"], wide))
    return norm(parameters["last"], states)


def tokens_loss(told: dict[str, Any], parameters: Parameters, batch: Any, key: Any) -> Any:
    """Return the mean cross-entropy of the next tokens, those after the end left out."""
    logits = forward(told, parameters, batch["tokens"], key) @ parameters["tokens"].T
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
    return (losses * batch["weights"]).sum() / batch["weights"].sum()


def labels_loss(told: dict[str, Any], parameters: Parameters, batch: Any, key: Any) -> Any:
    """Return the mean cross-entropy of the labels, told by the state of the last token."""
    states = forward(told, parameters, batch["tokens"], key)
    last = states[jnp.arange(len(states)), batch["last"]]
    return optax.sigmoid_binary_cross_entropy(last @ parameters["head"], batch["targets"]).mean()


if __name__ == "__main__":
    main()
