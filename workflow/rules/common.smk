import atexit
import gc
import json
import os
import re
from functools import cache
from itertools import chain
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile
from snakemake.pathvars import Pathvars
from snakemake.resources import Resource
from snakemake.settings.types import DeploymentMethod

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.figures.captions import caption_of
from gpt_math_domains.jobs.logs import shorten
from gpt_math_domains.jobs.stops import OWNER
from gpt_math_domains.run import (
    CHECKPOINT,
    CONFIG,
    DIRECTORIES,
    GENERATION_CONFIG,
    PROTOCOLS,
    WEIGHTS,
)
from gpt_math_domains.study.config import ConfigError, load_study
from gpt_math_domains.study.estimate import (
    checkpoint_bytes,
    cpu_warning,
    training_request,
    training_seconds,
    training_threads,
)
from gpt_math_domains.study.fingerprints import fingerprint, rules_fingerprint
from gpt_math_domains.study.grid import point_name, spelled
from gpt_math_domains.study.layers import doubts, from_command_line, lay, read_layer
from gpt_math_domains.study.locks import clear_stale_locks
from gpt_math_domains.study.records import (
    Checksums,
    data_difference,
    labels_difference,
    run_difference,
)

# Another workflow may use this one as a module, and jobs may ask Snakemake about this one; the lock
# and the configuration files are those of the Snakemake that came first.
IS_MODULE = not workflow.modifier.is_main_snakefile()

if workflow.is_main_process and not IS_MODULE and OWNER not in os.environ:
    ALIVE = clear_stale_locks(Path(".snakemake"))
if not workflow.subprocess_exec:
    # Trainings save and end when this process is gone.
    os.environ[OWNER] = str(os.getpid())

# Jobs stay until the end. To look for garbage among thousands of them as often as Python does took
# a seventh of a dry run.
if not IS_MODULE:
    gc.set_threshold(100_000)

# Run in another directory, the defaults are those of this one, if there are none there. Snakemake
# would not say what is wrong with them.
DEFAULTS = "config/config.yaml"
if IS_MODULE or not Path(DEFAULTS).is_file():
    DEFAULTS = str(ROOT / DEFAULTS)
try:
    read_layer(DEFAULTS)
except ConfigError as error:
    raise WorkflowError(str(error))


configfile: DEFAULTS


try:
    if IS_MODULE:
        # Snakemake passes over `configfile:`; what the module is given stands over the defaults.
        LAYERS = {DEFAULTS: read_layer(DEFAULTS), "the module's config": config}
    else:
        given = workflow.overwrite_configfiles
        defaults = workflow.configfiles[len(given) :]
        if workflow.config_settings.replace_workflow_config:
            defaults = []
        LAYERS = {str(path): read_layer(path) for path in [*defaults, *given]}
        LAYERS["--config"] = from_command_line(workflow.config_settings.config)
    config = lay(LAYERS)
    STUDY = load_study(config)
except ConfigError as error:
    raise WorkflowError(str(error))
# Snakemake has read it as it is written, with `~`.
workflow.pathvars.update(
    Pathvars.from_config(
        {"pathvars": STUDY.pathvars.model_dump()}, module_level=IS_MODULE
    )
)
if workflow.is_main_process:
    for doubt in doubts(LAYERS, STUDY):
        logger.warning(doubt)
# Snakemake passes over a missing input where the output is there already.
for figure, path in STUDY.figures.reference_curves.items():
    if not Path(path).is_file():
        raise WorkflowError(
            f"config: figures.reference_curves.{figure} = {path!r}: no such file"
        )

# On a cluster, Snakemake would submit jobs that cannot start.
for training in ("pretrain_model", "finetune_model"):
    asked = workflow.resource_settings.overwrite_resources.get(training, {})
    gpus = asked["gpu"] if "gpu" in asked else None
    if gpus and not gpus.is_evaluable() and gpus.value > 1:
        raise WorkflowError(
            f"--set-resources {training}:gpu={gpus.value}: a training uses one GPU"
        )

