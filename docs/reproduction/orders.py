"""Pretrain model 2 on equations in other orders than that of the file, and write how it learns.

    python docs/reproduction/orders.py ORDER [--data 1] [--steps 20000] [--seeds 4]

All but the order of the training equations is as published, and as in
`data_<data>_model_2/pretrain.csv`: the same seeds start from the same weights and draw the same
dropout masks. Writes `docs/reproduction/orders/<ORDER>_data_<data>.csv` as it goes.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from trials import SETTINGS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import Parts, parts_of
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import Equations, Integers, read_equations
from gpt_math_domains.data.vocabulary import LONGEST, OPERATIONS, read_vocabulary
from gpt_math_domains.jobs.caches import private_caches
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.device import prepare_torch
from gpt_math_domains.training.execution import make_executor, prepare_execution
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.stack import BatchOrder, build_stack, decide, torch_generator
from gpt_math_domains.training.tasks import NextTokens

DIGITS = {1: 10, 3: 20}
EPOCHS = {1: 1000, 3: 5000}


def operation_of(parts: Parts, operations: tuple[str, ...] = OPERATIONS) -> Integers:
    """Return the place of each equation's operation."""
    places: Integers = (parts.operation[:, None] == np.array(operations)).argmax(axis=1)
    return places


# The rows of each order; a file has family after family: by modulus, and in it by operation.
ORDERS: dict[str, Callable[[Parts], Integers]] = {
    "file": lambda parts: np.arange(len(parts)),
    "shuffled_once": lambda parts: np.random.default_rng(0).permutation(len(parts)),
    "by_operation": lambda parts: np.lexsort((parts.modulo, operation_of(parts))),
    "moduli_descending": lambda parts: np.lexsort((operation_of(parts), -parts.modulo)),
    "multiply_second": lambda parts: np.lexsort(
        (operation_of(parts, ("add", "multiply", "subtract", "divide")), parts.modulo)
    ),
}


def main() -> None:
    """Train in one order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("order", choices=ORDERS)
    parser.add_argument("--data", type=int, default=1, choices=DIGITS)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "orders")
    arguments = parser.parse_args()
    settings = replace(SETTINGS, num_train_epochs=EPOCHS[arguments.data])
    device, seeds = prepare_torch("cpu", threads=1), range(arguments.seeds)
    with tempfile.TemporaryDirectory() as directory:
        files = {name: Path(directory, name) for name in ("train", "valid", "vocabulary")}
        generate_equations(
            DataSettings(DIGITS[arguments.data], 5), **files, manifest=Path(directory, "manifest")
        )
        vocabulary = read_vocabulary(files["vocabulary"])
        train, valid = (read_equations(files[name]) for name in ("train", "valid"))
    rows = ORDERS[arguments.order](parts_of(train, vocabulary))
    ordered = Equations(*(getattr(train, field.name)[rows] for field in fields(train)))
    task, judged = (
        NextTokens.of(equations, vocabulary, device, torch.float32)
        for equations in (ordered, valid)
    )
    size = ModelSize(1, 8, 128, vocabulary.size, LONGEST + 1)
    weights = initialize(size, [torch_generator(seed, "weights") for seed in seeds])
    dropouts = [torch_generator(seed, "pretrain dropout", device) for seed in seeds]
    stack = build_stack(task, size, weights, settings, dropouts)
    order = BatchOrder(len(task), settings, seeds, device)
    found = []
    path = arguments.output / f"{arguments.order}_data_{arguments.data}.csv"
    path.parent.mkdir(exist_ok=True)
    with private_caches(print), torch.no_grad():
        execution = prepare_execution("compiled", stack, order, settings, print)
        executor = make_executor(execution, stack, order, settings)
        for start in range(0, arguments.steps, settings.eval_steps):
            *_, step = executor.run(start + 1, start + settings.eval_steps)
            loss, right = decide(judged, stack.parameters, size)
            accuracy = right.float().mean(dim=(1, 2)).tolist()
            found += [(step, *one) for one in zip(seeds, accuracy, loss.tolist(), strict=True)]
            table = pd.DataFrame(found, columns=["step", "seed", "math_acc", "eval_loss"])
            table.to_csv(path, index=False, float_format="%.6g")
            print(step, [round(share, 3) for share in accuracy], flush=True)


if __name__ == "__main__":
    main()
