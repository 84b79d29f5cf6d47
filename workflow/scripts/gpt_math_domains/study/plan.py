"""What would run, and about how long that takes, in a few lines: `make plan`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.jobs.progress import duration
from gpt_math_domains.run import DIRECTORIES, PROTOCOLS
from gpt_math_domains.study.config import Study
from gpt_math_domains.study.estimate import (
    evaluation_seconds,
    has_cuda,
    job_seconds,
    training_seconds,
    training_threads,
)
from gpt_math_domains.study.grid import GridRun
from gpt_math_domains.study.layers import read_study

_TRAININGS = {f"{phase}_model": phase for phase in DIRECTORIES}
SHOWN = 30  # trainings that a plan tells of one by one


def all_runs(study: Study) -> Iterator[GridRun]:
    """Yield every run of a study, its own before those at points of a grid."""
    yield from study.own_runs()
    yield from (run for run in study.grid_runs() if run.point)


def estimated_seconds(study: Study) -> dict[str, float]:
    """Return what each run takes on a CPU, roughly, by its directory below the results."""
    return {directory: seconds for directory, (seconds, _) in _estimates(study).items()}


def _estimates(study: Study) -> dict[str, tuple[float, int]]:
    """Return the seconds of each run and its threads, likewise."""
    known = {}
    for run in all_runs(study):
        data = DataSettings(**study.version("data", run.run["data"], run.point))
        what = (
            study.version("models", run.run["model"], run.point),
            study.training(**run.run, point=run.point),
            len(study.run.seeds_of(run.run["phase"])),
        )
        threads = training_threads(study.threads, *what)
        directory = DIRECTORIES[run.run["phase"]].format(**run.wildcards)
        protocol = run.run["protocol"]
        seconds = training_seconds(data, *what, threads=threads, protocol=protocol)
        seconds += evaluation_seconds(data, *what, threads=threads)
        known[directory] = seconds, threads
    return known


def describe_plan(
    files: Sequence[str], jobs: Iterable[tuple[str, Mapping[str, str]]], cores: int
) -> Iterator[str]:
    """Yield lines that tell what would run, and how long that takes on a CPU.

    Args:
        files: of the configuration, as after `snakemake --configfile`.
        jobs: the rule and wildcards of each.
        cores: that they share.
    """
    jobs = list(jobs)
    counts = Counter(rule for rule, _ in jobs)
    yield f"{len(jobs)} jobs would run:"
    yield from (f"{count:6}  {rule}" for rule, count in counts.items())
    trainings = {
        DIRECTORIES[_TRAININGS[rule]].format(**wildcards): job_seconds(rule)
        for rule, wildcards in jobs
        if rule in _TRAININGS
    }
    waits_for = {
        DIRECTORIES["finetune"].format(**wildcards): DIRECTORIES["pretrain"].format(**wildcards)
        for rule, wildcards in jobs
        if rule == "finetune_model" and PROTOCOLS[wildcards["protocol"]].pretrained
    }
    others = sum(job_seconds(rule) for rule, _ in jobs if rule not in _TRAININGS)
    study = read_study(files)
    if trainings and (study.device == "cuda" or (study.device == "auto" and has_cuda())):
        yield f"The {len(trainings)} trainings run on GPUs, of which there is no estimate."
        return
    known = _estimates(study)
    runs = {name: (own + known[name][0], known[name][1]) for name, own in trainings.items()}
    if runs:
        yield "Of these, the trainings take about"
    for name in sorted(runs, key=lambda name: -runs[name][0])[:SHOWN]:
        yield f"{_span(runs[name][0]):>14}  {name}"
    if len(runs) > SHOWN:
        yield f"{'less':>14}  each of {len(runs) - SHOWN} more"
    steps = sum((seconds - trainings[name]) * threads for name, (seconds, threads) in runs.items())
    total = steps + sum(trainings.values()) + others
    chains = (
        seconds + (runs[waits_for[name]][0] if waits_for.get(name) in runs else 0)
        for name, (seconds, _) in runs.items()
    )
    wall = max(total / cores, *chains, 0)
    waits = runs and cores > 1 and study.device != "cpu"
    unless = " if they need not wait for each other's GPU slot (`device: cpu`)" if waits else ""
    yield (
        f"All takes about {_span(total)} of one core, of which steps and evaluations take "
        f"{_span(steps)}; on {cores} core{'s' if cores > 1 else ''} about {_span(wall)}{unless}. "
        "Long trainings compile, up to a minute each, on top."
    )


def _span(seconds: float) -> str:
    return duration(seconds) if seconds >= 0.5 else "<1 s"
