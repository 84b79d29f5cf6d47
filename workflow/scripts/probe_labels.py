"""Tell how well linear probes read labels from the layers of a run's models."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.training.probes import probe_labels

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    probe_labels(
        {
            "phase": snakemake.params.phase,
            "data": int(snakemake.wildcards.data),
            "model": int(snakemake.wildcards.model),
            "domain": int(snakemake.wildcards.domain),
            "protocol": snakemake.wildcards.get("protocol"),
        },
        snakemake.params.seeds,
        [Path(file).parent for file in snakemake.input.weights],
        snakemake.params.model,
        snakemake.input.record,
        train=snakemake.input.train,
        valid=snakemake.input.valid,
        vocabulary=snakemake.input.vocabulary,
        manifest=snakemake.input.manifest,
        train_labels=snakemake.input.train_labels,
        valid_labels=snakemake.input.valid_labels,
        output=snakemake.output.probes,
        threads=snakemake.threads,
    )
