"""Draw where the heads of a pretrained model look."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.attention import plot_attention
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_attention(
        snakemake.input.attention,
        int(snakemake.wildcards.data),
        int(snakemake.wildcards.model),
        snakemake.output.page,
    )