# An image that was built from Containerfile, or a link to one.
IMAGE = "gpt-math-domains.sif"
if (
    DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
    and not Path(IMAGE).exists()
):
    raise WorkflowError(f"{Path(IMAGE).absolute()}: no such image")

# Training on the CPU by choice takes cores, not GPU slots.
TRAINING_GPUS = 0 if STUDY.device == "cpu" else 1
# With `auto`, the file is the same on every machine, or its name would make all trainings stale.
TRAIN_ENV = {"auto": "train", "cpu": "train-cpu", "cuda": "train-cuda"}[STUDY.device]

# Of files that records name, kept beside what Snakemake remembers.
CHECKSUMS = Checksums(Path(".snakemake") / "gpt_math_domains" / "checksums.json")
atexit.register(lambda: workflow.dryrun or CHECKSUMS.save())

# Where the files of data, labels and runs are. Their `point` is a part of one of the grid: the keys
# that make the file another one than the study's own, for which it is empty.
PRETRAIN, FINETUNE = DIRECTORIES["pretrain"], DIRECTORIES["finetune"]
DATA = "<results>/{point}data/{data}"
LABELS = "<results>/{point}domains/{domain}/data_{data}"
PRETRAINED = f"<results>/{PRETRAIN}"
FINETUNED = f"<results>/{FINETUNE}"
RUN_DIRECTORIES = dict(pretrain=PRETRAINED, finetune=FINETUNED)

# The seeds of each phase, and the seed of pretraining that each of finetuning starts from.
SEEDS = {phase: STUDY.run.seeds_of(phase) for phase in DIRECTORIES}
SOURCES = STUDY.run.sources()

# What runs: of each data and domain version, and all; `expand` takes what a pattern names.
COMPARED = dict(model=STUDY.run.models, protocol=STUDY.run.protocols, point="")
ALL = COMPARED | dict(data=STUDY.run.data, domain=STUDY.run.domains)
# The runs of the grid by phase, those among them that are the study's own too.
GRID_RUNS = {phase: [] for phase in DIRECTORIES}
for found in STUDY.grid_runs() if STUDY.grid.values() else []:
    GRID_RUNS[found.run["phase"]].append(found)


wildcard_constraints:
    point=r"(grid/([^/]+~[^/]+/)+)?",
    data=r"\d+",
    model=r"\d+",
    domain=r"\d+",
    seed=r"\d+",
    protocol="|".join(PROTOCOLS),
    figure="[a-z0-9_]+",
    format="svg|png|pdf",


def number(wildcard, section, wildcards):
    """Return the version that a wildcard names."""
    found, versions = int(wildcards[wildcard]), getattr(STUDY, section)
    if found not in versions:
        raise WorkflowError(
            f"{wildcard} {found}: not defined under {section}, which has {shorten(sorted(versions))}"
        )
    return found


# By name, the points of the grid that are there for a data version or a run.
points = cache(STUDY.parts)


def point(wildcards):
    """Return the point of the grid that a file is of, a mapping from key to value."""
    if not wildcards.point:
        return {}
    versions = [number("data", "data", wildcards)]
    if "model" in wildcards.keys():
        versions.append(number("model", "models", wildcards))
    if "protocol" in wildcards.keys():
        versions.append(number("domain", "domains", wildcards))
        versions.append(wildcards.protocol)
    known = points(*versions)
    if wildcards.point not in known:
        raise WorkflowError(
            f"{wildcards.point}: no point of the grid at which there is such a file; there are "
            f"{', '.join(sorted(filter(None, known))) or 'none'}"
        )
    return known[wildcards.point]


def version(wildcard, section):
    """Return a function that gives the settings of the version that a wildcard names."""

    def settings(wildcards):
        found = number(wildcard, section, wildcards)
        return STUDY.version(section, found, point(wildcards))

    return settings


def data_file(pattern, wildcards):
    """Return the file of the data, or of its labels, that a run uses."""
    named = dict(wildcards.items())
    if wildcards.point:
        found = STUDY.part(point(wildcards), int(wildcards.data))
        named["point"] = point_name(found)
    return pattern.format(**named)  # `expand` takes seconds for thousands of runs


