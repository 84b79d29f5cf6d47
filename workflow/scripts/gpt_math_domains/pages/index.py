"""The study's page: its question, what was run, what came out, and where that comes from."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.data.manifest import read_sizes
from gpt_math_domains.data.vocabulary import POSITIONS
from gpt_math_domains.figures.captions import anchor_of, caption_of
from gpt_math_domains.figures.drawing import (
    Drawing,
    drawing_script,
    figure_element,
    read_drawing,
    templates,
)
from gpt_math_domains.files import read_json, write_text
from gpt_math_domains.jobs.record import difference
from gpt_math_domains.results.examples import Examples, read_examples
from gpt_math_domains.results.findings import COMPARISONS, find
from gpt_math_domains.results.grid import grid_keys
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.reference import read_comparison
from gpt_math_domains.results.statistics import THRESHOLDS
from gpt_math_domains.results.summary import own_runs, read_summary
from gpt_math_domains.run import (
    ACCURACY,
    PROTOCOLS,
    RUN,
    ModelSize,
    describe_point,
    require_place,
)

_HERE = Path(__file__).parent
_MODEL = [
    "model",
    "num_layers",
    "num_heads",
    "d_model",
    "dropout",
    "tie_word_embeddings",
    "parameters",
]
_DATA = [
    "data",
    "digits",
    "modulo",
    "moduli",
    "without_modulus",
    "operations",
    "train_share",
    "split",
    "split_seed",
    "holdout",
    "vocabulary",
    "train",
    "valid",
]
_DOMAIN = ["domain", "labels", "file"]
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


def write_index(
    pretrain_csv: str | Path,
    finetune_csv: str | Path,
    summary_csv: str | Path,
    manifests: Iterable[str | Path],
    records: Iterable[str | Path],
    figures: Mapping[str, Sequence[str | Path]],
    study: Mapping[str, Any],
    output: str | Path,
    equations: str | Path | None = None,
    labels: str | Path | None = None,
    comparison_csv: str | Path | None = None,
) -> None:
    """Write the page that shows a whole study; the same files and study give the same bytes.

    Its links expect the layout of the results directory, with the page on top.

    Args:
        pretrain_csv: the metrics of all pretraining runs.
        finetune_csv: the metrics of all finetuning runs.
        summary_csv: the summary of both.
        manifests: of the data versions, in the order of `study`'s.
        records: what each run's job told of itself, `run.json`.
        figures: the pages of figures to show, by section; those that have nothing to show are left
            out, and sections that the template does not name come after those that it does.
        study: see `render`.
        output: the page.
        equations: some of the first data version, to show examples of; None for no examples.
        labels: theirs, of the first domain version, if there is one.
        comparison_csv: the runs against reference curves, if there are any.

    Raises:
        ValueError: a table, a manifest, a record or a figure's page is malformed, or a record is
            of a run that is not the study's.
        KeyError: `study` lacks a key.
    """
    told = [_read_record(Path(path), study) for path in records]
    page = render(
        {**study, **_sizes(study, manifests)},
        read_metrics(pretrain_csv),
        read_metrics(finetune_csv),
        read_summary(summary_csv),
        {
            section: [
                (Path(path).stem, drawing) for path in paths if (drawing := read_drawing(path)).data
            ]
            for section, paths in figures.items()
        },
        told,
        None if comparison_csv is None else read_comparison(comparison_csv),
        examples=None if equations is None else read_examples(equations, labels),
    )
    write_text(output, page)


def render(
    study: Mapping[str, Any],
    pretrain: pd.DataFrame,
    finetune: pd.DataFrame,
    summary: pd.DataFrame,
    figures: Mapping[str, Sequence[tuple[str, Drawing]]],
    provenance: Iterable[Mapping[str, Any]],
    comparison: pd.DataFrame | None = None,
    live: Mapping[str, Any] | None = None,
    examples: Examples | None = None,
) -> str:
    """Return the page of a study.

    Args:
        study: `name`, if it has one; `models`, `data` and `domains`, mappings from version to
            settings (a model may have `parameters`, a data version `vocabulary`, `train` and
            `valid`); `protocols`; `seeds`; `pretrain_seeds`, or None; `training`, a mapping for
            each run with its keys and settings; `grid`, if there is one, a mapping from key to
            values.
        pretrain: metrics of the finished pretraining runs.
        finetune: metrics of the finished finetuning runs.
        summary: of these runs, as `summary.summarize` returns it.
        figures: by section, each with its name, which is that of its page in `plots/`.
        provenance: of each run, as `read_provenance` returns it.
        comparison: with reference curves, as `reference.read_comparison` returns it.
        live: of a study that still runs; see `watch`.
        examples: of the first data version's equations.

    Raises:
        KeyError: `study` lacks a key.
    """
    told, starts, runs = (
        find(pretrain, finetune, own_runs(summary)),
        _starts(study),
        list(provenance),
    )
    return (
        templates(_HERE)
        .get_template("index.html.jinja")
        .render(
            name=study.get("name", ""),
            script=drawing_script(),
            live=live,
            seeds=study["seeds"],
            question=_QUESTIONS[starts],
            compared=starts == "both",
            finetuned=starts != "none",
            configuration=_configuration(study),
            commits=_commits(runs),
            examples=_examples(study, examples),
            sources=study["pretrain_seeds"],
            tables=[
                _table("Models", _MODEL, _versions("model", study["models"])),
                _table("Data", _DATA, _versions("data", study["data"]), fold=True),
                _table("Domains", _DOMAIN, _versions("domain", study["domains"])),
                _table("Grid", ["key", "values"], _grid(study.get("grid", {}))),
            ],
            training=_table("Training", _TRAINING, study["training"], fold=True),
            figures={
                section: [_shown(name, drawing) for name, drawing in shown]
                for section, shown in figures.items()
            },
            told=told,
            comparisons=_comparisons(told.comparisons),
            results=_results(summary),
            reference=_reference(comparison),
            provenance=_table("Provenance", _PROVENANCE, runs, fold=True),
        )
    )


_QUESTIONS = {
    "both": "Does learning arithmetic first help a small GPT-2 to tell what kind of equation it "
    "reads?",
    "pretrained": "How well does a small GPT-2 that has learned arithmetic tell what kind of "
    "equation it reads?",
    "random": "How well does a small GPT-2 learn from random weights to tell what kind of equation "
    "it reads?",
    "none": "How well does a small GPT-2 learn arithmetic?",
}


def _starts(study: Mapping[str, Any]) -> str:
    """Return what a study can answer about how finetuning starts, a key of `_QUESTIONS`."""
    protocols = set(study["protocols"]) if study["domains"] else set()
    if any({pretrained, random} <= protocols for pretrained, random, *_ in COMPARISONS):
        return "both"
    if not protocols:
        return "none"
    known = [PROTOCOLS[protocol].pretrained for protocol in protocols if protocol in PROTOCOLS]
    return "pretrained" if any(known) else "random"


def _configuration(study: Mapping[str, Any]) -> str:
    """Return what a study runs in one line."""
    parts = {key: sorted(study[key], key=int) for key in ("data", "models", "domains")}
    parts |= {"protocols": study["protocols"] if study["domains"] else []}
    parts |= {"seeds": study["seeds"]}
    return "; ".join(
        f"{key} {', '.join(map(str, values))}" for key, values in parts.items() if values
    )


def _commits(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the commits that runs were made with, each once, with changes if a run had some."""
    told = {run["commit"] for run in runs} - {""}
    return sorted(commit for commit in told if f"{commit} and changes" not in told)


