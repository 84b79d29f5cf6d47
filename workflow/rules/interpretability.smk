# Looking inside models; asked for by name or as `interpretability`, not part of `all`.
INSIDE = f"{PRETRAINED}/inside"


rule inspect_model:
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
        attention=f"{INSIDE}/attention.csv",
        components=f"{INSIDE}/components.csv",
        spectrum=f"{INSIDE}/spectrum.csv",
        lens=f"{INSIDE}/lens.csv",
    log:
        "<logs>/{point}inspect_model/data_{data}_model_{model}.log",
    benchmark:
        "<benchmarks>/{point}inspect_model/data_{data}_model_{model}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        model=version("model", "models"),
        seeds=SEEDS["pretrain"],
        equations=chosen_equations,
        code=fingerprint("inspect_model.py"),
    script:
        "../scripts/inspect_model.py"


rule probe_pretrained:
    input:
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
        train_labels=of_data(f"{LABELS}/train.csv"),
        valid_labels=of_data(f"{LABELS}/valid.csv"),
        record=f"{PRETRAINED}/run.json",
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
        probes=f"{INSIDE}/probes_{{domain}}.csv",
    log:
        "<logs>/{point}probe_labels/domain_{domain}_data_{data}_model_{model}.log",
    benchmark:
        "<benchmarks>/{point}probe_labels/domain_{domain}_data_{data}_model_{model}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        phase="pretrain",
        model=version("model", "models"),
        seeds=SEEDS["pretrain"],
        code=fingerprint("probe_labels.py"),
    script:
        "../scripts/probe_labels.py"


rule probe_finetuned:
    input:
        train=of_data(f"{DATA}/train.csv"),
        valid=of_data(f"{DATA}/valid.csv"),
        vocabulary=of_data(f"{DATA}/vocabulary.json"),
        manifest=of_data(f"{DATA}/manifest.json"),
        train_labels=of_data(f"{LABELS}/train.csv"),
        valid_labels=of_data(f"{LABELS}/valid.csv"),
        record=f"{FINETUNED}/run.json",
        sizes=expand(
            f"{FINETUNED}/seed_{{seed}}/config.json",
            seed=SEEDS["finetune"],
            allow_missing=True,
        ),
        weights=expand(
            f"{FINETUNED}/seed_{{seed}}/model.safetensors",
            seed=SEEDS["finetune"],
            allow_missing=True,
        ),
    output:
        probes=f"{FINETUNED}/probes.csv",
    log:
        "<logs>/{point}probe_labels/domain_{domain}_data_{data}_model_{model}_{protocol}.log",
    benchmark:
        "<benchmarks>/{point}probe_labels/domain_{domain}_data_{data}_model_{model}_{protocol}.tsv"
    conda:
        f"../../envs/{TRAIN_ENV}.yaml"
    threads: 1
    params:
        phase="finetune",
        model=version("model", "models"),
        seeds=SEEDS["finetune"],
        code=fingerprint("probe_labels.py"),
    script:
        "../scripts/probe_labels.py"


rule plot_attention:
    input:
        attention=expand(f"{INSIDE}/attention.csv", point="", allow_missing=True),
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_model_{{model}}_attention.html",
    log:
        "<logs>/figures/pretrain_{data}_model_{model}_attention.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_model_{model}_attention.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_attention.py"),
    script:
        "../scripts/plot_attention.py"


rule plot_embedding:
    input:
        components=expand(
            f"{INSIDE}/components.csv",
            **COMPARED,
            allow_missing=True,
        ),
        spectrum=expand(
            f"{INSIDE}/spectrum.csv",
            **COMPARED,
            allow_missing=True,
        ),
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_embedding.html",
    log:
        "<logs>/figures/pretrain_{data}_embedding.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_embedding.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_embedding.py"),
    script:
        "../scripts/plot_embedding.py"


rule plot_lens:
    input:
        lens=expand(
            f"{INSIDE}/lens.csv",
            **COMPARED,
            allow_missing=True,
        ),
        baselines=rules.compute_pretrain_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_lens.html",
    log:
        "<logs>/figures/pretrain_{data}_lens.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_lens.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_lens.py"),
    script:
        "../scripts/plot_lens.py"


rule plot_probes:
    input:
        pretrained=expand(
            f"{INSIDE}/probes_{{domain}}.csv",
            **COMPARED,
            allow_missing=True,
        ),
        finetuned=expand(
            f"{FINETUNED}/probes.csv",
            **COMPARED,
            allow_missing=True,
        ),
        plotly_js=ancient(PLOTLY),
    output:
        layers=f"{FINETUNE_PLOT}_probes.html",
        steps=f"{FINETUNE_PLOT}_probe_steps.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_probes.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_probes.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_probes.py"),
    script:
        "../scripts/plot_probes.py"


rule interpretability:
    input:
        expand(rules.plot_attention.output, **ALL),
        expand(rules.plot_embedding.output, **ALL),
        expand(rules.plot_lens.output, **ALL),
        expand(rules.plot_probes.output, **ALL),
    localrule: True
