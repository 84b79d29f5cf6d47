"""Draw how many steps finetuning needs."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.transfer import plot_transfer
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_transfer(
        snakemake.input.metrics,
        int(snakemake.wildcards.domain),
        int(snakemake.wildcards.data),
        snakemake.params.colors,
        snakemake.output.page,
    )
