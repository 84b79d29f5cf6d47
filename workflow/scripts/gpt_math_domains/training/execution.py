"""Executors: the same training step taken eagerly or compiled, and captured in a CUDA graph."""

import os
import re
import shlex
import shutil
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from gpt_math_domains.run import Settings, learning_rate
from gpt_math_domains.training.stack import (
    BatchOrder,
    Executor,
    Group,
    Stack,
    clip_scale,
    gradient_norms,
    training_step,
)

# Steps times seeds from which compiling pays on a CPU: it takes 12 to 38 s and saves 1.6 to 2.9 ms
# of a step and seed of model 2, and more of others (benchmarks/README.md).
COMPILE_STEPS = 8_000
CUDA_COMPILE_STEPS = 200_000  # the same there, estimated, of however many seeds
COMPILED = ("compiled", "compiled_cuda_graph")
CAPTURED = ("cuda_graph", "compiled_cuda_graph")
REPLAY_STEPS = 8  # training steps in a captured graph
BLOCK_STEPS = 1024  # steps whose batches lie on the device at once
CPP_OPTIONS: dict[str, Any] = {  # of torch.compile, which turns steps into C++ on a CPU
    "cpp_wrapper": True,  # calls between kernels too
    # As a file of their own, optimized less: model 6 has many of them.
    "cpp_wrapper_build_separate": True,
    # A compiler that reads PyTorch's headers knows AVX-512: no trial of it.
    "cpp.vec_isa_ok": True,
    # It takes 10 s and 140 MB to do so, and saves 2 s of each compilation after that.
    "cpp_cache_precompile_headers": False,
    "aot_inductor.enable_line_tables": False,  # for debuggers
}
WARMUP_STEPS = 3  # before a capture, so that libraries have set themselves up


def prepare_execution(
    name: str,
    stack: Stack,
    order: BatchOrder,
    settings: Settings,
    note: Callable[[str], None],
) -> str:
    """Return how steps are carried out here: `eager` or `compiled`, and on CUDA captured.

    Captured steps, `cuda_graph` and `compiled_cuda_graph`, have the bits of those that are not.
    Where they are compiled, the stack's step is: what fails at it decides the bits of a run, so it
    must be known before a saved state is read.

    Args:
        name: one of these, or `auto` for what is fastest for this run.
        stack: just built; its state stays.
        order: of the examples.
        settings: of the run.
        note: told what it is, and why if that is not what the name says: in the first line; what
            else there is to say follows in others.

    Raises:
        ValueError: a captured step is asked for without a CUDA device.
    """
    cuda = stack.rate.is_cuda
    if name == "auto":
        steps = settings.total_steps(order.examples)
        if cuda:
            name = "compiled_cuda_graph" if steps >= CUDA_COMPILE_STEPS else "cuda_graph"
        else:
            name = "compiled" if steps * len(order.seeds) >= COMPILE_STEPS else "eager"
    if name in CAPTURED and not cuda:
        raise ValueError(f"config: execution = {name!r}: training is on the CPU; use auto")
    eager = "cuda_graph" if name in CAPTURED else "eager"
    if name == "compiled" and not cuda and not _has_compiler():
        note("no C++ compiler found: the steps are carried out eagerly")
        name = eager
    if name in COMPILED:
        _name_directories_plainly()
        compile_stack(stack)
        try:
            with _undone(stack):
                training_step(stack, order.rows(1))
        except torch._dynamo.exc.TorchDynamoException as error:
            whole = "".join(traceback.format_exception(error)).rstrip()
            note(f"torch.compile failed, the steps are carried out eagerly: {_why(error)}\n{whole}")
            del stack.update  # the instance's: that of the class is the eager one
            name = eager
    return name


def make_executor(name: str, stack: Stack, order: BatchOrder, settings: Settings) -> Executor:
    """Return the executor for a name that `prepare_execution` returned, the stack's state read."""
    return (CudaGraph if name in CAPTURED else Eager)(stack, order, settings)


def compile_stack(stack: Stack) -> None:
    """Have torch.compile generate the steps of a stack when it takes the first."""
    # Shapes and objects stay as they are throughout a run: nothing to check at each step.
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if stack.rate.is_cuda:
        # What is fastest in a trial must not decide how a matrix product is padded.
        options["deterministic"] = True
    else:
        remember_strides()
        trust_compiler()
        options |= CPP_OPTIONS | {"cpp.threads": torch.get_num_threads()}
    # Without checks, what is compiled for one stack must not serve another: compiled code belongs
    # to a code object, so each stack gets one of its own.
    own = FunctionType(_update.__code__.replace(), _update.__globals__)
    compiled = torch.compile(own, fullgraph=True, dynamic=False, options=options)
    buffers = [group.values for group in stack.groups if _in_parts(stack, group)]

    def update(rows: Tensor) -> Tensor:
        losses, *values = compiled(stack, rows)
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        result: Tensor = losses
        return result

    stack.update = update  # type: ignore[method-assign]


