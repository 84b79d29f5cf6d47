import json
import os
import sys
from itertools import chain
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

ROOT = Path(str(workflow.current_basedir)).parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.figures.captions import caption_of
from gpt_math_domains.jobs.stops import OWNER
from gpt_math_domains.run import CHECKPOINT, DIRECTORIES, PROTOCOLS
from gpt_math_domains.study.config import ConfigError, check_file, load_study
from gpt_math_domains.study.estimate import (
    checkpoint_bytes,
    cpu_warning,
    training_request,
    training_seconds,
)
from gpt_math_domains.study.fingerprints import fingerprint, rules_fingerprint
from gpt_math_domains.study.locks import clear_stale_locks

# Another workflow may use this one as a module, and jobs may ask Snakemake about this one; the lock
# and the configuration files are those of the Snakemake that came first.
IS_MODULE = not workflow.modifier.is_main_snakefile()

if workflow.is_main_process and not IS_MODULE and OWNER not in os.environ:
    ALIVE = clear_stale_locks(Path(".snakemake"))
if not workflow.subprocess_exec:
    # Trainings save and end when this process is gone.
    os.environ[OWNER] = str(os.getpid())

try:
    if IS_MODULE:
        # Snakemake passes over `configfile:`; what the module is given changes the same defaults.
        given, config = config, load_configfile(ROOT / "config" / "config.yaml")
        update_config(config, given)
    else:
        for path in workflow.configfiles:
            check_file(path)
    STUDY = load_study(config)
except ConfigError as error:
    raise WorkflowError(str(error))
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

# The checked configuration with text keys: rules take slices of it as params.
CHECKED = STUDY.model_dump(mode="json")
DATA_SETTINGS = {
    number: DataSettings(**settings) for number, settings in CHECKED["data"].items()
}
# Training on the CPU by choice takes cores, not GPU slots.
TRAINING_GPUS = 0 if STUDY.device == "cpu" else 1
# With `auto`, the file is the same on every machine, or its name would make all trainings stale.
TRAIN_ENV = {"auto": "train", "cpu": "train-cpu", "cuda": "train-cuda"}[STUDY.device]

# Where the files of data, labels and runs are.
PRETRAIN, FINETUNE = DIRECTORIES["pretrain"], DIRECTORIES["finetune"]
DATA = "<results>/data/{data}"
LABELS = "<results>/domains/{domain}/data_{data}"
PRETRAINED = f"<results>/{PRETRAIN}"
FINETUNED = f"<results>/{FINETUNE}"

# What runs: of each data and domain version, and all; `expand` takes what a pattern names.
COMPARED = dict(
    model=STUDY.run.models, protocol=STUDY.run.protocols, seed=STUDY.run.seeds
)
ALL = COMPARED | dict(data=STUDY.run.data, domain=STUDY.run.domains)


wildcard_constraints:
    data=r"\d+",
    model=r"\d+",
    domain=r"\d+",
    seed=r"\d+",
    protocol="|".join(PROTOCOLS),
    figure="[a-z0-9_]+",
    format="svg|png|pdf",


def version(wildcard, section):
    """Return a function that gives the settings of the version that a wildcard names."""

    def settings(wildcards):
        number, versions = wildcards[wildcard], CHECKED[section]
        if number not in versions:
            raise WorkflowError(
                f"{wildcard} {number}: not defined under {section}, "
                f"which has {sorted(map(int, versions))}"
            )
        return versions[number]

    return settings


def pretrain_settings(wildcards):
    return STUDY.training("pretrain", int(wildcards.data), int(wildcards.model))


def finetune_settings(wildcards):
    return STUDY.training(
        "finetune",
        int(wildcards.data),
        int(wildcards.model),
        int(wildcards.domain),
        wildcards.protocol,
    )


def request(what, settings):
    """Return a function that tells what a training asks for: `minutes` or `megabytes`.

    A profile sets the most minutes as `max_runtime` among its default resources.
    """
    limit = (workflow.resource_settings.default_resources or {}).get("max_runtime")

    def ask(wildcards, attempt):
        version("data", "data")(wildcards)  # refuses one that is not defined
        asked = training_request(
            DATA_SETTINGS[wildcards.data],
            version("model", "models")(wildcards),
            settings(wildcards),
            len(STUDY.run.seeds),
            device="cuda" if TRAINING_GPUS else "cpu",
            precision=STUDY.precision,
            attempt=attempt,
            max_minutes=limit and limit.value,
        )
        return asked[what]

    return ask


def rules_config():
    """Return what of the configuration decides which rules a study needs, for `--config`."""
    run = {"protocols": STUDY.run.protocols}
    if not STUDY.run.domains:
        run["domains"] = []
    references = {"reference_curves": STUDY.figures.reference_curves}
    return [f"run={json.dumps(run)}", f"figures={json.dumps(references)}"]


def metrics_and_lost(rule):
    """Return the metrics of runs, and what else is missing of runs that have metrics.

    Whatever was lost, or is new with one more seed, is so made again. To name all files of all runs
    instead would add a fifth to the time that Snakemake takes for thousands of them.
    """
    metrics = expand(rule.output.metrics, **ALL)
    there = list(map(os.path.exists, metrics))
    lost = [
        path
        for output in (rule.output if any(there) else [])
        for path, has_metrics in zip(expand(output, **ALL), there, strict=True)
        if has_metrics and not os.path.exists(path)
    ]
    return metrics + lost


def own_labels_file(wildcards):
    file = version("domain", "domains")(wildcards)["file"]
    return [] if file is None else file


def trajectories(wildcards):
    """Return the tables of all pretraining runs that keep checkpoints along training."""
    kept = [
        run
        for run in STUDY.runs()
        if run["phase"] == "pretrain" and run["checkpoints"] != "none"
    ]
    if not kept:
        raise WorkflowError(
            "trajectories: no run keeps checkpoints; set pretrain.checkpoints"
        )
    return [f"{PRETRAINED}/trajectory.csv".format(**run) for run in kept]


def source(wildcards):
    """Return the wildcards of the pretraining that a finetuning starts from."""
    told = finetune_settings(wildcards)["finetune_from"]
    return dict(
        data=wildcards.data if told is None else told,
        model=wildcards.model,
    )


def pretrained_files(wildcards):
    files = expand(
        f"{PRETRAINED}/seed_{{seed}}/{{file}}",
        seed=STUDY.run.seeds,
        file=["config.json", "model.safetensors"],
        allow_missing=True,
    )
    return expand(files, **source(wildcards))


def pretrained_vocabulary(wildcards):
    return expand(f"{DATA}/vocabulary.json", **source(wildcards))


def starts_pretrained(wildcards):
    return PROTOCOLS[wildcards.protocol].pretrained


def report_category(wildcards):
    """Return where `snakemake --report` shows a file of the bundle."""
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
            DATA_SETTINGS[job.wildcards.data],
            job.params.model,
            job.params.settings,
            len(job.params.seeds),
        )
        for job in workflow.dag.needrun_jobs()
        if "settings" in job.params.keys()
    ]
    if kept := sum(checkpoint_bytes(*training) for training in trainings):
        logger.warning(f"Checkpoints along training take up to {kept / 1e6:,.0f} MB.")
    if not TRAINING_GPUS or not workflow.local_exec:
        return
    seconds = [training_seconds(*training) for training in trainings]
    limits = workflow.global_resources
    slots = limits["gpu"].value if "gpu" in limits else workflow.cores
    if warning := cpu_warning(seconds, min(workflow.cores, slots)):
        logger.warning(warning)
