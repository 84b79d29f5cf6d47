"""Write the page that tells how the study was made."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.pages.made import write_made

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    write_made(
        snakemake.input.records,
        [snakemake.input.graph, snakemake.input.timeline],
        snakemake.params.study,
        snakemake.output.page,
    )
