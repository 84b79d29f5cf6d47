"""Write the plotly.js that all pages share."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.library import copy_plotly
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    copy_plotly(snakemake.output.plotly_js)
