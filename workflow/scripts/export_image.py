"""Write a page's figure as an image."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures.images import export_image
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    export_image(snakemake.input.page, snakemake.output.image)
