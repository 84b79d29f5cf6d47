"""Draw what the models of a data version answer."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.answers import plot_answers
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_answers(
        snakemake.input.answers,
        int(snakemake.wildcards.data),
        operations=snakemake.output.operations,
        operands=snakemake.output.operands,
        baselines=snakemake.input.baselines,
    )
