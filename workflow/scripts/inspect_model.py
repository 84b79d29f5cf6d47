"""Tell what is inside each seed of a pretrained model."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.training.inside import inspect_model

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    inspect_model(
        int(snakemake.wildcards.data),
        int(snakemake.wildcards.model),
        snakemake.params.seeds,
        [Path(file).parent for file in snakemake.input.weights],
        snakemake.params.model,
        snakemake.params.equations,
        train=snakemake.input.train,
        valid=snakemake.input.valid,
        vocabulary=snakemake.input.vocabulary,
        manifest=snakemake.input.manifest,
        attention=snakemake.output.attention,
        components=snakemake.output.components,
        spectrum=snakemake.output.spectrum,
        lens=snakemake.output.lens,
        threads=snakemake.threads,
    )