def of_data(pattern):
    """Return what names that file: without a grid, the pattern itself, which Snakemake fills faster."""
    if not STUDY.grid.values():
        return pattern
    return lambda wildcards: data_file(pattern, wildcards)


def pretrain_settings(wildcards):
    return STUDY.training(
        "pretrain",
        int(wildcards.data),
        int(wildcards.model),
        point=point(wildcards),
    )


def finetune_settings(wildcards):
    return STUDY.training(
        "finetune",
        int(wildcards.data),
        int(wildcards.model),
        int(wildcards.domain),
        wildcards.protocol,
        point(wildcards),
    )


@cache
def equations_of(settings):
    """Return the settings of a data version, given as text, which tell how many equations it has."""
    return DataSettings(**json.loads(settings))


def data_settings(wildcards):
    return equations_of(json.dumps(version("data", "data")(wildcards)))


def longest_minutes():
    """Return the most minutes that a job may ask for, or None.

    A profile sets them as `max_runtime` among its default resources, in the words of `runtime`.
    """
    told = (workflow.resource_settings.default_resources or {}).get("max_runtime")
    if told is None:
        return None
    text = str(told.raw).strip("'\"")
    try:
        # Without a unit, humans mean minutes, and Snakemake's parser of fractions seconds.
        known = re.fullmatch(r"\d+|[\d.]+ *[a-z]+", text)
        minutes = Resource.parse_human_friendly("runtime", text) if known else 0
    except WorkflowError:
        minutes = 0
    if minutes < 1:
        raise WorkflowError(
            f"default-resources: max_runtime = {text}: must be minutes from 1, or a time such as "
            "24h or 1d"
        )
    return minutes


LONGEST_MINUTES = longest_minutes()


def threads_of(phase, settings):
    """Return a function that tells how many threads a training has."""

    def threads(wildcards):
        return training_threads(
            STUDY.threads,
            version("model", "models")(wildcards),
            settings(wildcards),
            len(SEEDS[phase]),
            device="cuda" if STUDY.device == "cuda" else "cpu",
        )

    return threads


def request(what, phase, settings):
    """Return a function that tells what a training asks for: `minutes` or `megabytes`."""

    def ask(wildcards, attempt):
        asked = training_request(
            data_settings(wildcards),
            version("model", "models")(wildcards),
            settings(wildcards),
            len(SEEDS[phase]),
            device="cuda" if TRAINING_GPUS else "cpu",
            precision=STUDY.precision,
            threads=threads_of(phase, settings)(wildcards),
            protocol=wildcards.get("protocol"),
            attempt=attempt,
            max_minutes=LONGEST_MINUTES,
        )
        return asked[what]

    return ask


def finetune_costs(wildcards):
    number("domain", "domains", wildcards)  # refuses one that is not defined
    return STUDY.costs("finetune")


def rules_config():
    """Return what of the configuration decides which rules a study needs, for `--config`."""
    run = {"protocols": STUDY.run.protocols}
    if not STUDY.run.domains:
        run["domains"] = []
    references = {"reference_curves": STUDY.figures.reference_curves}
    # Of the grid, a value that any study may have, of keys that concern the same phases.
    stand_ins = {
        "data": {"data.split": ["independent"]},
        "models": {"data.split": ["independent"]},
        "pretrain": {"pretrain.weight_decay_on": ["all"]},
        "finetune": {"finetune.weight_decay_on": ["all"]},
    }
    grid = {}
    for key in STUDY.grid.values():
        grid |= stand_ins[key.split(".")[0]]
    return [
        f"run={json.dumps(run)}",
        f"figures={json.dumps(references)}",
        *([f"grid={json.dumps(grid)}"] if grid else []),
    ]


