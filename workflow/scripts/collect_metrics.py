"""Rules collect_pretrain and collect_finetune: the metrics of all runs of a phase in one table."""

from typing import TYPE_CHECKING

from gpt_math_domains.metrics import collect_metrics

if TYPE_CHECKING:
    from snakemake.script import snakemake

collect_metrics(snakemake.input.metrics, snakemake.params.phase, snakemake.output.metrics)
