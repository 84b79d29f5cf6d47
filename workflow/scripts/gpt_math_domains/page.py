"""The study's index page: what was run, its figures and its results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpt_math_domains.figures import (
    AXES,
    figure_div,
    finetune_title,
    learning_curves,
    pretrain_title,
    protocols,
    read_reference,
)
from gpt_math_domains.files import read_json, write_text
from gpt_math_domains.metrics import RUN, read_metrics
from gpt_math_domains.summary import THRESHOLDS, read_summary

_MODEL = ["model", "num_layers", "num_heads", "d_model", "parameters"]
_DATA = ["data", "digits", "modulo", "train", "valid"]
_DOMAIN = ["domain", "labels"]
_TRAINING = [
    *RUN,
    "num_train_epochs",
    "eval_steps",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "num_warmup_steps",
    "shuffle",
]
_PROVENANCE = [
    *RUN,
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


def write_index(
    pretrain_csv: str | Path,
    finetune_csv: str | Path,
    summary_csv: str | Path,
    records: Iterable[str | Path],
    study: Mapping[str, Any],
    output: str | Path,
    references: Mapping[str, str | Path] | None = None,
) -> None:
    """Write the page that shows a whole study; the same tables and study give the same bytes.

    Its links expect the layout of the results directory, with the page on top.

    Args:
        pretrain_csv: the metrics of all pretraining runs.
        finetune_csv: the metrics of all finetuning runs.
        summary_csv: the summary of both.
        records: what each run's job told of itself, `run.json`.
        study: `name`, if it has one; `models`, `data` and `domains`, mappings from version to
            settings (a model may have `parameters`, a data version `train` and `valid`: counts);
            `seeds`; `training`, a mapping for each run with its keys and settings; `figures`
            with `pretrain_colors` and `finetune_colors`.
        output: the page.
        references: tables of accuracy to set beside the study's own, by the name of the figure's
            page without suffix (`pretrain_1`); see `figures.read_reference`.

    Raises:
        ValueError: a table or a record is malformed.
        KeyError: `study` lacks a key.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pretrain, finetune = read_metrics(pretrain_csv), read_metrics(finetune_csv)
    colors, references = study["figures"], references or {}
    page = environment.get_template("page.html.jinja").render(
        name=study.get("name", ""),
        seeds=", ".join(map(str, study["seeds"])),
        tables=[
            _table("Models", _MODEL, _versions("model", study["models"])),
            _table("Data", _DATA, _versions("data", study["data"])),
            _table("Domains", _DOMAIN, _versions("domain", study["domains"])),
            _table("Training", _TRAINING, study["training"]),
        ],
        pretrain=[
            _figure(
                f"pretrain_{data}",
                pretrain_title(data),
                pretrain[pretrain["data"] == data],
                "math_acc",
                colors["pretrain_colors"],
                references,
            )
            for data in sorted(set(pretrain["data"]))
        ],
        finetune=[
            _figure(
                f"finetune_{domain}_pretrain_{data}",
                finetune_title(domain, data),
                finetune[(finetune["domain"] == domain) & (finetune["data"] == data)],
                "domain_acc",
                colors["finetune_colors"],
                references,
            )
            for domain, data in sorted(set(zip(finetune["domain"], finetune["data"], strict=True)))
        ],
        results=_results(read_summary(summary_csv)),
        provenance=_table("Provenance", _PROVENANCE, map(read_provenance, records)),
    )
    write_text(output, page)


def _versions(name: str, section: Mapping[Any, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a section's settings with the version among them, in ascending order."""
    return [{name: version, **section[version]} for version in sorted(section, key=int)]


def _table(
    caption: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a table of text, without the columns that are empty in every row."""
    cells = [[_cell(row.get(column), column) for column in columns] for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    return {
        "caption": caption,
        "columns": [columns[i] for i in kept],
        "rows": [[row[i] for i in kept] for row in cells],
    }


def _cell(value: Any, column: str) -> str:
    """Return a value as people read it."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and column not in RUN:  # versions are names, not numbers
        return f"{value:,}"
    return str(value)


def _figure(
    name: str,
    title: str,
    runs: pd.DataFrame,
    metric: str,
    colors: Sequence[str],
    references: Mapping[str, str | Path],
) -> dict[str, str]:
    """Return a figure's element and the words around it."""
    reference = read_reference(references[name], metric) if name in references else None
    figure = learning_curves(runs, metric, colors, title, reference)
    # Zooming is for the figure's own page: here, a finger on a figure scrolls.
    figure.update_layout(
        dragmode=False,
        font_size=12,
        title_font_size=15,
        margin={"l": 60, "r": 10, "t": 40, "b": 50},
    )
    seeds = runs["seed"].nunique()
    notes = [
        f"Means of {seeds} seeds; bands from the lowest to the highest."
        if seeds > 1
        else "One seed."
    ]
    if others := protocols(runs)[1:]:
        notes.append(f"In the legend, one click away: {', '.join(others)}.")
    if reference is not None:
        notes.append("Dotted: reference.")
    return {
        "title": title,
        "axis": AXES[metric],
        "caption": " ".join(notes),
        "page": f"plots/{name}.html",
        "accuracy_page": f"plots/{name}_eval_{metric}.html",
        "loss_page": f"plots/{name}_eval_loss.html",
        "div": Markup(figure_div(figure, name, toolbar=False)),
    }


def _results(summary: pd.DataFrame) -> dict[str, Any]:
    """Return the summary as a table of text."""
    rows = []
    for row in summary.to_dict("records"):
        shown = {column: row[column] for column in [*RUN, "metric", "seeds", "steps"]}
        for column in ("final", "best"):
            shown[column] = _interval(row, column, ".3f", ", ")
        shown["best at step"] = _interval(row, "best_step", ",.0f", " to ")
        for threshold in THRESHOLDS:
            shown[f"first step at {threshold}"] = (
                _interval(row, f"step_{threshold}", ",.0f", " to ")
                if row[f"reached_{threshold}"] == row["seeds"]
                else f"{row[f'reached_{threshold}']} of {row['seeds']} seeds"
            )
        rows.append(shown)
    return _table("Results", list(rows[0]) if rows else [], rows)


def _interval(row: Mapping[Any, Any], name: str, digits: str, between: str) -> str:
    """Return a mean and, where there is one, its interval."""
    mean, low, high = (row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    if pd.isna(low):
        return f"{mean:{digits}}"
    return f"{mean:{digits}} [{low:{digits}}{between}{high:{digits}}]"


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Return what a run's record tells, without what differs when the run is repeated.

    Raises:
        ValueError: the file is no such record.
    """
    record = read_json(path)
    try:
        git: Any = {"commit": "", "dirty": False} if record["git"] is None else record["git"]
        told = record | record["versions"] | record["run"]
        return {name: told[name] for name in _PROVENANCE[:-1]} | {
            "commit": git["commit"][:12] + (" and changes" if git["dirty"] else "")
        }
    except (KeyError, TypeError):
        raise ValueError(
            f"{path}: expected a run's record, with run, versions, git, {', '.join(_PROVENANCE)}"
        ) from None
