"""Draw the learning curves of all models on one domain and data version."""

from typing import TYPE_CHECKING

from gpt_math_domains.curves import plot_finetune
from gpt_math_domains.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_finetune(
        snakemake.input.metrics,
        int(snakemake.wildcards.domain),
        int(snakemake.wildcards.data),
        snakemake.params.colors,
        overview=snakemake.output.overview,
        accuracy=snakemake.output.accuracy,
        loss=snakemake.output.loss,
        reference=snakemake.input.reference or None,
    )
