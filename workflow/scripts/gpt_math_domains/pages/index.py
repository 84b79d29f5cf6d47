"""The study's page: its question, what was run, what came out, and where that comes from."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.data.manifest import read_sizes
from gpt_math_domains.data.vocabulary import POSITIONS
from gpt_math_domains.figures.drawing import Drawing, drawing_script, read_drawing, templates
from gpt_math_domains.files import write_text
from gpt_math_domains.pages.parts import cell, figure_of, making, read_record, table
from gpt_math_domains.results.examples import Examples, read_examples
from gpt_math_domains.results.findings import COMPARISONS, find
from gpt_math_domains.results.grid import grid_keys
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.reference import read_comparison
from gpt_math_domains.results.statistics import THRESHOLDS
from gpt_math_domains.results.summary import own_runs, read_summary
from gpt_math_domains.run import PROTOCOLS, RUN, ModelSize

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


def write_index(
    pretrain_csv: str | Path,
    finetune_csv: str | Path,
    summary_csv: str | Path,
    manifests: Iterable[str | Path],
    records: Iterable[str | Path],
    figures: Mapping[str, Sequence[str | Path]],
    study: Mapping[str, Any],
    output: str | Path,
    equations: Sequence[str | Path] = (),
    labels: Sequence[str | Path] = (),
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
        equations: of data versions that have every kind of equation, to show examples of.
        labels: theirs, of the first domain version, if there is one.
        comparison_csv: the runs against reference curves, if there are any.

    Raises:
        ValueError: a table, a manifest, a record or a figure's page is malformed, or a record is
            of a run that is not the study's.
        KeyError: `study` lacks a key.
    """
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
        [read_record(path, study) for path in records],
        None if comparison_csv is None else read_comparison(comparison_csv),
        examples=read_examples(equations, labels) if equations else None,
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
        examples: of the equations.

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
            tables=[
                table("Models", _MODEL, _versions("model", study["models"])),
                table("Data", _DATA, _versions("data", study["data"]), fold=True),
                table("Domains", _DOMAIN, _versions("domain", study["domains"])),
                table("Grid", ["key", "values"], _grid(study.get("grid", {}))),
            ],
            figures={
                section: [figure_of(name, drawing) for name, drawing in drawings]
                for section, drawings in figures.items()
            },
            told=told,
            comparisons=_comparisons(told.comparisons),
            results=_results(summary),
            reference=_reference(comparison),
            made=making(study, runs),
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
    labels = [domain["labels"] for domain in study["domains"].values()]
    plain, modular = (examples.plain, examples.modular) if examples else ([], [])
    return {
        "digits": {number: settings["digits"] for number, settings in data.items()},
        "shared": [
            number for number, settings in data.items() if settings.get("split") == "shared"
        ],
        "tables": [
            table(caption, list(rows[0]), rows)
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
        {"key": key, "values": ", ".join(cell(value, key) or "null" for value in tried)}
        for key, tried in values.items()
    ]


def _comparisons(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what pretraining changes as a table of text."""
    return table("Pretrained and random starts compared", list(rows[0]) if rows else [], rows)


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
    return table("Reference and reproduced", list(rows[0]) if rows else [], rows)


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
            table(f"Results: {place}", list(rows[0]), rows, fold=("baseline", "steps", "seeds"))
            | {"heading": f"{place}: {', '.join(told)}"}
        )
    return tables


def _interval(row: Mapping[Any, Any], name: str, digits: str, between: str) -> str:
    """Return a mean and, where there is one, its interval."""
    mean, low, high = (row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    if pd.isna(low):
        return f"{mean:{digits}}"
    return f"{mean:{digits}} [{low:{digits}}{between}{high:{digits}}]"
