"""Cards: a `README.md` for each checkpoint and data version of a study, as model hubs show it.

A card begins with metadata in YAML, which hubs and their libraries read.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from gpt_math_domains.data.families import parts_of
from gpt_math_domains.data.manifest import check_manifest
from gpt_math_domains.data.tables import read_equations, read_labels
from gpt_math_domains.data.vocabulary import read_vocabulary
from gpt_math_domains.files import read_json, sha256, write_text
from gpt_math_domains.jobs.record import place_of, require_inputs, require_outputs
from gpt_math_domains.results.answers import SPLITS
from gpt_math_domains.results.baselines import answer_baselines, label_baselines
from gpt_math_domains.results.finished import FinishedRun, finished_runs
from gpt_math_domains.run import ACCURACY, CONFIG, RECORD, WEIGHTS, describe_point

CARD = "README.md"
LICENSE = "mit"
PROJECT = "GPT Math Domains"
_WHAT = {
    "math_acc": "share of validation equations whose whole answer is predicted",
    "domain_acc": "share of (validation equation, label) pairs that are told right",
}
_BASELINE = {
    "math_acc": "the most frequent answer to training equations of the same operation and modulus",
    "domain_acc": "of each label, the more frequent answer for the training equations",
}


def write_cards(results: str | Path) -> list[Path]:
    """Write the cards of a study's data versions and of the checkpoints of its finished runs.

    Those at points of its grid have cards too.

    Returns:
        The cards, in the order of their paths.

    Raises:
        ValueError: there is nothing to write a card of, or a file is malformed or is not what a
            record or manifest names; nothing is written.
        OSError: a file cannot be read or written.
    """
    results = Path(results)
    # Runs first: whoever changed a file that one was made with is told of that run.
    cards = dict(_model_cards(results)) | dict(_data_cards(results))
    if not cards:
        raise ValueError(f"{results}: has no data version and no finished run")
    for path, text in cards.items():
        write_text(path, text)
    return sorted(cards)


def _data_cards(results: Path) -> Iterator[tuple[Path, str]]:
    """Yield the card of each data version."""
    for manifest in sorted(
        path for point in ("", "grid/**/") for path in results.glob(f"{point}data/*/manifest.json")
    ):
        files = {split: manifest.with_name(f"{split}.csv") for split in SPLITS}
        check_manifest(manifest, vocabulary=manifest.with_name("vocabulary.json"), **files)
        told = read_json(manifest)
        try:
            yield manifest.with_name(CARD), _data_card(_version(manifest), told)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{manifest}: is no manifest of a data version ({error!r})") from None


def _version(manifest: Path) -> str:
    """Return the name of a data version, with its point of the grid."""
    point, _ = place_of(manifest.as_posix()) or ("", "")
    return ", ".join(filter(None, [f"data version {manifest.parent.name}", describe_point(point)]))


def _data_card(version: str, manifest: Mapping[str, Any]) -> str:
    """Return the card of a data version."""
    counts, families = manifest["counts"], manifest["families"]
    settings = {
        name: value
        for name, value in manifest.items()
        if name not in ("counts", "families", "sha256", "vocabulary_size")
    }
    total = counts["total"]
    metadata = {
        "license": LICENSE,
        "pretty_name": f"{PROJECT}, {version}",
        "tags": ["arithmetic", "synthetic"],
        "task_categories": ["text-generation"],
        "size_categories": [_size_category(total)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.csv"},
                    {"split": "validation", "path": "valid.csv"},
                ],
            }
        ],
    }
    rows = [
        [f["operation"], f["modulo"] or "none", f"{f['train']:,}", f"{f['valid']:,}"]
        for f in families
    ]
    return _card(
        metadata,
        f"# {PROJECT}, {version}",
        f"All {total:,} equations of {manifest['digits']} digit symbols: {counts['train']:,} to "
        f"train on and {counts['valid']:,} for validation. They were computed, not collected.",
        "## Load",
        _code(
            "from pathlib import Path\n\nfrom datasets import load_dataset\n\n"
            "data = load_dataset(str(Path.cwd()))  # of this directory"
        ),
        "It has the splits `train` and `validation`, with these columns:",
        _table(
            ["column", "what it is"],
            [
                ["`equation`", "its symbols between blanks, such as `3 - 5 = - 2`"],
                ["`tokens`", "their ids between blanks, places in `symbols` of `vocabulary.json`"],
                ["`operation`", "add, subtract, multiply or divide, which is floor division"],
                ["`modulo`", "the modulus, empty without one"],
                ["`answer_start`", "the place of the answer's first symbol, from 0"],
            ],
        ),
        "## Families",
        "A family is an operation under a modulus. Each was split on its own.",
        _table(["operation", "modulus", "train", "validation"], rows),
        "## What to know",
        "* After `=(m)` stands the modulus, then the answer: `3 + 4 =(m) 5 2` is 7 = 2 modulo 5.\n"
        "* A number is one symbol, also above 9.\n"
        "* The `-` of an answer below 0 has another id than that of the operation.\n"
        "* Without a modulus, equations whose answer has no symbol are left out.\n"
        "* Validation holds many equations whose mirror image, `b op a`, is trained on.",
        "## Settings",
        _table(["setting", "value"], [[f"`{k}`", _value(v)] for k, v in settings.items()]),
    )


def _model_cards(results: Path) -> Iterator[tuple[Path, str]]:
    """Yield the card of each checkpoint of each finished run."""
    for finished in finished_runs(results):
        record = finished.directory / RECORD
        data = require_inputs(record, finished.record)
        baseline = _baseline(data)
        for seed in finished.record["seeds"]:
            directory = finished.directory / f"seed_{seed}"
            files = directory / CONFIG, directory / WEIGHTS
            require_outputs(record, finished.record, *files)
            version = _version(data["manifest"])
            yield directory / CARD, _model_card(finished, seed, directory, version, baseline)


def _model_card(
    finished: FinishedRun, seed: int, directory: Path, version: str, baseline: float
) -> str:
    """Return the card of a checkpoint."""
    record, run, metrics = finished.record, finished.run, finished.metrics
    phase, metric = run["phase"], ACCURACY[run["phase"]]
    config = read_json(directory / CONFIG)
    ends = metrics[metrics["step"] == metrics["step"].max()]
    values = ends.set_index("seed")[metric]
    own, name = float(values[seed]), f"{finished.name}, seed {seed}"
    task = "text-generation" if phase == "pretrain" else "text-classification"
    labels = list(config["id2label"].values()) if phase == "finetune" else []
    metadata = {
        "license": LICENSE,
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": ["gpt2", "arithmetic", "synthetic"],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {
                            "name": f"{PROJECT}, {version}",
                            "type": f"data_{run['data']}",
                            "split": "validation",
                        },
                        "metrics": [{"type": "accuracy", "name": metric, "value": own}],
                    }
                ],
            }
        ],
    }
    verb = {
        "pretrain": "It was trained to write the next symbol of equations",
        "finetune": f"It was trained, protocol `{run['protocol']}`, to tell which of the labels "
        f"{', '.join(f'`{label}`' for label in labels)} hold for equations",
    }[phase]
    spread = f"{values.mean():.4f} ({values.min():.4f} to {values.max():.4f})"
    return _card(
        metadata,
        f"# {name}",
        f"A GPT-2 model, `n_layer` {config['n_layer']} and `n_embd` {config['n_embd']}. {verb} of "
        f"{version}, such as `1 + 1 = 2`. Its run, made by {PROJECT}, has "
        f"{len(values)} seeds.",
        "## Load",
        _code(_LOAD[phase]),
        "## Results",
        f"After {int(ends['step'].iloc[0]):,} optimizer steps. `{metric}` is the {_WHAT[metric]}.",
        _table(
            ["", f"`{metric}`"],
            [
                ["this seed", f"{own:.4f}"],
                [f"mean of {len(values)} seeds (lowest to highest)", spread],
                [f"baseline: {_BASELINE[metric]}", f"{baseline:.4f}"],
            ],
        ),
        "## What to know",
        _TRAPS[phase],
        "## Training",
        _table(
            ["setting", "value"],
            [
                [f"`{key}`", _value(value)]
                for part in ("model", "settings", "versions")
                for key, value in record[part].items()
            ]
            + [[f"`{key}`", _value(record.get(key))] for key in ("precision", "device", "code")],
        ),
        f"The SHA-256 of `{WEIGHTS}` is `{sha256(directory / WEIGHTS)}`.",
    )


_LOAD = {
    "pretrain": """from transformers import AutoModelForCausalLM, AutoTokenizer

