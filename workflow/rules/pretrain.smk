rule pretrain_model:
    input:
        train="<results>/data/{data}/train.csv",
        valid="<results>/data/{data}/valid.csv",
        vocabulary="<results>/data/{data}/vocabulary.json",
        manifest="<results>/data/{data}/manifest.json",
    output:
        metrics="<results>/pretrain/data_{data}/model_{model}/metrics.csv",
        record="<results>/pretrain/data_{data}/model_{model}/run.json",
        checkpoints=expand(
            "<results>/pretrain/data_{data}/model_{model}/seed_{seed}/{file}",
            seed=STUDY.run.seeds,
            file=CHECKPOINT,
            allow_missing=True,
        ),
    log:
        "<logs>/pretrain/data_{data}/model_{model}.log",
    benchmark:
        "<benchmarks>/pretrain/data_{data}/model_{model}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    resources:
        gpu=TRAINING_GPUS,
        runtime=request("minutes", pretrain_settings),
        mem_mb=request("megabytes", pretrain_settings),
        gpu_slots=STUDY.gpu_slots,
    params:
        model=version("model", "models"),
        settings=pretrain_settings,
        seeds=STUDY.run.seeds,
        device=STUDY.device,
        precision=STUDY.precision,
        execution=STUDY.execution,
        code=fingerprint("pretrain_model.py"),
    script:
        "../scripts/pretrain_model.py"


rule judge_answers:
    input:
        train="<results>/data/{data}/train.csv",
        valid="<results>/data/{data}/valid.csv",
        vocabulary="<results>/data/{data}/vocabulary.json",
        manifest="<results>/data/{data}/manifest.json",
        sizes=expand(
            "<results>/pretrain/data_{data}/model_{model}/seed_{seed}/config.json",
            seed=STUDY.run.seeds,
            allow_missing=True,
        ),
        weights=expand(
            "<results>/pretrain/data_{data}/model_{model}/seed_{seed}/model.safetensors",
            seed=STUDY.run.seeds,
            allow_missing=True,
        ),
    output:
        answers="<results>/pretrain/data_{data}/model_{model}/answers.csv",
    log:
        "<logs>/judge_answers/data_{data}_model_{model}.log",
    benchmark:
        "<benchmarks>/judge_answers/data_{data}_model_{model}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        seeds=STUDY.run.seeds,
        code=fingerprint("judge_answers.py"),
    script:
        "../scripts/judge_answers.py"
