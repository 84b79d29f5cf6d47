"""Draw when the study's jobs ran."""

from typing import TYPE_CHECKING

from gpt_math_domains.logs import job_log
from gpt_math_domains.timeline import plot_timeline

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    plot_timeline(snakemake.params.benchmarks, snakemake.output.page)
