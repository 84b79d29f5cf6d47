rule finetune_model:
    input:
        checked_finetuning,
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
        train_labels=of_data(f"{LABELS}/train.csv"),
        valid_labels=of_data(f"{LABELS}/valid.csv"),
        labels_manifest=of_data(f"{LABELS}/manifest.json"),
        pretrained=branch(starts_pretrained, then=pretrained_files),
        pretrained_vocabulary=branch(starts_pretrained, then=pretrained_vocabulary),
    output:
        metrics=f"{FINETUNED}/metrics.csv",
        labels=f"{FINETUNED}/labels.csv",
        record=f"{FINETUNED}/run.json",
        checkpoints=expand(
            f"{FINETUNED}/seed_{{seed}}/{{file}}",
            seed=SEEDS["finetune"],
            file=CHECKPOINT,
            allow_missing=True,
        ),
    log:
        f"<logs>/{FINETUNE}.log",
    benchmark:
        f"<benchmarks>/{FINETUNE}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: threads_of("finetune", finetune_settings)
    resources:
        gpu=TRAINING_GPUS,
        runtime=request("minutes", "finetune", finetune_settings),
        mem_mb=request("megabytes", "finetune", finetune_settings),
        gpu_slots=STUDY.gpu_slots,
    params:
        model=version("model", "models"),
        settings=finetune_settings,
        seeds=SEEDS["finetune"],
        pretrain_seeds=pretrain_seeds,
        device=STUDY.device,
        threads=threads_of("finetune", finetune_settings),
        precision=STUDY.precision,
        execution=STUDY.execution,
        code=fingerprint("finetune_model.py"),
    script:
        "../scripts/finetune_model.py"


# Asked for by name or as `trajectories`: of runs that keep checkpoints along training.
rule judge_label_trajectory:
    input:
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
        train_labels=of_data(f"{LABELS}/train.csv"),
        valid_labels=of_data(f"{LABELS}/valid.csv"),
        labels_manifest=of_data(f"{LABELS}/manifest.json"),
        record=f"{FINETUNED}/run.json",
    output:
        trajectory=f"{FINETUNED}/trajectory.csv",
    log:
        f"<logs>/{FINETUNE}_trajectory.log",
    benchmark:
        f"<benchmarks>/{FINETUNE}_trajectory.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        model=version("model", "models"),
        seeds=SEEDS["finetune"],
        code=fingerprint("judge_label_trajectory.py"),
    script:
        "../scripts/judge_label_trajectory.py"
