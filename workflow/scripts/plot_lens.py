"""Draw what each layer of pretrained models answers."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.lens import plot_lens
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_lens(
        snakemake.input.lens,
        int(snakemake.wildcards.data),
        snakemake.output.page,
        baselines=snakemake.input.baselines,
    )
