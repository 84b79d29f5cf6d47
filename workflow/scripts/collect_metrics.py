"""Write the metrics of all runs of a phase in one table."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.results.metrics import collect_metrics

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    collect_metrics(snakemake.input.metrics, snakemake.params.phase, snakemake.output.metrics)
