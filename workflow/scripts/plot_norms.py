"""Draw the norms of gradient and weights on one data version, and of one domain version there."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.norms import plot_norms
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    domain = snakemake.wildcards.get("domain")
    plot_norms(
        snakemake.input.metrics,
        int(snakemake.wildcards.data),
        snakemake.params.colors,
        snakemake.output.page,
        domain=None if domain is None else int(domain),
    )
