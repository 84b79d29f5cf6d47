"""Draw the learning curves of all models on one data version, and of one domain version there."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.curves import plot_curves
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    domain = snakemake.wildcards.get("domain")
    plot_curves(
        snakemake.input.metrics,
        int(snakemake.wildcards.data),
        snakemake.params.colors,
        overview=snakemake.output.overview,
        accuracy=snakemake.output.accuracy,
        loss=snakemake.output.loss,
        domain=None if domain is None else int(domain),
        reference=snakemake.input.reference or None,
        baselines=snakemake.input.baselines,
    )
