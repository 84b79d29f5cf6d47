"""Where training runs and in which numbers: torch made ready on one device."""

import ctypes
import os

import torch

# Named precisions: type of parameters and states, and type of the blocks' matrix products.
PRECISIONS = {
    "fp32": (torch.float32, torch.float32),
    "tf32": (torch.float32, torch.float32),  # and products of rounded factors, on a GPU
    "bf16": (torch.float32, torch.bfloat16),
    "fp64": (torch.float64, torch.float64),
}


def prepare_torch(device: str, threads: int, precision: str = "fp32") -> str:
    """Make torch deterministic and return the device to train on, `cpu` or `cuda`.

    Raises:
        ValueError: `cuda` or `tf32` is asked for and not there.
    """
    _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for the same on CUDA
    torch.use_deterministic_algorithms(True)
    # Every tensor here is written before it is read; filling them first takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("config: device = 'cuda': no CUDA device is here; use auto or cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "tf32" and device == "cpu":
        raise ValueError("config: precision = 'tf32': only a GPU has it; use fp32 or bf16")
    multiply_in(precision)
    return device


def multiply_in(precision: str) -> None:
    """Set how a GPU multiplies fp32 matrices.

    By the older of PyTorch's two settings: it sets the newer one too, and not the other way round,
    and PyTorch 2.13's compiler refuses to work where the two differ.
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 numbers itself; a CPU may only emulate that, slowly."""
    return device == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one, where it is glibc.

    Otherwise it goes back to the system and comes back cleared: some 6% of a step of model 6. And
    small pieces kept in bins of their own would be collected again for each large tensor that is
    freed: 2 to 5% of a step of model 2 in bf16.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        trim_threshold, mmap_threshold, fast_bins = -1, -3, 1  # the numbers of malloc.h
        library.mallopt(mmap_threshold, 32 * 2**20)  # the most that it takes
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(fast_bins, 0)
