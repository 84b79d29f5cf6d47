"""What does not fit in memory is refused with its size before any is allocated."""

from math import prod
from pathlib import Path

import pytest

from gpt_math_domains.jobs.memory import (
    COPIES,
    EVALUATION_BYTES,
    GIB,
    equations_bytes,
    free_bytes,
    require_memory,
    training_bytes,
)
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.model import dropout_sizes

MODEL_6 = ModelSize(8, 8, 512, vocabulary_size=18, num_positions=7)


def needed(size: ModelSize = MODEL_6, **other: int) -> int:
    """Return the bytes of one seed and batch without evaluations, but for other numbers."""
    once: dict[str, int] = {
        "seeds": 1,
        "batch_size": 32,
        "gradient_accumulation_steps": 1,
        "evaluations": 0,
        "value_bytes": 4,
    }
    return training_bytes(
        parameters=size.parameters(),
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        d_model=size.d_model,
        num_positions=size.num_positions,
        **(once | other),
    )


def test_parameters_count_as_often_as_training_keeps_them() -> None:
    parameters = sum(prod(shape) for shape in MODEL_6.shapes().values())
    assert needed(batch_size=0) == 4 * COPIES * parameters


def test_every_dropout_mask_of_a_step_counts() -> None:
    masks = sum(dropout_sizes(MODEL_6, 32)) - 6 * 32 * 512  # those of the embedding aside
    one, three = needed(), needed(gradient_accumulation_steps=3)
    assert three - one == 2 * masks * (4 + 2)


def test_seeds_and_evaluations_count() -> None:
    assert needed(seeds=3) == 3 * needed()
    assert needed(seeds=3, evaluations=10) == 3 * needed() + 30 * EVALUATION_BYTES


def test_twice_as_wide_values_take_nearly_twice_as_much() -> None:
    assert 1.9 < needed(value_bytes=8) / needed() < 2


def test_numbers_as_large_as_a_configuration_may_have_are_told() -> None:
    many = 10**18
    huge = ModelSize(many, many, many, vocabulary_size=18, num_positions=7)
    with pytest.raises(ValueError, match=r"GiB, but 1\.0 GiB are free"):
        require_memory(needed(huge, seeds=many, batch_size=many), GIB, "model", "no")
    assert equations_bytes(many) > 10**36


def test_what_fits_passes_and_what_does_not_is_refused_with_both_sizes() -> None:
    require_memory(GIB, GIB, "model", "choose")
    require_memory(10**30, None, "model", "choose")
    with pytest.raises(ValueError) as error:
        require_memory(3 * GIB // 2, GIB, "config: models.6", "choose a smaller one")
    assert str(error.value) == (
        "config: models.6 takes about 1.5 GiB, but 1.0 GiB are free; choose a smaller one"
    )


def machine(
    root: Path, groups: str, limits: dict[str, str], available: str = "MemAvailable: 4096 kB\n"
) -> int | None:
    """Return the free bytes on a machine with these control groups."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 9999 kB\nMemFree: 1 kB\n{available}")
    (root / "proc" / "self" / "cgroup").write_text(groups)
    for name, limit in limits.items():
        (root / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cgroup" / name).write_text(f"{limit}\n")
    return free_bytes(root / "proc", root / "cgroup")


V1 = "5:cpu,cpuacct:/job\n4:memory:/job\n1:name=systemd:/x:y\n"


@pytest.mark.parametrize(
    ("groups", "limits", "free"),
    [
        ("0::/job/step\n", {}, 4096 * 1024),
        ("0::/job/step\n", {"job/step/memory.max": "max"}, 4096 * 1024),
        ("0::/job/step\n", {"job/step/memory.max": "1000"}, 1000),
        ("0::/job/step\n", {"job/step/memory.max": "max", "job/memory.max": "2000"}, 2000),
        ("0::/job/step\n", {"job/step/memory.max": "3000", "job/memory.max": "2000"}, 2000),
        ("0::/job/step\n", {"job/memory.max": str(2**60)}, 4096 * 1024),
        ("0::/../outside\n", {"memory.max": "4000"}, 4000),
        (V1, {"memory/job/memory.limit_in_bytes": "5000"}, 5000),
        (V1, {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, 4096 * 1024),
    ],
)
def test_the_least_of_the_machine_and_its_control_groups_is_free(
    tmp_path: Path, groups: str, limits: dict[str, str], free: int
) -> None:
    assert machine(tmp_path, groups, limits) == free


def test_a_system_that_does_not_tell_refuses_nothing(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "proc", tmp_path / "cgroup") is None
    assert machine(tmp_path, "0::/\n", {}, available="") is None


def test_this_machine_has_some_memory_free() -> None:
    free = free_bytes()
    assert free is None or 2**24 < free < 2**50
