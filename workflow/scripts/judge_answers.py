"""Tell which equations each seed of a pretrained model gets right."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.training.judge import judge_answers

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    judge_answers(
        int(snakemake.wildcards.data),
        int(snakemake.wildcards.model),
        snakemake.params.seeds,
        [Path(file).parent for file in snakemake.input.weights],
        size=snakemake.params.model,
        train=snakemake.input.train,
        valid=snakemake.input.valid,
        vocabulary=snakemake.input.vocabulary,
        manifest=snakemake.input.manifest,
        output=snakemake.output.answers,
        threads=snakemake.threads,
    )
