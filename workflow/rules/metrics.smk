rule compute_pretrain_baselines:
    input:
        train=f"{DATA}/train.csv",
        valid=f"{DATA}/valid.csv",
        vocabulary=f"{DATA}/vocabulary.json",
        manifest=f"{DATA}/manifest.json",
    output:
        baselines=f"{DATA}/baselines.csv",
    log:
        "<logs>/metrics/baselines_data_{data}.log",
    benchmark:
        "<benchmarks>/metrics/baselines_data_{data}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("compute_baselines.py"),
    script:
        "../scripts/compute_baselines.py"


rule compute_finetune_baselines:
    input:
        train=f"{LABELS}/train.csv",
        valid=f"{LABELS}/valid.csv",
    output:
        baselines=f"{LABELS}/baselines.csv",
    log:
        "<logs>/metrics/baselines_domain_{domain}_data_{data}.log",
    benchmark:
        "<benchmarks>/metrics/baselines_domain_{domain}_data_{data}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("compute_baselines.py"),
    script:
        "../scripts/compute_baselines.py"


rule collect_pretrain_metrics:
    input:
        metrics=expand(
            f"{PRETRAINED}/metrics.csv",
            **ALL,
        ),
    output:
        metrics="<results>/metrics/pretrain.csv",
    log:
        "<logs>/metrics/pretrain.log",
    benchmark:
        "<benchmarks>/metrics/pretrain.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        phase="pretrain",
        code=fingerprint("collect_metrics.py"),
    script:
        "../scripts/collect_metrics.py"


rule collect_finetune_metrics:
    input:
        metrics=expand(
            f"{FINETUNED}/metrics.csv",
            **ALL,
        ),
    output:
        metrics="<results>/metrics/finetune.csv",
    log:
        "<logs>/metrics/finetune.log",
    benchmark:
        "<benchmarks>/metrics/finetune.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        phase="finetune",
        code=fingerprint("collect_metrics.py"),
    script:
        "../scripts/collect_metrics.py"


rule summarize_metrics:
    input:
        pretrain="<results>/metrics/pretrain.csv",
        finetune="<results>/metrics/finetune.csv",
        baselines=[
            *expand(rules.compute_pretrain_baselines.output, **ALL),
            *expand(rules.compute_finetune_baselines.output, **ALL),
        ],
    output:
        summary="<results>/metrics/summary.csv",
    log:
        "<logs>/metrics/summary.log",
    benchmark:
        "<benchmarks>/metrics/summary.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("summarize_metrics.py"),
    script:
        "../scripts/summarize_metrics.py"


# Part of the study if figures.reference_curves names any.
rule compare_reference:
    input:
        pretrain="<results>/metrics/pretrain.csv",
        finetune="<results>/metrics/finetune.csv",
        references=STUDY.figures.reference_curves.values(),
    output:
        comparison="<results>/metrics/reference.csv",
    log:
        "<logs>/metrics/reference.log",
    benchmark:
        "<benchmarks>/metrics/reference.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        references=STUDY.figures.reference_curves,
        code=fingerprint("compare_reference.py"),
    script:
        "../scripts/compare_reference.py"


# The table of reference curves, where the study has any.
COMPARISON = rules.compare_reference.output if STUDY.figures.reference_curves else []