path = "."  # this directory
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path)
prompt = tokenizer("1 + 1 =", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt)[0]))""",
    "finetune": """from transformers import pipeline

labels = pipeline("text-classification", model=".", top_k=None)  # this directory
print(labels("1 + 1 = 2"))""",
}
_ALWAYS = (
    "* Symbols stand between blanks; `3+4=` is not read. Unknown symbols become `[unk]`, which the "
    "model refuses with an `IndexError`.\n"
    "* There are 7 positions, and equations of this data version alone were seen."
)
_TRAPS = {
    "pretrain": f"{_ALWAYS}\n"
    "* Nothing stands before an equation: give TransformerLens `prepend_bos=False` in each call.\n"
    "* Batches are padded on the left. A forward pass over padded prompts needs `position_ids`, "
    "which `generate` makes itself.\n"
    "* In pipelines, ask for the answer alone (`return_full_text=False`); else it may be glued "
    "to the prompt.",
    "finetune": f"{_ALWAYS}\n"
    "* Labels are told of whole equations, answer included; several can hold at once, so take all "
    "scores (`top_k=None`).\n"
    "* Batches are padded on the right.",
}


def _baseline(files: Mapping[str, Path]) -> float:
    """Return the accuracy on validation equations that a run has to beat; see `baselines`.

    Args:
        files: what the run was made with, as `require_inputs` returns it.
    """
    if "train_labels" in files:
        (names, trained), (_, judged) = (read_labels(files[f"{part}_labels"]) for part in SPLITS)
        rows = label_baselines(names, trained, judged)
    else:
        vocabulary = read_vocabulary(files["vocabulary"])
        rows = answer_baselines(
            *(parts_of(read_equations(files[part]), vocabulary) for part in SPLITS)
        )
    return float(next(rows)["accuracy"])


def _card(metadata: Mapping[str, Any], *parts: str) -> str:
    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _value(value: object) -> str:
    """Return a setting as people read it."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value).replace("|", r"\|")


def _size_category(rows: int) -> str:
    """Return the Hub's name of a number of rows."""
    if rows < 1000:
        return "n<1K"
    for power, (low, high) in enumerate(pairwise(["1K", "10K", "100K", "1M", "10M", "100M"])):
        if rows < 10 ** (power + 4):
            return f"{low}<n<{high}"
    return "n>100M"
