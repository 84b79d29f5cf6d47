"""Draw how well each family of equations is answered."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.families import plot_families
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_families(
        snakemake.input.families,
        int(snakemake.wildcards.data),
        snakemake.output.page,
        baselines=snakemake.input.baselines,
    )
