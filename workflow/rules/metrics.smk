rule collect_pretrain_metrics:
    input:
        metrics=expand(
            "<results>/pretrain/data_{data}/model_{model}/metrics.csv",
            data=STUDY.run.data,
            model=STUDY.run.models,
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
            "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/metrics.csv",
            domain=STUDY.run.domains,
            data=STUDY.run.data,
            model=STUDY.run.models,
            protocol=STUDY.run.protocols,
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
