"""Draw when the study's jobs ran."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.figures.timeline import plot_timeline
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    results = Path(snakemake.output.page).parents[1]
    plot_timeline(results / "benchmarks", snakemake.output.page)
