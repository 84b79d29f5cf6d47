"""Tell what each seed of a pretraining gets right at its checkpoints along training."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.training.judge import judge_trajectory

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    judge_trajectory(
        int(snakemake.wildcards.data),
        int(snakemake.wildcards.model),
        snakemake.params.seeds,
        snakemake.input.record,
        size=snakemake.params.model,
        train=snakemake.input.train,
        valid=snakemake.input.valid,
        vocabulary=snakemake.input.vocabulary,
        manifest=snakemake.input.manifest,
        output=snakemake.output.trajectory,
        threads=snakemake.threads,
    )