def _in_parts(stack: Stack, group: Group) -> bool:
    """Tell whether the compiled step takes a group's parameters one by one.

    If they were cut out of the buffer in the step, their place in it would be part of the kernels,
    and each layer would have kernels of its own for the compiler to read. Their new values are
    returned, as what has other views cannot be changed there.
    """
    return len(group.shapes) > 1 and not stack.rate.is_cuda


def _update(stack: Stack, rows: Tensor) -> list[Tensor]:
    """Do what `Stack.update` does in a form that compiles well; return values to be stored, too.

    AdamW is written out, as torch's fused one cannot be compiled, and its plain one computes the
    bias corrections again for each value.
    """
    settings = stack.settings
    beta_1, beta_2 = settings.adam_beta1, settings.adam_beta2
    parameters = dict(stack.parameters)
    for group in stack.groups:
        if not _in_parts(stack, group):
            parameters |= group.views()
    losses, gradients = stack.differentiate(parameters, rows)
    norms = gradient_norms(gradients)
    stack.loss_sum += losses
    stack.norm_sum += norms
    stack.steps += 1
    steps, rate = stack.steps[0].double(), stack.rate[0].double()
    # Learning rate; that over the mean's bias correction; what corrects the root of the square.
    scalars = torch.stack([rate, rate / (1 - beta_1**steps), (1 - beta_2**steps).rsqrt()])
    # A product with 1 ends a kernel: the scalars would be computed again for each value, and torch
    # 2.13 fails at fusing several seeds' norms with their updates.
    factors = torch.cat(
        [clip_scale(norms, settings.max_grad_norm), scalars[:, None].to(losses.dtype)]
    )
    factors = torch.mm(factors, losses.new_ones(1, 1))
    scale, (rate, size, correction) = factors[:-3], factors[-3:, 0].unbind()
    returned = []
    for group, gradient in zip(stack.groups, gradients, strict=True):
        gradient = gradient * scale
        group.mean.lerp_(gradient, 1 - beta_1)
        group.square.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        divisor = group.square.sqrt() * correction + settings.adam_epsilon
        values = group.values * (1 - rate * group.weight_decay) - size * group.mean / divisor
        if _in_parts(stack, group):
            returned.append(values)
        else:
            group.values.copy_(values)
    return [losses, *returned]


@cache
def remember_strides() -> None:
    """Have torch.compile find the stride of an index once, and at sight where it is a plain sum.

    It simplifies each anew, the same ones in all layers; benchmarks/README.md tells what it costs.
    """
    from torch._inductor import sizevars  # what only compiling needs
    from torch._inductor.codegen import cpp

    @cache
    def stride(index: Any, variable: Any, length: int | None = None) -> Any:
        terms: dict[Any, Any] = getattr(index, "as_coefficients_dict", dict)()
        if terms and all(term.is_Symbol or term.is_Number for term in terms):
            return index.coeff(variable)
        return sizevars.stride_at_vec_range(index, variable, length)

    compiler: Any = cpp
    compiler.stride_at_vec_range = stride


@cache
def trust_compiler() -> None:
    """Have torch.compile take for granted that the compiler knows AVX-512 for bf16 and int8.

    One that reads PyTorch's headers does. Instructions for matrix tiles are newer, and tried.
    """
    from torch._inductor import cpu_vec_isa  # what only compiling needs

    instructions: Any = cpu_vec_isa.VecISA
    build = instructions.check_build

    def check_build(known: Any, code: str) -> bool:
        return "_mm512_" in code or build(known, code)

    instructions.check_build = check_build


def _name_directories_plainly() -> None:
    """Give torch.compile names of directories that it can tell a compiler.

    PyTorch 2.13 quotes no directory of libraries, so that a space in it makes two words of one. It
    gets links without one, which stand in its cache and so have the same names in the next job.
    """
    from torch.utils import cpp_extension  # what only compiling needs

    cpp_extension.TORCH_LIB_PATH = _plain_name(cpp_extension.TORCH_LIB_PATH)
    variables = sysconfig.get_config_vars()
    variables["LIBDIR"] = _plain_name(variables["LIBDIR"])


def _plain_name(path: str) -> str:
    """Return a directory's name, or that of a link to it which a shell would take for one word."""
    if shlex.quote(path) == path:
        return path
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    link = Path(cache_dir(), "links", sha256(path.encode()).hexdigest()[:16])
    link.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(path)
    return str(link)


