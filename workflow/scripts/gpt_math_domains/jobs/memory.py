"""Whether a job fits in memory, asked before it allocates any."""

from collections.abc import Iterator
from pathlib import Path

GIB = 2**30
COPIES = 5  # of a parameter: where it started, where it is, AdamW's two moments, the gradient
# States of width d_model that an eager step holds for each token, fitted to the peaks of models of
# 1, 2 and 8 layers in batches of 32 to 1,280 equations. The backward pass keeps 22 of a layer's;
# the rest is what the C library does not use again.
LAYER_STATES, OTHER_STATES = 30, 28
EVALUATION_BYTES = 12_000  # of a seed's rows of metrics and of some twenty parts, as Python objects
PAIR_BYTES = 300  # of an operand pair while its family is written


def training_bytes(
    *,
    parameters: int,
    num_layers: int,
    num_heads: int,
    d_model: int,
    num_positions: int,
    seeds: int,
    batch_size: int,
    gradient_accumulation_steps: int,
    evaluations: int,
    value_bytes: int,
) -> int:
    """Return about how much memory eager training takes, beside the 0.4 GiB of its libraries.

    Peaks were a tenth below to a quarter above it; compiled steps take less.

    With R seeds, D d_model, P num_positions, L num_layers, H num_heads, and T = P - 1 tokens in
    each of batch_size equations, each of a model's parameters is kept `COPIES` times; a step holds,
    for each token, `LAYER_STATES` D + T H values of each layer and `OTHER_STATES` D besides; and
    there are dropout masks, drawn for all batches of a step at once, with 2 more bytes of random
    bits: (2 D + T H) for each token and layer. All of this R times `value_bytes`, and
    `EVALUATION_BYTES` for each seed and evaluation.
    """
    width, tokens = d_model, (num_positions - 1) * batch_size
    attention = (num_positions - 1) * num_heads
    states = tokens * (num_layers * (LAYER_STATES * width + attention) + OTHER_STATES * width)
    masks = tokens * num_layers * (2 * width + attention) * gradient_accumulation_steps
    values = value_bytes * (COPIES * parameters + states + masks) + 2 * masks
    return seeds * (values + EVALUATION_BYTES * evaluations)


def equations_bytes(digits: int) -> int:
    """Return about how much memory the largest family of a data version takes: digits^2 pairs."""
    return PAIR_BYTES * digits**2


def require_memory(needed: int, free: int | None, what: str, advice: str) -> None:
    """Refuse what will not fit.

    Args:
        needed: bytes.
        free: bytes; None if that is not known.
        what: takes the memory, and where: begins the message.
        advice: what to change: ends it.

    Raises:
        ValueError: more is needed than is free.
    """
    if free is not None and needed > free:
        raise ValueError(f"{what} takes about {_gib(needed)}, but {_gib(free)} are free; {advice}")


def free_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of memory that this process can have, None where Linux does not tell.

    That is what is available on the machine, or less where a control group sets a limit, as
    containers and clusters do.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        groups = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # another system
        return None
    available = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    limits = [limit for group in groups for limit in _limits(group, cgroups)]
    return min(available + limits, default=None)


def _limits(group: str, cgroups: Path) -> Iterator[int]:
    """Yield the limits of a control group, a line of /proc/self/cgroup, and of those above it."""
    _, controllers, path = group.split(":", 2)
    if controllers == "":  # version 2
        root, name = cgroups, "memory.max"
    elif "memory" in controllers.split(","):
        root, name = cgroups / "memory", "memory.limit_in_bytes"
    else:
        return
    directory = root / path.lstrip("/")
    for place in [directory, *directory.parents]:
        limit = place / name
        # In a container the path may be that outside it; its own limit then stands at the root.
        if place.is_relative_to(root) and limit.is_file():
            text = limit.read_text().strip()
            if text != "max":
                yield int(text)


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"
