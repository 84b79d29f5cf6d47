"""What runs again after which change: the table below is the contract."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from study import ROOT, Repository, listed_jobs

Versions = int | str | Iterable[int | str]

# What the smoke study runs.
DATA, MODELS, PROTOCOLS = (4, 5), (2, 4), ("full", "scratch")


def jobs(rule: str, **wildcards: Versions) -> set[str]:
    """Return a rule's jobs: `jobs("plot_answers", data=(4, 5))` are two."""
    values = [
        [f"{name}={value}" for value in ([given] if isinstance(given, int | str) else given)]
        for name, given in sorted(wildcards.items())
    ]
    return {" ".join([rule, *chosen]) for chosen in product(*values)}


def equations(data: Versions = DATA) -> set[str]:
    return jobs("generate_equations", data=data) | jobs("compute_pretrain_baselines", data=data)


def labels(domain: Versions = 1, data: Versions = DATA) -> set[str]:
    return jobs("label_domains", domain=domain, data=data) | jobs(
        "compute_finetune_baselines", domain=domain, data=data
    )


# A study's last words.
BUNDLE = jobs("bundle_report")
MADE = jobs("write_made") | BUNDLE
TIMELINE = jobs("plot_timeline") | MADE
PAGE = jobs("write_index") | TIMELINE
SCALE = jobs("plot_pretrain_scale") | jobs("plot_finetune_scale", domain=1) | PAGE
REPORT = jobs("summarize_metrics") | SCALE | PAGE
RULES = jobs("trace_rules") | jobs("plot_rules") | TIMELINE


def grid_figures(*phases: str) -> set[str]:
    """Return the jobs that show a grid for the first time."""
    figures = {
        "pretrain": jobs("plot_pretrain_grid", data=DATA),
        "finetune": jobs("plot_finetune_grid", data=DATA, domain=1),
    }
    return jobs("collect_grid").union(*(figures[phase] for phase in phases)) | REPORT | RULES


def pretraining(data: Versions = DATA, model: Versions = MODELS) -> set[str]:
    """Return the pretraining jobs and what shows them; without the finetuning after them."""
    return (
        jobs("pretrain_model", data=data, model=model)
        | jobs("collect_pretrain_metrics")
        | jobs("judge_answers", data=data, model=model)
        | jobs("plot_pretrain_curves", data=data)
        | jobs("plot_pretrain_generalization", data=data)
        | jobs("plot_pretrain_norms", data=data)
        | jobs("plot_answers", data=data)
        | jobs("plot_families", data=data)
        | REPORT
    )


def finetuning(
    data: Versions = DATA,
    model: Versions = MODELS,
    domain: Versions = 1,
    protocol: Versions = PROTOCOLS,
) -> set[str]:
    """Return the finetuning jobs and what shows them."""
    return (
        jobs("finetune_model", data=data, model=model, domain=domain, protocol=protocol)
        | jobs("collect_finetune_metrics")
        | jobs("plot_finetune_curves", domain=domain, data=data)
        | jobs("plot_finetune_generalization", domain=domain, data=data)
        | jobs("plot_finetune_norms", domain=domain, data=data)
        | jobs("plot_labels", domain=domain, data=data)
        | jobs("plot_transfer", domain=domain, data=data)
        | REPORT
    )


