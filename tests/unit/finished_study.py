"""The files of a small study that has finished, its models of random weights."""

from pathlib import Path
from typing import Any

import torch

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.files import sha256, write_json
from gpt_math_domains.results.metrics import write_metrics
from gpt_math_domains.run import CONFIG, DIRECTORIES, WEIGHTS, ModelSize
from gpt_math_domains.training.checkpoint import write_checkpoints
from gpt_math_domains.training.model import initialize
from metric_rows import row

SETTINGS = DataSettings(5, 3)
VOCABULARY = SETTINGS.vocabulary
LABELS = ["first_odd", "has_zero", "answer_zero"]
SEEDS = (3, 8)
RUN = {"data": 5, "model": 2, "domain": 1, "protocol": "full"}
POINT = "grid/data.digits~5/pretrain.weight_decay~1/"
PRETRAINED, FINETUNED = (directory.format(point="", **RUN) for directory in DIRECTORIES.values())


def write_study(root: Path, point: str = "") -> None:
    """Write one pretrained and one finetuned model with their data, at a point of a grid perhaps.

    At a point, the data are at the part of it that concerns them.
    """
    above = root / "/".join(part for part in point.split("/") if not part.startswith("pretrain."))
    names = ("train", "valid", "vocabulary", "manifest")
    files = {
        name: above / "data" / "5" / f"{name}.{'csv' if name in names[:2] else 'json'}"
        for name in names
    }
    generate_equations(SETTINGS, **files)
    domain = above / "domains" / "1" / "data_5"
    labelled = {f"labelled_{name}": domain / f"{name}.csv" for name in names[:2]}
    labelled["labelled_manifest"] = domain / "manifest.json"
    label_domains(LABELS, **files, **labelled)
    size = ModelSize(2, 2, 16, VOCABULARY.size, 7)
    for phase, labels in (("pretrain", None), ("finetune", LABELS)):
        directory = root / DIRECTORIES[phase].format(point=point, **RUN)
        generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
        parameters = initialize(size, generators, len(LABELS) if labels else None)
        for value in parameters.values():
            value += 0.3 * torch.randn(value.shape, generator=generators[0])
        seeds = [directory / f"seed_{seed}" for seed in SEEDS]
        write_checkpoints(seeds, parameters, size, VOCABULARY, labels)
        run: dict[str, Any] = {"phase": phase, **RUN}
        if labels is None:
            run |= {"domain": None, "protocol": None}
        rows = [row(seed=seed, step=step, **run) for seed in SEEDS for step in (10, 20)]
        write_metrics(rows, phase, directory / "metrics.csv")
        weights = [seed / name for seed in seeds for name in (CONFIG, WEIGHTS)]
        inputs = [*files.values(), *(labelled.values() if labels else [])]
        told = {
            "run": run,
            "point": point,
            "seeds": SEEDS,
            "model": {"d_model": 16},
            "settings": {"batch_size": 32},
            "versions": {"torch": "2.13.0"},
            "inputs": {str(path): sha256(path) for path in inputs},
            "tables": {"metrics.csv": sha256(directory / "metrics.csv")},
            "weights": {str(path.relative_to(directory)): sha256(path) for path in weights},
        }
        write_json(directory / "run.json", told)


def change(path: Path) -> None:
    """Make a file of a study another one of the same form, as one of another study is."""
    if path.name == WEIGHTS:  # its last number
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif path.suffix == ".json":
        path.write_text(path.read_text() + "\n")
    elif path.parent.name == "data_5":  # of each label, what it is not
        header, *lines = path.read_text().splitlines()
        flips = str.maketrans("01", "10")
        rows = [line.partition(",") for line in lines]
        flipped = [f"{tokens},{held.translate(flips)}" for tokens, _, held in rows]
        path.write_text("\n".join([header, *flipped, ""]))
    elif path.name == "metrics.csv":
        path.write_text(path.read_text().replace(",0.5,", ",0.25,"))
    else:
        header, first, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *lines, first, ""]))
