"""Draw which rules use whose files."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.rules import plot_rules
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_rules(snakemake.input.graph, snakemake.output.page)