TRAINING = pretraining() | finetuning()
CURVES = (
    jobs("plot_pretrain_curves", data=DATA)
    | jobs("plot_finetune_curves", domain=1, data=DATA)
    | PAGE
)
NORMS = (
    jobs("plot_pretrain_norms", data=DATA) | jobs("plot_finetune_norms", domain=1, data=DATA) | PAGE
)
GENERALIZATION = (
    jobs("plot_pretrain_generalization", data=DATA)
    | jobs("plot_finetune_generalization", domain=1, data=DATA)
    | PAGE
)
PRETRAIN_COLOURED = (
    jobs("plot_pretrain_curves", data=DATA)
    | jobs("plot_pretrain_generalization", data=DATA)
    | jobs("plot_pretrain_norms", data=DATA)
    | PAGE
)
FAMILIES = jobs("plot_families", data=DATA) | PAGE
LABELS = jobs("plot_labels", domain=1, data=DATA) | PAGE
ANSWERS = jobs("plot_answers", data=DATA) | PAGE
TRANSFER = jobs("plot_transfer", domain=1, data=DATA) | PAGE
OTHERS = ANSWERS | TRANSFER | GENERALIZATION | NORMS | FAMILIES | LABELS
COLLECTING = jobs("collect_pretrain_metrics") | jobs("collect_finetune_metrics") | REPORT
PLOTS = CURVES | OTHERS | SCALE | jobs("plot_rules") | PAGE
BASELINES = jobs("compute_pretrain_baselines", data=DATA) | jobs(
    "compute_finetune_baselines", domain=1, data=DATA
)
NOTHING: set[str] = set()
EVERYTHING = equations() | labels() | TRAINING | jobs("copy_plotly") | RULES

STAGES = (
    *("source", "common", "data", "pretrain", "finetune", "metrics", "figures", "report"),
    "interpretability",
)
SCRIPTS = "workflow/scripts"
PACKAGE = f"{SCRIPTS}/gpt_math_domains"
CODE = [str(path.relative_to(ROOT)) for path in (ROOT / SCRIPTS).rglob("*.py")]
COMMENT = "# a comment\n"
LINE = "CHANGED = True\n"
TINY = {"num_layers": 1, "num_heads": 1, "d_model": 8}


@dataclass(frozen=True)
class Case:
    """What somebody does to a finished study, and exactly what runs then.

    Attributes:
        change: what is done, in words.
        runs: the jobs that follow.
        config: changes to the configuration.
        append: what is added to the end of which files of the repository.
        delete: a file or directory of the results.
        touch: a pattern of files that get a new modification time.
        options: of `snakemake --dry-run`.
    """

    change: str
    runs: set[str]
    config: Mapping[str, Any] = field(default_factory=dict)
    append: Mapping[str, str] = field(default_factory=dict)
    delete: str | None = None
    touch: str | None = None
    options: tuple[str, ...] = ()

    @property
    def edits(self) -> bool:
        """Whether files of the study change, not its configuration alone."""
        return bool(self.append or self.delete or self.touch)


def a_line_in(module: str, runs: set[str], line: str = LINE) -> Case:
    """Return the case of one more line in a file of the package."""
    return Case(f"a line in {module}", runs, append={f"{PACKAGE}/{module}": line})


