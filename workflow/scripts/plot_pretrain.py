"""Draw the learning curves of all models on one data version."""

from typing import TYPE_CHECKING

from gpt_math_domains.curves import plot_pretrain
from gpt_math_domains.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_pretrain(
        snakemake.input.metrics,
        int(snakemake.wildcards.data),
        snakemake.params.colors,
        overview=snakemake.output.overview,
        accuracy=snakemake.output.accuracy,
        loss=snakemake.output.loss,
        reference=snakemake.input.reference or None,
    )
