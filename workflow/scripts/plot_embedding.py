"""Draw how the digit symbols lie in the embeddings of pretrained models."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.embedding import plot_embedding
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_embedding(
        snakemake.input.components,
        snakemake.input.spectrum,
        int(snakemake.wildcards.data),
        snakemake.output.page,
    )
