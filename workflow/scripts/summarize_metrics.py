"""Write one row for each run of the study."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.results.summary import summarize_metrics

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    summarize_metrics(
        snakemake.input.pretrain,
        snakemake.input.finetune,
        snakemake.input.baselines,
        snakemake.output.summary,
        next(iter(snakemake.input.grid), None),
        snakemake.params.own,
    )
