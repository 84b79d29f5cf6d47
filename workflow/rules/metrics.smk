rule compute_pretrain_baselines:
    input:
        train="<results>/data/{data}/train.csv",
        valid="<results>/data/{data}/valid.csv",
        vocabulary="<results>/data/{data}/vocabulary.json",
        manifest="<results>/data/{data}/manifest.json",
    output:
        baselines="<results>/data/{data}/baselines.csv",
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
        train="<results>/domains/{domain}/data_{data}/train.csv",
        valid="<results>/domains/{domain}/data_{data}/valid.csv",
    output:
        baselines="<results>/domains/{domain}/data_{data}/baselines.csv",
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


# On a cluster, part of no job: Snakemake looks at a group of jobs anew with each run that one of them
# waits for, which are thousands.
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
    localrule: True
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
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        phase="finetune",
        code=fingerprint("collect_metrics.py"),
    script:
        "../scripts/collect_metrics.py"


# Part of the study if it has a grid.
rule collect_grid:
    input:
        metrics=grid_files(f"{PRETRAINED}/metrics.csv", "pretrain", own=True)
        + grid_files(f"{FINETUNED}/metrics.csv", "finetune", own=True),
    output:
        table="<results>/metrics/grid.csv",
    log:
        "<logs>/metrics/grid.log",
    benchmark:
        "<benchmarks>/metrics/grid.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        values=[
            {"point": run.name or None, **grid_values(run.values)}
            for run in chain.from_iterable(GRID_RUNS.values())
        ],
        code=fingerprint("collect_grid.py"),
    script:
        "../scripts/collect_grid.py"


# The table of the grid, where the study has one.
GRID = rules.collect_grid.output if STUDY.grid.values() else []


rule summarize_metrics:
    input:
        pretrain="<results>/metrics/pretrain.csv",
        finetune="<results>/metrics/finetune.csv",
        baselines=[
            *expand(rules.compute_pretrain_baselines.output, **ALL),
            *expand(rules.compute_finetune_baselines.output, **ALL),
        ],
        grid=GRID,
    output:
        summary="<results>/metrics/summary.csv",
    log:
        "<logs>/metrics/summary.log",
    benchmark:
        "<benchmarks>/metrics/summary.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        own=[
            run.run | grid_values(run.values)
            for run in (STUDY.own_runs() if GRID else [])
        ],
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