def metrics_and_lost(rule, phase):
    """Return the metrics of runs, and what else is missing of runs that have metrics.

    Whatever was lost, or is new with one more seed, is so made again. To name all files of all runs
    instead would add a fifth to the time that Snakemake takes for thousands of them.
    """

    def of_runs(pattern):
        return expand(pattern, **ALL) + grid_files(pattern, phase)

    metrics = of_runs(rule.output.metrics)
    there = list(map(os.path.exists, metrics))
    lost = [
        path
        for output in (rule.output if any(there) else [])
        for path, has_metrics in zip(of_runs(output), there, strict=True)
        if has_metrics and not os.path.exists(path)
    ]
    return metrics + lost


def grid_files(pattern, phase, own=False):
    """Return a file of each run of the grid, of those of the study itself too if `own`."""
    return [
        path
        for run in GRID_RUNS[phase]
        if run.point or own
        for path in expand(pattern, **run.wildcards)
    ]


def varies(phase):
    """Tell whether a key of the grid concerns runs of a phase."""
    return any(run.values for run in GRID_RUNS[phase])


def grid_values(values):
    """Return the values of all keys of the grid as text, None where one does not concern a run."""
    return {
        key: spelled(values[key]) if key in values else None
        for key in STUDY.grid.values()
    }


def own_labels_file(wildcards):
    file = version("domain", "domains")(wildcards)["file"]
    return [] if file is None else file


def trajectories(wildcards):
    """Return the tables of all runs that keep checkpoints along training."""
    runs = [(run | {"point": ""}, run) for run in STUDY.runs()]
    runs += [
        (run.wildcards, STUDY.training(**run.run, point=run.point))
        for found in GRID_RUNS.values()
        for run in found
        if run.point
    ]
    kept = [
        f"{RUN_DIRECTORIES[named['phase']]}/trajectory.csv".format(**named)
        for named, settings in runs
        if settings["checkpoints"] != "none"
    ]
    if not kept:
        raise WorkflowError(
            "trajectories: no run keeps checkpoints; set pretrain.checkpoints or "
            "finetune.checkpoints"
        )
    return kept


def chosen_equations(wildcards):
    return STUDY.interpretability.equations.get(int(wildcards.data))


def source(wildcards):
    """Return the wildcards of the pretraining that a finetuning starts from."""
    told = finetune_settings(wildcards)["finetune_from"]
    data = int(wildcards.data) if told is None else told
    found = STUDY.part(point(wildcards), data, int(wildcards.model))
    return dict(data=data, model=wildcards.model, point=point_name(found))


def pretrained_files(wildcards):
    pattern, found = f"{PRETRAINED}/seed_{{seed}}/{{file}}", source(wildcards)
    return [
        pattern.format(**found, seed=seed, file=file)
        for seed in SOURCES
        for file in (CONFIG, WEIGHTS)
    ]


def pretrained_vocabulary(wildcards):
    data, found = source(wildcards)["data"], point(wildcards)
    found = point_name(STUDY.part(found, data))
    return [f"{DATA}/vocabulary.json".format(data=data, point=found)]


def named(patterns, wildcards):
    return [str(pattern).format(**wildcards) for pattern in patterns]


def read_of(patterns, wildcards):
    return [data_file(str(pattern), wildcards) for pattern in patterns]


def run_again(path, why):
    """Have the job that made a file run again, and say why, if there is a reason."""
    if why and workflow.is_main_process and path not in workflow.dag.forcefiles:
        logger.warning(f"{path}: is made again: {why}")
        workflow.dag.forcefiles.add(path)


def checked_data(wildcards):
    """Name no file; have a data version made again that is not what its manifest says."""
    made = rules.generate_equations.output
    files = dict(zip(made.keys(), named(made, wildcards), strict=True))
    manifest = files.pop("manifest")
    why = data_difference(manifest, data_settings(wildcards), files, CHECKSUMS)
    run_again(manifest, why)
    return []


def checked_labels(wildcards):
    """Name no file; have labels made again that are not what their manifest says."""
    made = rules.label_domains.output
    files = dict(zip(made.keys(), named(made, wildcards), strict=True))
    manifest = files.pop("manifest")
    told, data = (
        version("domain", "domains")(wildcards),
        rules.generate_equations.output,
    )
    equations = dict(
        zip(files, named([data.train, data.valid], wildcards), strict=True)
    )
    run_again(
        manifest,
        labels_difference(
            manifest, told["labels"], told["file"], equations, files, CHECKSUMS
        ),
    )
    return []


