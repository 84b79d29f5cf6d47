rule finetune_model:
    input:
        train="<results>/data/{data}/train.csv",
        valid="<results>/data/{data}/valid.csv",
        vocabulary="<results>/data/{data}/vocabulary.json",
        manifest="<results>/data/{data}/manifest.json",
        train_labels="<results>/domains/{domain}/data_{data}/train.csv",
        valid_labels="<results>/domains/{domain}/data_{data}/valid.csv",
        pretrained=branch(
            starts_pretrained,
            then=expand(
                "<results>/pretrain/data_{data}/model_{model}/seed_{seed}/{file}",
                seed=STUDY.run.seeds,
                file=["config.json", "model.safetensors"],
                allow_missing=True,
            ),
        ),
    output:
        metrics="<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/metrics.csv",
        labels="<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/labels.csv",
        record="<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/run.json",
        checkpoints=expand(
            "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/seed_{seed}/{file}",
            seed=STUDY.run.seeds,
            file=CHECKPOINT,
            allow_missing=True,
        ),
    log:
        "<logs>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}.log",
    benchmark:
        "<benchmarks>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    resources:
        gpu=TRAINING_GPUS,
        runtime=request("minutes", finetune_settings),
        mem_mb=request("megabytes", finetune_settings),
        gpu_slots=STUDY.gpu_slots,
    params:
        model=version("model", "models"),
        settings=finetune_settings,
        seeds=STUDY.run.seeds,
        device=STUDY.device,
        precision=STUDY.precision,
        execution=STUDY.execution,
        code=fingerprint("finetune_model.py"),
    script:
        "../scripts/finetune_model.py"