def _examples(study: Mapping[str, Any], examples: Examples | None) -> dict[str, Any]:
    """Return the words and tables that explain what is learnt."""
    data = study["data"]
    version = next(iter(data), None)
    labels = [domain["labels"] for domain in study["domains"].values()]
    plain, modular = (examples.plain, examples.modular) if examples else ([], [])
    return {
        "data": version,
        "digits": {number: settings["digits"] for number, settings in data.items()},
        "shared": [
            number for number, settings in data.items() if settings.get("split") == "shared"
        ],
        "tables": [
            _table(caption, list(rows[0]), rows)
            for caption, rows in (("Without a modulus", plain), ("With a modulus", modular))
            if rows
        ],
        "complements": examples.complements if examples else [],
        "labels": len(labels[0]) if labels else 0,
    }


def _sizes(study: Mapping[str, Any], manifests: Iterable[str | Path]) -> dict[str, Any]:
    """Return a study's data versions with how many equations they have, its models with parameters.

    These depend on the vocabulary, so they are a range where there are several.
    """
    data = {
        version: {**settings, **read_sizes(path)}
        for (version, settings), path in zip(study["data"].items(), manifests, strict=True)
    }
    models = {}
    for version, settings in study["models"].items():
        vocabularies = [sizes["vocabulary"] for sizes in data.values()]
        counts = [
            ModelSize(**settings, vocabulary_size=size, num_positions=POSITIONS).parameters()
            for size in vocabularies
        ]
        ends = dict.fromkeys(f"{count:,}" for count in (min(counts), max(counts)))
        models[version] = {**settings, "parameters": " to ".join(ends)}
    return {"data": data, "models": models}