def _why(error: BaseException) -> str:
    """Return why torch.compile failed, in one line: a compiler's first complaint, if it was one.

    Else what the error says that the others came of.
    """
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    compiling = [cause for cause in causes if type(cause).__name__ == "CppCompileError"]
    chosen = compiling[0] if compiling else causes[-1]
    lines = [" ".join(line.split()) for line in str(chosen).splitlines() if line.strip()]
    complaints = [line for line in lines if re.search(r"\berror: |cannot find|undefined", line)]
    told = (complaints or lines[-1:]) if compiling else lines
    return f"{type(chosen).__name__}: {told[0]}" if told else type(chosen).__name__


@contextmanager
def _undone(stack: Stack) -> Iterator[None]:
    """Bring a stack back to where it was before the block, also after an error in it."""
    before = {name: value.clone() for name, value in stack.state().items()}
    generators = [generator.get_state() for generator in stack.dropout.generators]
    try:
        yield
    finally:
        for name, value in stack.state().items():
            value.copy_(before[name])
        for generator, state in zip(stack.dropout.generators, generators, strict=True):
            generator.set_state(state)


def _has_compiler() -> bool:
    """Tell whether there is a C++ compiler for torch.compile."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


class Eager:
    """Carries out one step after the other.

    Args:
        stack: to train.
        order: of the examples.
        settings: of the run.
    """

    def __init__(self, stack: Stack, order: BatchOrder, settings: Settings) -> None:
        self._stack = stack
        self._order = order
        self._settings = settings
        self._total_steps = settings.total_steps(order.examples)

    def run(self, first: int, last: int) -> Iterator[int]:
        """Take steps `first` to `last`; yield each when it is done."""
        for step in range(first, last + 1):
            self._stack.rate.fill_(learning_rate(step, self._total_steps, self._settings))
            training_step(self._stack, self._order.rows(step))
            yield step


class CudaGraph:
    """Replays captured steps: one launch for `REPLAY_STEPS` of them.

    Batches and learning rates of a block of steps lie on the device; a counter there tells a
    captured step which are its own, so that nothing comes from the host in between.

    Args:
        stack: to train, on a CUDA device.
        order: of the examples.
        settings: of the run.
    """

    def __init__(self, stack: Stack, order: BatchOrder, settings: Settings) -> None:
        self._stack = stack
        self._order = order
        self._settings = settings
        self._total_steps = settings.total_steps(order.examples)
        rows = order.rows(1)
        self._rows = torch.stack([rows] * BLOCK_STEPS)
        self._rates = torch.zeros(BLOCK_STEPS, dtype=torch.float64, device=rows.device)
        self._place = torch.zeros(1, dtype=torch.int64, device=rows.device)
        self._warm_up()
        # Nothing in it outlives a replay, and the graphs take turns.
        self._memory = torch.cuda.graph_pool_handle()
        self._one, self._several = self._capture(1), self._capture(REPLAY_STEPS)

    def run(self, first: int, last: int) -> Iterator[int]:
        """Take steps `first` to `last`; yield the last one launched, after each launch."""
        for start in range(first, last + 1, BLOCK_STEPS):
            steps = range(start, min(start + BLOCK_STEPS, last + 1))
            rates = [learning_rate(step, self._total_steps, self._settings) for step in steps]
            # Nothing here waits for the device, which is still at the block before.
            told = torch.tensor(rates, dtype=torch.float64)
            self._rates[: len(steps)].copy_(told, non_blocking=True)
            torch.stack([self._order.rows(step) for step in steps], out=self._rows[: len(steps)])
            self._place.zero_()
            done = start - 1
            while done < steps[-1]:
                several = steps[-1] - done >= REPLAY_STEPS
                (self._several if several else self._one).replay()
                done += REPLAY_STEPS if several else 1
                yield done

    def _step(self) -> None:
        """Take the step that the counter points at, and move it on."""
        self._stack.rate.copy_(self._rates.index_select(0, self._place))
        training_step(self._stack, self._rows.index_select(0, self._place)[0])
        self._place += 1

    def _warm_up(self) -> None:
        """Take a few steps, which libraries and the optimizer need, and undo them."""
        with _undone(self._stack):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARMUP_STEPS):
                    self._step()
            torch.cuda.synchronize()

    def _capture(self, steps: int) -> torch.cuda.CUDAGraph:
        """Return a graph of so many consecutive steps."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._stack.dropout.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, pool=self._memory):
            for _ in range(steps):
                self._step()
        return graph
