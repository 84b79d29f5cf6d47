"""Finetune all seeds of one model to tell the labels of one domain version."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.caches import private_caches
from gpt_math_domains.jobs.cores import keep_to_cores
from gpt_math_domains.jobs.gpus import leased_gpu
from gpt_math_domains.jobs.logs import job_log, notes
from gpt_math_domains.jobs.record import Record

if TYPE_CHECKING:
    from snakemake.script import snakemake

with (
    job_log(snakemake.log[0]) as log,
    private_caches(notes(log)),
    leased_gpu(snakemake.params.device, snakemake.resources.gpu_slots, log),
):
    keep_to_cores(snakemake.threads, snakemake.params.threads, notes(log))
    # Brings torch, which shall see no other GPU, caches and cores.
    from gpt_math_domains.training.runs import Job, checkpoint_directories, finetune_model

    finetune_model(
        Job(
            run={
                "phase": "finetune",
                "data": int(snakemake.wildcards.data),
                "model": int(snakemake.wildcards.model),
                "domain": int(snakemake.wildcards.domain),
                "protocol": snakemake.wildcards.protocol,
            },
            model=snakemake.params.model,
            settings=snakemake.params.settings,
            seeds=snakemake.params.seeds,
            pretrain_seeds=snakemake.params.pretrain_seeds,
            device=snakemake.params.device,
            precision=snakemake.params.precision,
            execution=snakemake.params.execution,
            threads=snakemake.params.threads,
            metrics_csv=snakemake.output.metrics,
            parts_csv=snakemake.output.labels,
            record=Record(snakemake.output.record, snakemake.input, snakemake.params.code),
            checkpoints=checkpoint_directories(snakemake.output.checkpoints),
            log=log,
            point=snakemake.wildcards.point,
        ),
        train_csv=snakemake.input.train,
        valid_csv=snakemake.input.valid,
        vocabulary_json=snakemake.input.vocabulary,
        manifest_json=snakemake.input.manifest,
        train_labels_csv=snakemake.input.train_labels,
        valid_labels_csv=snakemake.input.valid_labels,
        labels_manifest_json=snakemake.input.labels_manifest,
        pretrained=checkpoint_directories(snakemake.input.pretrained),
        pretrained_vocabulary=snakemake.input.pretrained_vocabulary,
    )
