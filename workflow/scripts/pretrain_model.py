"""Pretrain all seeds of one model on one data version."""

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
    from gpt_math_domains.training.runs import Job, checkpoint_directories, pretrain_model

    pretrain_model(
        Job(
            run={
                "phase": "pretrain",
                "data": int(snakemake.wildcards.data),
                "model": int(snakemake.wildcards.model),
                "domain": None,
                "protocol": None,
            },
            model=snakemake.params.model,
            settings=snakemake.params.settings,
            seeds=snakemake.params.seeds,
            pretrain_seeds=[],
            device=snakemake.params.device,
            precision=snakemake.params.precision,
            execution=snakemake.params.execution,
            threads=snakemake.params.threads,
            metrics_csv=snakemake.output.metrics,
            parts_csv=snakemake.output.families,
            record=Record(snakemake.output.record, snakemake.input, snakemake.params.code),
            checkpoints=checkpoint_directories(snakemake.output.checkpoints),
            log=log,
            point=snakemake.wildcards.point,
        ),
        train_csv=snakemake.input.train,
        valid_csv=snakemake.input.valid,
        vocabulary_json=snakemake.input.vocabulary,
        manifest_json=snakemake.input.manifest,
    )