CASES = [
    # Nothing of substance.
    Case("nothing", NOTHING),
    Case("more cores", NOTHING, options=("--cores", "7")),
    Case("every file touched, none changed", NOTHING, touch="**/*"),
    Case(
        "comments in rules and configuration",
        NOTHING,
        append=dict.fromkeys(
            [
                "Snakefile",
                *(f"workflow/rules/{stage}.smk" for stage in STAGES),
                "config/config.yaml",
                "profiles/default/profile.yaml",
                "profiles/slurm/profile.yaml",
            ],
            COMMENT,
        ),
    ),
    Case("another attempt", NOTHING, options=("--retries", "3")),
    Case("a model defined, not selected", NOTHING, {"models": {7: TINY}}),
    Case(
        "an override that says what holds already",
        NOTHING,
        {"overrides": [{"phase": "pretrain", "batch_size": 16}]},
    ),
    Case("trainings that share a GPU", BUNDLE, {"gpu_slots": 2}),  # which has the configuration
    Case(
        "equations to look into",
        BUNDLE,
        {"interpretability": {"equations": {4: ["1 + 1 = 2"]}}},
    ),
    # How runs train.
    Case(
        "pretraining epochs of a model",
        pretraining(model=2) | finetuning(model=2, protocol="full"),
        {"overrides": [{"phase": "pretrain", "model": 2, "num_train_epochs": 13}]},
    ),
    Case(
        "pretraining epochs of a run",
        pretraining(data=4, model=2) | finetuning(data=4, model=2, protocol="full"),
        {"overrides": [{"phase": "pretrain", "data": 4, "model": 2, "num_train_epochs": 13}]},
    ),
    Case("learning rate of finetuning", finetuning(), {"finetune": {"learning_rate": 1e-3}}),
    Case(
        "batch size of a protocol",
        finetuning(protocol="scratch"),
        {"overrides": [{"protocol": "scratch", "phase": "finetune", "batch_size": 8}]},
    ),
    Case("clipping of finetuning", finetuning(), {"finetune": {"max_grad_norm": None}}),
    Case(
        "checkpoints along a pretraining",
        pretraining(data=4, model=2) | finetuning(data=4, model=2, protocol="full"),
        {"overrides": [{"phase": "pretrain", "data": 4, "model": 2, "checkpoints": "log"}]},
    ),
    Case(
        "finetuning from another data version",
        finetuning(data=5),
        {"overrides": [{"phase": "finetune", "data": 5, "finetune_from": 4}]},
    ),
    Case(
        "dropout of a model",
        pretraining(model=4) | finetuning(model=4),
        {"models": {4: {"dropout": 0.0}}},
    ),
    Case(
        "size of a model",
        pretraining(model=4) | finetuning(model=4),
        {"models": {4: {"d_model": 8}}},
    ),
    Case("device", TRAINING, {"device": "cuda"}),  # results differ in their last digits
    Case("threads", TRAINING, {"threads": 2}),  # likewise
    Case("as many threads as before", BUNDLE, {"threads": 1}),
    # What data and labels are.
    Case(
        "digits of a data version",
        equations(data=4) | labels(data=4) | pretraining(data=4) | finetuning(data=4),
        {"data": {4: {"digits": 6}}},
    ),
    Case(
        "order of the labels",
        labels() | finetuning(),
        {"domains": {1: {"labels": ["both_even", "first_odd"]}}},
    ),
    Case(
        "a label of one's own",
        labels() | finetuning() | PAGE,
        {"domains": {1: {"labels": ["first_odd", "large"], "file": "own.py"}}},
        append={"own.py": "def large(equation):\n    return equation.answer > 2\n"},
    ),
    # More, or less, of everything.
    Case(
        "one more model",
        pretraining(model=7) | finetuning(model=7),
        {
            "models": {7: TINY},
            "run": {"models": [2, 4, 7]},
        },
    ),
    Case(
        "one more data version",
        equations(data=6) | labels(data=6) | pretraining(data=6) | finetuning(data=6),
        {"data": {6: {"digits": 6, "modulo": 2}}, "run": {"data": [4, 5, 6]}},
    ),
    Case(
        "one more domain version",
        labels(domain=2) | finetuning(domain=2) | jobs("plot_finetune_scale", domain=2),
        {"domains": {2: {"labels": ["has_zero"]}}, "run": {"domains": [1, 2]}},
    ),
    Case(
        "one more protocol",
        finetuning(protocol="frozen") | RULES,  # others might ask for no pretraining
        {"run": {"protocols": ["full", "scratch", "frozen"]}},
    ),
    Case("one more seed", TRAINING, {"run": {"seeds": [0, 1, 2]}}),  # a job trains all seeds
    Case(
        "one more seed, for one figure",
        jobs("pretrain_model", data=4, model=MODELS) | jobs("plot_pretrain_curves", data=4),
        {"run": {"seeds": [0, 1, 2]}},
        options=("results/smoke/plots/pretrain_4.html",),
    ),
    Case(
        "one more seed, for one figure of finetuning",
        jobs("pretrain_model", data=4, model=MODELS)
        | jobs("finetune_model", domain=1, data=4, model=MODELS, protocol=PROTOCOLS)
        | jobs("plot_finetune_curves", domain=1, data=4),
        {"run": {"seeds": [0, 1, 2]}},
        options=("results/smoke/plots/finetune_1_pretrain_4.html",),
    ),
    Case("one model fewer", COLLECTING | CURVES | OTHERS, {"run": {"models": [2]}}),
    Case(
        "another directory for results",
        EVERYTHING,
        {"pathvars": {"results": "results/other"}},
    ),
    # A grid beside the study, which stays.
    Case(
        "a grid of finetuning",
        jobs(
            "finetune_model",
            data=DATA,
            model=MODELS,
            domain=1,
            protocol=PROTOCOLS,
            point="grid/finetune.weight_decay~1/",
        )
        | grid_figures("finetune"),
        {"grid": {"finetune.weight_decay": [0.1, 1]}},
    ),
    Case(
        "a grid of pretraining",
        jobs("pretrain_model", data=DATA, model=MODELS, point="grid/pretrain.weight_decay~0/")
        | jobs(
            "finetune_model",
            data=DATA,
            model=MODELS,
            domain=1,
            protocol="full",
            point="grid/pretrain.weight_decay~0/",
        )
        | grid_figures("pretrain", "finetune"),
        {"grid": {"pretrain.weight_decay": [0, 0.1]}},
    ),
    Case(
        "a grid of data",
        jobs("generate_equations", data=DATA, point="grid/data.train_share~0.5/")
        | jobs("label_domains", data=DATA, domain=1, point="grid/data.train_share~0.5/")
        | jobs("pretrain_model", data=DATA, model=MODELS, point="grid/data.train_share~0.5/")
        | jobs(
            "finetune_model",
            data=DATA,
            model=MODELS,
            domain=1,
            protocol=PROTOCOLS,
            point="grid/data.train_share~0.5/",
        )
        | grid_figures("pretrain", "finetune"),
        {"grid": {"data.train_share": [0.5]}},
    ),
    Case(
        "a grid of a value that one data version has",
        jobs("generate_equations", data=4, point="grid/data.digits~5/")
        | jobs("label_domains", data=4, domain=1, point="grid/data.digits~5/")
        | jobs("pretrain_model", data=4, model=MODELS, point="grid/data.digits~5/")
        | jobs(
            "finetune_model",
            data=4,
            model=MODELS,
            domain=1,
            protocol=PROTOCOLS,
            point="grid/data.digits~5/",
        )
        | grid_figures("pretrain", "finetune"),
        {"grid": {"data.digits": [5]}},
    ),
    Case(
        "a grid of what the study has anyway",
        grid_figures("pretrain", "finetune"),
        {"grid": {"pretrain.weight_decay": [0.1], "models.d_model": [16]}},
    ),
    # How results look.
    Case(
        "a colour of pretraining figures",
        PRETRAIN_COLOURED,
        {"figures": {"pretrain_colors": ["#123456", "#654321"]}},
    ),
    Case(
        "colours for any colour vision",
        CURVES | GENERALIZATION | NORMS | TRANSFER,
        {"figures": {"colors": "accessible"}},
    ),
    Case(
        "a reference curve",
        jobs("plot_pretrain_curves", data=4) | jobs("compare_reference") | RULES | PAGE,
        {"figures": {"reference_curves": {"pretrain_4": "published.csv"}}},
        append={"published.csv": "model,step,math_acc\n2,1,0.5\n"},
    ),
    # Code, of each wing.
    Case("comments in all code", NOTHING, append=dict.fromkeys(CODE, COMMENT)),
    Case("empty lines in all code", NOTHING, append=dict.fromkeys(CODE, "\n\n")),
    a_line_in("files.py", EVERYTHING),
    a_line_in("run.py", TRAINING | BASELINES | jobs("plot_rules")),
    a_line_in("jobs/logs.py", EVERYTHING),
    a_line_in("jobs/record.py", TRAINING),
    a_line_in("data/equations.py", equations() | labels() | TRAINING),
    a_line_in("data/labels.py", labels() | finetuning()),
    a_line_in("data/families.py", labels() | BASELINES | TRAINING),
    a_line_in("training/stack.py", TRAINING),
    a_line_in("training/judge.py", jobs("judge_answers", data=DATA, model=MODELS) | ANSWERS),
    a_line_in("training/inside.py", NOTHING),  # looked into on request alone
    a_line_in("training/probes.py", NOTHING),
    a_line_in("training/answers.py", jobs("judge_answers", data=DATA, model=MODELS) | ANSWERS),
    a_line_in("training/ask.py", NOTHING),
    a_line_in("__main__.py", NOTHING),
    a_line_in("results/summary.py", REPORT | TRANSFER),
    a_line_in("results/grid.py", REPORT | TRANSFER),
    a_line_in("results/findings.py", PAGE),
    a_line_in("results/examples.py", PAGE),
    a_line_in(
        "results/baselines.py",
        BASELINES | CURVES | GENERALIZATION | FAMILIES | LABELS | ANSWERS | TRANSFER | REPORT,
    ),
    a_line_in("results/reference.py", CURVES),  # curves are drawn beside those of others
    a_line_in("figures/looks.py", PLOTS),
    a_line_in("figures/drawing.py", PLOTS),
    a_line_in("figures/library.py", jobs("copy_plotly") | BUNDLE),
    a_line_in("figures/captions.py", PLOTS),
    a_line_in("figures/lines.py", CURVES | GENERALIZATION | NORMS | FAMILIES | LABELS | SCALE),
    a_line_in("figures/curves.py", CURVES),
    a_line_in("figures/generalization.py", GENERALIZATION),
    a_line_in("figures/norms.py", NORMS),
    a_line_in("figures/families.py", FAMILIES),
    a_line_in("figures/answers.py", ANSWERS),
    a_line_in("figures/grid.py", NOTHING),  # of a study without one
    a_line_in("figures/timeline.py", TIMELINE),
    a_line_in("pages/index.py", PAGE),
    a_line_in("pages/index.html.jinja", PAGE, "<!-- a comment -->\n"),
    a_line_in("pages/parts.py", PAGE),
    a_line_in("pages/parts.css", PAGE, "/* a comment */\n"),
    a_line_in("pages/made.py", MADE),
    a_line_in("pages/bundle.py", BUNDLE),
    a_line_in("pages/watch.py", NOTHING),
    a_line_in("study/config.py", NOTHING),
    a_line_in("study/grid.py", NOTHING),
    a_line_in("study/estimate.py", NOTHING, "PROCESS_MB = 1\nSTART_MINUTES = 1\n"),
    Case("a line in a script", CURVES, append={f"{SCRIPTS}/plot_curves.py": LINE}),
    Case(
        "one more rule, which nothing needs",
        RULES,
        append={"workflow/rules/metrics.smk": "\nrule rest:\n    shell:\n        'true'\n"},
    ),
    # Lost results.
    Case(
        "pretrained metrics deleted",
        pretraining(data=4, model=2) | finetuning(data=4, model=2, protocol="full"),
        delete="pretrain/data_4/model_2/metrics.csv",
    ),
    Case(
        "a finetuned run's record deleted",
        finetuning(data=4, model=2, protocol="full"),
        delete="finetune/domain_1/data_4/model_2/full/run.json",
    ),
    Case(
        "a pretrained tokenizer deleted",
        pretraining(data=4, model=2) | finetuning(data=4, model=2, protocol="full"),
        delete="pretrain/data_4/model_2/seed_1/tokenizer.json",
    ),
    Case(
        "finetuned weights deleted",
        finetuning(data=5, model=4, protocol="scratch"),
        delete="finetune/domain_1/data_5/model_4/scratch/seed_1/model.safetensors",
    ),
    Case("the report's copies deleted", BUNDLE, delete="report"),
    Case(
        "answers deleted",
        jobs("judge_answers", data=4, model=2) | jobs("plot_answers", data=4) | PAGE,
        delete="pretrain/data_4/model_2/answers.csv",
    ),
    Case(
        "accuracies of labels deleted",
        finetuning(data=4, model=2, protocol="full"),
        delete="finetune/domain_1/data_4/model_2/full/labels.csv",
    ),
    Case(
        "accuracies of families deleted",
        pretraining(data=4, model=2) | finetuning(data=4, model=2, protocol="full"),
        delete="pretrain/data_4/model_2/families.csv",
    ),
    Case("the summary deleted", REPORT, delete="metrics/summary.csv"),
    Case(
        "baselines of answers deleted",
        jobs("compute_pretrain_baselines", data=4)
        | jobs("plot_pretrain_curves", data=4)
        | jobs("plot_pretrain_generalization", data=4)
        | jobs("plot_answers", data=4)
        | jobs("plot_families", data=4)
        | REPORT,
        delete="data/4/baselines.csv",
    ),
    Case(
        "baselines of labels deleted",
        jobs("compute_finetune_baselines", domain=1, data=4)
        | jobs("plot_finetune_curves", domain=1, data=4)
        | jobs("plot_finetune_generalization", domain=1, data=4)
        | jobs("plot_labels", domain=1, data=4)
        | REPORT,
        delete="domains/1/data_4/baselines.csv",
    ),
    Case(
        "a figure deleted",
        jobs("plot_pretrain_curves", data=5) | PAGE,
        delete="plots/pretrain_5_eval_loss.html",
    ),
    Case("a log deleted", NOTHING, delete="logs/pretrain/data_4/model_2.log"),
]


