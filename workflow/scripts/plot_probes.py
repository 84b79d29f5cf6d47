"""Draw how well linear probes read labels from the layers of models."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.probes import plot_probes
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_probes(
        [*snakemake.input.pretrained, *snakemake.input.finetuned],
        int(snakemake.wildcards.domain),
        int(snakemake.wildcards.data),
        layers=snakemake.output.layers,
        steps=snakemake.output.steps,
    )
