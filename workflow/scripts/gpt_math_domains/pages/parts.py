"""What the pages of a study have in common: tables of text, figures with their words, records."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.figures.captions import anchor_of, caption_of
from gpt_math_domains.figures.drawing import Drawing, figure_element
from gpt_math_domains.files import read_json
from gpt_math_domains.jobs.record import difference
from gpt_math_domains.run import ACCURACY, RUN, describe_point, require_place

_TRAINING = [
    *RUN,
    "num_train_epochs",
    "eval_steps",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "gradient_accumulation_steps",
    "num_warmup_steps",
    "shuffle",
    "lr_scheduler_type",
    "max_grad_norm",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "weight_decay_on",
    "train_eval_rows",
    "checkpoints",
    "finetune_from",
]
_KEYS = {*RUN, "pretrained", "random"}  # of a row; on a phone, numbers stand before them
_NULL = {"max_grad_norm": "none", "train_eval_rows": "all"}  # what these mean where they are null
_PROVENANCE = [
    *RUN,
    "point",
    "device",
    "precision",
    "execution",
    "threads",
    "python",
    "torch",
    "numpy",
    "code",
    "commit",
]


def making(study: Mapping[str, Any], provenance: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what `parts.made.html.jinja` tells: seeds, and how each run was trained.

    Args:
        study: see `index.render`.
        provenance: of each run, as `read_provenance` returns it.
    """
    return {
        "seeds": study["seeds"],
        "sources": study["pretrain_seeds"],
        "training": table("Training", _TRAINING, study["training"], fold=True),
        "provenance": table("Provenance", _PROVENANCE, provenance, fold=True),
    }


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    fold: bool | Collection[str] = False,
) -> dict[str, Any]:
    """Return a table of text, without the columns that are empty in every row.

    With `fold`, columns (or those that it names) with one value in all of several rows are told
    once, in `common`; the keys of a run stay.
    """
    folded = columns if fold is True else fold or ()
    cells = [
        [cell(row[column], column) if column in row else "" for column in columns] for row in rows
    ]
    kept, common = [], []
    for place, column in enumerate(columns):
        values = {row[place] for row in cells}
        if values <= {""}:
            continue
        if column in folded and column not in RUN and len(cells) > 1 and len(values) == 1:
            common.append((column, values.pop()))
        else:
            kept.append(place)
    return {
        "caption": caption,
        "keys": [columns[i] for i in kept if columns[i] in _KEYS],
        "columns": [columns[i] for i in kept],
        "rows": [[row[i] for i in kept] for row in cells],
        "common": common,
    }


def cell(value: Any, column: str) -> str:
    """Return a value as people read it."""
    if isinstance(value, Mapping):
        named = {key: cell(part, key) for key, part in value.items() if part}
        return "; ".join(f"{key} {part}" for key, part in named.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return _NULL.get(column, "")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and column not in RUN:  # versions are names, not numbers
        return f"{value:,}"
    return str(value)


def figure_of(name: str, drawing: Drawing) -> dict[str, Any]:
    """Return a figure's element and the words around it."""
    # Zooming is for the figure's own page: here, a finger on a figure scrolls.
    # There are no buttons of plotly's either, so the title moves up.
    margin = drawing.layout.get("margin", {})
    layout = drawing.layout | {
        "dragmode": False,
        "font": drawing.layout.get("font", {}) | {"size": 12},
        "title": drawing.layout.get("title", {}) | {"font": {"size": 15}},
        "margin": margin | {"t": margin.get("t", 80) - 35},
    }
    base = next((name.removesuffix(f"_eval_{m}") for m in ACCURACY.values() if m in name), None)
    pages = {"larger": name}
    if base:
        pages |= {"loss": f"{base}_eval_loss", "all metrics": base}
    return {
        "title": drawing.title,
        "description": drawing.description,
        "links": {text: f"plots/{page}.html" for text, page in pages.items()},
        "caption": caption_of(name),
        "anchor": anchor_of(name),
        "element": figure_element(replace(drawing, layout=layout), name),
    }


def read_record(path: str | Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record tells, as `read_provenance` does, of a run of the study.

    Raises:
        ValueError: the file is no record, or tells of a run with another model, other settings or
            other seeds.
    """
    record = read_json(path)
    told = _provenance(path, record)
    if told["point"]:  # its settings are in its name
        return told
    for run in study["training"]:
        if any(run.get(key) != record["run"].get(key) for key in RUN):
            continue
        seeds = study["seeds"]
        if run["phase"] == "pretrain":
            seeds = list(dict.fromkeys(study["pretrain_seeds"] or seeds))
        planned = {
            "model": study["models"][run["model"]],
            "seeds": seeds,
            "settings": {key: value for key, value in run.items() if key not in RUN},
        }
        if why := difference(record, planned):
            raise ValueError(f"{path}: is not of this study: {why}")
    return told


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Return what a run's record tells, without what differs when the run is repeated.

    Raises:
        ValueError: the file is no such record.
    """
    return _provenance(path, read_json(path))


def _provenance(path: str | Path, record: Any) -> dict[str, Any]:
    """Return what the record at a path tells; see `read_provenance`."""
    try:
        git: Any = {"commit": "", "dirty": False} if record["git"] is None else record["git"]
        told = record | record["versions"] | record["run"]
        require_place(Path(path), record["run"] | {"point": record.get("point", "")})
        told["point"] = describe_point(str(record.get("point", "")))
        return {name: told[name] for name in _PROVENANCE[:-1]} | {
            "commit": git["commit"][:12] + (" and changes" if git["dirty"] else "")
        }
    except (KeyError, TypeError):
        raise ValueError(
            f"{path}: expected a run's record, with run, versions, git, {', '.join(_PROVENANCE)}"
        ) from None
