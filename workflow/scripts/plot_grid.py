"""Draw what came out of the grid on one data version, and of one domain version there."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.grid import plot_grid
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    domain = snakemake.wildcards.get("domain")
    plot_grid(
        snakemake.input.grid,
        int(snakemake.wildcards.data),
        snakemake.params.colors,
        snakemake.output.page,
        baselines=snakemake.input.baselines,
        domain=None if domain is None else int(domain),
    )
