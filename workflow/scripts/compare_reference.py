"""Tell how far the study's own curves are from the reference curves."""

from typing import TYPE_CHECKING

from gpt_math_domains.comparison import compare_reference
from gpt_math_domains.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    compare_reference(
        snakemake.input.pretrain,
        snakemake.input.finetune,
        snakemake.params.references,
        snakemake.output.comparison,
    )