def checked_run(phase, made, settings, inputs, wildcards):
    """Have a finished run made again that is not what its record says."""
    [record] = named([made.record], wildcards)
    keys = dict(phase=phase, data=int(wildcards.data), model=int(wildcards.model))
    if phase == "finetune":
        keys |= dict(domain=int(wildcards.domain), protocol=wildcards.protocol)
    now = dict(
        run=keys,
        point=wildcards.point,
        model=version("model", "models")(wildcards),
        settings=settings(wildcards),
        seeds=SEEDS[phase],
        pretrain_seeds=[] if phase == "pretrain" else pretrain_seeds(wildcards),
        precision=STUDY.precision,
        threads=threads_of(phase, settings)(wildcards),
    )
    # Of code, Snakemake knows more, where it remembers the job: it may have been touched.
    remembered = workflow.persistence.metadata(IOFile(record))
    code = None if remembered else fingerprint(f"{phase}_model.py")
    run_again(record, run_difference(record, now, inputs, code, CHECKSUMS))


def checked_pretraining(wildcards):
    """Name no file; see `checked_run`."""
    inputs = read_of(rules.generate_equations.output, wildcards)
    made = rules.pretrain_model.output
    checked_run("pretrain", made, pretrain_settings, inputs, wildcards)
    return []


def checked_finetuning(wildcards):
    """Name no file; see `checked_run`."""
    inputs = read_of(
        [*rules.generate_equations.output, *rules.label_domains.output], wildcards
    )
    if starts_pretrained(wildcards):
        weights = [
            path
            for path in rules.pretrain_model.output.checkpoints
            if Path(path).name in (CONFIG, WEIGHTS)
        ]
        inputs += named(weights, source(wildcards))
    made = rules.finetune_model.output
    checked_run("finetune", made, finetune_settings, inputs, wildcards)
    return []


def starts_pretrained(wildcards):
    return PROTOCOLS[wildcards.protocol].pretrained


def pretrain_seeds(wildcards):
    return SOURCES if starts_pretrained(wildcards) else []


@cache
def require_finished():
    """Refuse a report while jobs have to run, as Snakemake would report whatever is there."""
    if stale := len(list(workflow.dag.needrun_jobs())):
        raise WorkflowError(
            f"--report: {stale} jobs of this study have to run first; see them with --dry-run"
        )


def report_category(wildcards):
    """Return where `snakemake --report` shows a file of the bundle."""
    require_finished()
    figure = wildcards.get("figure", "")
    if figure.startswith("pretrain_"):
        return "Math Symbol Prediction"
    if figure.startswith("finetune_"):
        return "Domain Prediction"
    if figure:
        return "Other figures"
    return "Tables" if wildcards.get("table") else "Study"


def report_labels(wildcards):
    """Return what tells a file of the bundle from others in its category."""
    [(kind, name)] = wildcards.items()
    return {kind: name.replace("_", " ")}


def tell_costs():
    """Say once, before training starts, what takes much disk, or long on a CPU."""
    trainings = [
        (
            (
                data_settings(job.wildcards),
                job.params.model,
                job.params.settings,
                len(job.params.seeds),
            ),
            dict(threads=job.params.threads, protocol=job.wildcards.get("protocol")),
        )
        for job in workflow.dag.needrun_jobs()
        if "settings" in job.params.keys()
    ]
    if kept := sum(checkpoint_bytes(*training) for training, _ in trainings):
        logger.warning(f"Checkpoints along training take up to {kept / 1e6:,.0f} MB.")
    if not TRAINING_GPUS or not workflow.local_exec:
        return
    runs = [
        (training_seconds(*training, **how), how["threads"])
        for training, how in trainings
    ]
    limits = workflow.global_resources
    slots = limits["gpu"].value if "gpu" in limits else None
    if warning := cpu_warning(runs, workflow.cores, slots):
        logger.warning(warning)
