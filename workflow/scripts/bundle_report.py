"""Put what Snakemake's report shows into one directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.pages.bundle import bundle_report

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    bundle_report(
        snakemake.input,
        Path(snakemake.input.page).parent,
        snakemake.params.config,
        snakemake.output.bundle,
    )