def those(edits: bool) -> pytest.MarkDecorator:
    """Return what runs a test on the cases that change files, or on those that change none."""
    chosen = [pytest.param(case, id=case.change) for case in CASES if case.edits == edits]
    return pytest.mark.parametrize("case", chosen)


def files(repository: Repository) -> dict[Path, tuple[int, int]]:
    """Return the size and the modification time of each file, Snakemake's notes on them aside."""
    notes = repository.directory / ".snakemake" / "iocache"  # read if `--trust-io-cache` asks so
    found = {path: path.stat() for path in repository.directory.rglob("*") if path.is_file()}
    return {
        path: (stat.st_size, stat.st_mtime_ns)
        for path, stat in found.items()
        if not path.is_relative_to(notes)
    }


@those(edits=False)
def test_exactly_what_a_configuration_affects_runs_again(finished: Repository, case: Case) -> None:
    """Asking is all that is done, and leaves the study as it was."""
    before = files(finished)
    assert finished.jobs_to_run(*case.options, config=case.config) == case.runs
    assert files(finished) == before


@those(edits=True)
def test_exactly_what_an_edit_or_a_loss_affects_runs_again(study: Repository, case: Case) -> None:
    for name, text in case.append.items():
        with (study.directory / name).open("a", encoding="utf-8") as file:
            file.write(text)
    if case.delete:
        lost = study.results / case.delete
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    if case.touch:
        for path in study.directory.glob(case.touch):
            path.touch()
    assert study.jobs_to_run(*case.options, config=case.config) == case.runs


def test_what_is_announced_is_what_runs_and_then_nothing_is_left(study: Repository) -> None:
    colour = {"figures": {"pretrain_colors": ["#123456", "#654321"]}}
    ran = study.snakemake("--cores", "2", config=colour)
    assert ran.returncode == 0, ran.stdout
    assert listed_jobs(ran.stdout) == PRETRAIN_COLOURED
    assert study.jobs_to_run(config=colour) == NOTHING
