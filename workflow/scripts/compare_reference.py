"""Tell how far the study's own curves are from the reference curves."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.results.reference import compare_reference

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    compare_reference(
        snakemake.input.pretrain,
        snakemake.input.finetune,
        snakemake.params.references,
        snakemake.output.comparison,
    )
