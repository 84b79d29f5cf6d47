"""Rule summarize_metrics: one row for each run of the study."""

from typing import TYPE_CHECKING

from gpt_math_domains.metrics import summarize_metrics

if TYPE_CHECKING:
    from snakemake.script import snakemake

summarize_metrics(snakemake.input.pretrain, snakemake.input.finetune, snakemake.output.summary)
