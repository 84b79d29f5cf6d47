"""Tell how often each seed of a finetuning tells each label right along training."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.training.judge import judge_label_trajectory

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    judge_label_trajectory(
        {
            "phase": "finetune",
            "data": int(snakemake.wildcards.data),
            "model": int(snakemake.wildcards.model),
            "domain": int(snakemake.wildcards.domain),
            "protocol": snakemake.wildcards.protocol,
        },
        snakemake.params.seeds,
        snakemake.input.record,
        size=snakemake.params.model,
        train=snakemake.input.train,
        valid=snakemake.input.valid,
        vocabulary=snakemake.input.vocabulary,
        manifest=snakemake.input.manifest,
        train_labels=snakemake.input.train_labels,
        valid_labels=snakemake.input.valid_labels,
        labels_manifest=snakemake.input.labels_manifest,
        output=snakemake.output.trajectory,
        threads=snakemake.threads,
    )
