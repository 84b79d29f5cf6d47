"""Write what came out of all runs of the grid in one table."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.results.grid import collect_grid

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    collect_grid(snakemake.input.metrics, snakemake.params.values, snakemake.output.table)
