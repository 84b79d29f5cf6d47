"""Every executor takes the same steps."""

import multiprocessing
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch
from torch._inductor import sizevars
from torch._inductor.codegen import cpp
from torch._inductor.cpu_vec_isa import VecAMX, VecAVX512VNNI, VecISA
from torch.utils._sympy.functions import FloorDiv, ModularIndexing

import little
from gpt_math_domains.run import ModelSize, Settings
from gpt_math_domains.training.device import PRECISIONS, multiply_in
from gpt_math_domains.training.execution import (
    COMPILE_STEPS,
    make_executor,
    prepare_execution,
    remember_strides,
    trust_compiler,
)
from gpt_math_domains.training.stack import BatchOrder, Stack, clip_scale, gradient_norms

DEEP = replace(little.SIZE, num_layers=2)
UNDROPPED = replace(DEEP, dropout=0.0)
BUILD = VecISA.check_build  # as torch has it
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def settings(epochs: int = 10) -> Settings:
    return little.settings(num_train_epochs=epochs)


def prepare(
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    epochs: int = 10,
    seeds: Sequence[int] = (3, 11),
    kind: str = "language",
    size: ModelSize = DEEP,
    products: torch.dtype | None = None,
) -> tuple[Stack, BatchOrder]:
    """A stack, by default with dropout, that trains on 85 equations."""
    return little.stack(settings(epochs), seeds, kind, device, dtype, size, products=products)


def take_steps(execution: str, steps: int, **where: Any) -> Stack:
    stack, order = prepare(**where)
    notes: list[str] = []
    before = {name: value.clone() for name, value in stack.state().items()}
    prepared = prepare_execution(execution, stack, order, settings(), notes.append)
    assert (prepared, notes) == (execution, [])
    assert all(torch.equal(value, before[name]) for name, value in stack.state().items())
    executor = make_executor(prepared, stack, order, settings())
    assert list(executor.run(1, steps))[-1] == steps
    return stack