def _versions(name: str, section: Mapping[Any, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a section's settings with the version among them, in ascending order."""
    return [{name: version, **section[version]} for version in sorted(section, key=int)]


def _grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the keys of a grid with their values in words."""
    return [
        {"key": key, "values": ", ".join(_cell(value, key) or "null" for value in tried)}
        for key, tried in values.items()
    ]


def _table(
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
        [_cell(row[column], column) if column in row else "" for column in columns] for row in rows
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


def _cell(value: Any, column: str) -> str:
    """Return a value as people read it."""
    if isinstance(value, Mapping):
        named = {key: _cell(part, key) for key, part in value.items() if part}
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


def _shown(name: str, drawing: Drawing) -> dict[str, Any]:
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


def _comparisons(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what pretraining changes as a table of text."""
    return _table("Pretrained and random starts compared", list(rows[0]) if rows else [], rows)


def _reference(comparison: pd.DataFrame | None) -> dict[str, Any]:
    """Return the runs against reference curves as a table of text, each at its last step."""
    rows = []
    if comparison is not None:
        last = comparison.groupby(RUN, dropna=False)["step"].transform("max")
        for row in comparison[comparison["step"] == last].to_dict("records"):
            shown = {column: row[column] for column in [*RUN, "step", "metric"]}
            shown |= {name: f"{row[name]:.3f}" for name in ("reference", "mean", "difference")}
            known = not pd.isna(row["standard_errors"])
            rows.append(
                shown
                | {"in standard errors": f"{row['standard_errors']:.1f}" if known else ""}
                | {"seeds": row["seeds"]}
            )
    return _table("Reference and reproduced", list(rows[0]) if rows else [], rows)


def _results(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the summary as tables of text, one for each phase, domain and data version.

    Each has a `heading` in words, with how many runs it has and where they end.
    """
    tables, keys = [], grid_keys(summary)
    for _, runs in summary.groupby(["phase", "domain", "data"], sort=False, dropna=False):
        phase, data, domain, metric = runs[["phase", "data", "domain", "metric"]].iloc[0]
        rows = []
        for row in runs.to_dict("records"):
            shown = {column: row[column] for column in ("model", "protocol", *keys)}
            shown[f"{metric} at the end"] = _interval(row, "final", ".3f", ", ")
            shown["baseline"] = "" if pd.isna(row["baseline"]) else f"{row['baseline']:.3f}"
            for threshold in THRESHOLDS:
                shown[f"step at {threshold}"] = (
                    _interval(row, f"step_{threshold}", ",.0f", " to ")
                    if row[f"reached_{threshold}"] == row["seeds"]
                    else f"{row[f'reached_{threshold}']} of {row['seeds']} seeds"
                )
            rows.append(shown | {column: row[column] for column in ("steps", "seeds")})
        place = (
            f"{phase}, data {data}" if pd.isna(domain) else f"{phase}, domain {domain}, data {data}"
        )
        ends = dict.fromkeys(
            f"{end:.3f}" for end in (runs["final_mean"].min(), runs["final_mean"].max())
        )
        told = [f"{len(runs)} run{'s' if len(runs) > 1 else ''}", f"{metric} {' to '.join(ends)}"]
        if runs["baseline"].notna().all():
            told.append(f"baseline {runs['baseline'].iloc[0]:.3f}")
        tables.append(
            _table(f"Results: {place}", list(rows[0]), rows, fold=("baseline", "steps", "seeds"))
            | {"heading": f"{place}: {', '.join(told)}"}
        )
    return tables


def _interval(row: Mapping[Any, Any], name: str, digits: str, between: str) -> str:
    """Return a mean and, where there is one, its interval."""
    mean, low, high = (row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    if pd.isna(low):
        return f"{mean:{digits}}"
    return f"{mean:{digits}} [{low:{digits}}{between}{high:{digits}}]"


def _read_record(path: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record tells, as `read_provenance` does, of a run of the study.

    Raises:
        ValueError: the file is no record, or tells of a run with other settings or seeds.
    """
    told, record = read_provenance(path), read_json(path)
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
    record = read_json(path)
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
