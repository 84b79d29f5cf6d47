rule pretrain_model:
    input:
        checked_pretraining,
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
    output:
        metrics=f"{PRETRAINED}/metrics.csv",
        families=f"{PRETRAINED}/families.csv",
        record=f"{PRETRAINED}/run.json",
        checkpoints=expand(
            f"{PRETRAINED}/seed_{{seed}}/{{file}}",
            seed=SEEDS["pretrain"],
            file=[*CHECKPOINT, GENERATION_CONFIG],
            allow_missing=True,
        ),
    log:
        f"<logs>/{PRETRAIN}.log",
    benchmark:
        f"<benchmarks>/{PRETRAIN}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: threads_of("pretrain", pretrain_settings)
    resources:
        gpu=TRAINING_GPUS,
        runtime=request("minutes", "pretrain", pretrain_settings),
        mem_mb=request("megabytes", "pretrain", pretrain_settings),
        gpu_slots=STUDY.gpu_slots,
    params:
        model=version("model", "models"),
        settings=pretrain_settings,
        seeds=SEEDS["pretrain"],
        device=STUDY.device,
        threads=threads_of("pretrain", pretrain_settings),
        precision=STUDY.precision,
        execution=STUDY.execution,
        code=fingerprint("pretrain_model.py"),
    script:
        "../scripts/pretrain_model.py"


rule judge_answers:
    input:
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
        sizes=expand(
            f"{PRETRAINED}/seed_{{seed}}/config.json",
            seed=SEEDS["pretrain"],
            allow_missing=True,
        ),
        weights=expand(
            f"{PRETRAINED}/seed_{{seed}}/model.safetensors",
            seed=SEEDS["pretrain"],
            allow_missing=True,
        ),
    output:
        answers=f"{PRETRAINED}/answers.csv",
    log:
        "<logs>/{point}judge_answers/data_{data}_model_{model}.log",
    benchmark:
        "<benchmarks>/{point}judge_answers/data_{data}_model_{model}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        model=version("model", "models"),
        seeds=SEEDS["pretrain"],
        code=fingerprint("judge_answers.py"),
    script:
        "../scripts/judge_answers.py"


# Asked for by name or as `trajectories`: of runs that keep checkpoints along training.
rule judge_trajectory:
    input:
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
        record=f"{PRETRAINED}/run.json",
    output:
        trajectory=f"{PRETRAINED}/trajectory.csv",
    log:
        "<logs>/{point}judge_trajectory/data_{data}_model_{model}.log",
    benchmark:
        "<benchmarks>/{point}judge_trajectory/data_{data}_model_{model}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        model=version("model", "models"),
        seeds=SEEDS["pretrain"],
        code=fingerprint("judge_trajectory.py"),
    script:
        "../scripts/judge_trajectory.py"


rule trajectories:
    input:
        trajectories,
    localrule: True