@pytest.mark.parametrize("kind", ["language", "labels", "head only"])
def test_compiled_steps_equal_eager_ones(kind: str) -> None:
    take_steps("compiled", 1, seeds=[5])  # what is compiled for one stack serves no other
    eager, compiled = take_steps("eager", 12, kind=kind), take_steps("compiled", 12, kind=kind)
    torch.testing.assert_close(compiled.loss_sum, eager.loss_sum, rtol=1e-9, atol=0)
    for name, value in eager.parameters.items():
        torch.testing.assert_close(compiled.parameters[name], value, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("length", [None, 8, 16])
@pytest.mark.parametrize("variable", ["i", "j"])
def test_strides_that_are_found_once_are_those_that_the_compiler_finds(
    variable: str, length: int | None
) -> None:
    i, j = (sympy.Symbol(name, integer=True, nonnegative=True) for name in "ij")
    indices = [
        128 * i + j + 3,
        16 * j,
        sympy.Integer(5),
        4 * FloorDiv(i, 16) + j,
        ModularIndexing(i, 1, 16) + 2 * j,
        ModularIndexing(i + 16 * j, 16, 8) + 7 * i,
        i * j + j,
    ]
    remember_strides()
    compiler: Any = cpp
    for index in indices:
        asked = index, {"i": i, "j": j}[variable], length
        assert compiler.stride_at_vec_range(*asked) == sizevars.stride_at_vec_range(*asked)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86 processor's compiler")
def test_the_compiler_knows_the_instructions_that_it_is_not_asked_about() -> None:
    trust_compiler()
    instructions = VecAVX512VNNI()
    instructions._arch_flags += " -mavx512bf16"
    for code in (instructions._avx512_bf16_code, instructions._avx512_vnni_code):
        assert instructions.check_build(code)
        assert BUILD(instructions, code)
    assert VecAMX().check_build("no code of any kind") is False


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_bf16_rounds_products_but_neither_weights_nor_moments(execution: str) -> None:
    exact = take_steps("eager", 30, dtype=torch.float32)
    rounded = take_steps(execution, 30, dtype=torch.float32, products=torch.bfloat16)
    assert not torch.equal(rounded.loss_sum, exact.loss_sum)
    torch.testing.assert_close(rounded.loss_sum, exact.loss_sum, rtol=0.02, atol=0)
    for group in rounded.groups:
        assert group.values.dtype == group.mean.dtype == group.square.dtype == torch.float32
        lost = group.values - group.values.bfloat16().float()
        assert lost.abs().max() > 0


@pytest.mark.parametrize("products", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["language", "labels", "head only"])
def test_a_step_asks_the_device_for_no_value(kind: str, products: torch.dtype | None) -> None:
    """Captured steps may not. On a device that has none, asking is an error."""
    stack, order = prepare("meta", torch.float32, kind=kind, products=products)
    losses, gradients = stack.differentiate(stack.parameters, order.rows(1))
    scale = clip_scale(gradient_norms(gradients), 1.0)
    assert (losses.is_meta, scale.is_meta, losses.shape) == (True, True, (2,))
    with pytest.raises(RuntimeError):
        losses.tolist()


@needs_cuda
@pytest.mark.parametrize("kind", ["language", "labels", "head only"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_captured_steps_have_the_bits_of_the_others(
    execution: str, dtype: torch.dtype, kind: str
) -> None:
    """30 steps are replays of several steps and of one."""
    one_by_one = take_steps(execution, 30, device="cuda", dtype=dtype, kind=kind)
    name = {"eager": "cuda_graph", "compiled": "compiled_cuda_graph"}[execution]
    captured = take_steps(name, 30, device="cuda", dtype=dtype, kind=kind)
    assert torch.equal(captured.loss_sum, one_by_one.loss_sum)
    for name, value in one_by_one.parameters.items():
        assert torch.equal(captured.parameters[name], value), name


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_the_compiler_can_ask_how_matrices_are_multiplied(precision: str) -> None:
    """PyTorch refuses to answer where its two settings of the same contradict each other."""
    multiply_in(precision)
    try:
        told = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.fp32_precision
    finally:
        multiply_in("fp32")
    assert told == {"fp32": ("highest", "ieee"), "tf32": ("high", "tf32")}[precision]


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_gpu_takes_the_steps_of_a_cpu(precision: str) -> None:
    """Up to rounding: the masks of dropout are drawn on the device, so the model has none."""
    rounding = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}[precision]
    products = PRECISIONS[precision][1]
    multiply_in(precision)
    try:
        found = [
            take_steps(
                execution, 12, device=device, dtype=torch.float32, size=UNDROPPED, products=products
            )
            for device, execution in (
                ("cpu", "eager"),
                ("cuda", "cuda_graph"),
                ("cuda", "compiled_cuda_graph"),
            )
        ]
    finally:
        multiply_in("fp32")
    for stack in found[1:]:
        torch.testing.assert_close(stack.loss_sum.cpu(), found[0].loss_sum, rtol=rounding, atol=0)


@needs_cuda
@pytest.mark.parametrize("execution", ["cuda_graph", "compiled_cuda_graph"])
def test_a_captured_run_can_stop_and_go_on_at_any_step(execution: str) -> None:
    whole = take_steps(execution, 30, device="cuda")
    stack, order = prepare("cuda")
    name = prepare_execution(execution, stack, order, settings(), lambda note: None)
    executor = make_executor(name, stack, order, settings())
    for first, last in ((1, 1), (2, 12), (13, 30)):
        list(executor.run(first, last))
    for name, value in whole.parameters.items():
        assert torch.equal(stack.parameters[name], value), name


@pytest.mark.parametrize(
    ("steps", "seeds", "wanted"),
    [
        (COMPILE_STEPS - 6, [0], "eager"),
        (COMPILE_STEPS, [0], "compiled"),
        (COMPILE_STEPS // 2, [0, 1], "compiled"),
    ],
)
def test_a_cpu_run_is_compiled_only_if_it_is_long(
    steps: int, seeds: list[int], wanted: str
) -> None:
    epochs = -(-steps // 6)
    stack, order = prepare(epochs=epochs, seeds=seeds)
    ignore: Callable[[str], None] = lambda note: None  # noqa: E731
    assert prepare_execution("auto", stack, order, settings(epochs), ignore) == wanted


def test_without_a_compiler_a_run_is_eager_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    stack, order = prepare()
    notes: list[str] = []
    assert prepare_execution("compiled", stack, order, settings(), notes.append) == "eager"
    assert notes == ["no C++ compiler found: the steps are carried out eagerly"]


def test_with_a_broken_compiler_a_run_is_eager_and_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho no headers >&2\nexit 1\n")
    broken.chmod(0o755)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        notes, losses, eager = pool.submit(little.steps_compiled_with, broken).result()
    assert [note.split(":")[0] for note in notes] == [
        "torch.compile failed, the steps are carried out eagerly"
    ]
    assert losses == eager


@pytest.mark.parametrize("execution", ["cuda_graph", "compiled_cuda_graph"])
def test_capturing_on_a_cpu_is_refused_in_one_line(execution: str) -> None:
    stack, order = prepare()
    ignore: Callable[[str], None] = lambda note: None  # noqa: E731
    with pytest.raises(ValueError, match=f"config: execution = '{execution}'") as caught:
        prepare_execution(execution, stack, order, settings(), ignore)
    assert "\n" not in str(caught.value)
