"""Draw the accuracy that a phase's runs get for their cost."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.scale import plot_scale
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_scale(
        snakemake.input.summary,
        snakemake.input.manifests,
        snakemake.params.phase,
        snakemake.params.study,
        snakemake.output.page,
        domain=int(snakemake.wildcards.domain) if snakemake.params.phase == "finetune" else None,
    )
