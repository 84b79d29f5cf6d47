"""Ask Snakemake which rules use whose files."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.results.rules import trace_rules

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    trace_rules(snakemake.params.config, snakemake.output.graph)
