"""A training job in each precision that a processor has or emulates."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training_job import finish, log_of, outputs, prepare, start

NO_BF16 = "this processor has no bf16 arithmetic: fp32 would be many times as fast"


def emulates_bf16() -> bool:
    """Tell whether this is an x86 processor without AVX-512, by what Linux says of it."""
    flags = [
        line.split()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("flags")
    ]
    return bool(flags) and "avx512bw" not in flags[0]


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_a_job_trains_in_a_precision_records_it_and_says_if_it_is_emulated(
    tmp_path: Path, precision: str, phase: str
) -> None:
    prepare(tmp_path)
    finish(start(tmp_path, precision=precision, finetune=phase == "finetune", num_train_epochs=5))

    rows = outputs(tmp_path)["metrics.csv"]
    assert isinstance(rows, list)
    assert float(rows[-1]["eval_loss"]) < float(rows[0]["eval_loss"])
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == precision
    weights = load_file(tmp_path / "seed_0" / "model.safetensors").values()
    wanted = torch.float64 if precision == "fp64" else torch.float32
    assert {value.dtype for value in weights} == {wanted}
    assert (NO_BF16 in log_of(tmp_path)) == (precision == "bf16" and emulates_bf16())
