"""Draw how well each label is told."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.labels import plot_labels
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_labels(
        snakemake.input.labels,
        int(snakemake.wildcards.domain),
        int(snakemake.wildcards.data),
        snakemake.output.page,
        baselines=snakemake.input.baselines,
    )
