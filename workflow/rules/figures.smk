# What all pages share, and where those of learning curves and the figures beside them are.
PLOTLY = "<results>/plots/plotly.min.js"
PRETRAIN_PLOT = "<results>/plots/pretrain_{data}"
FINETUNE_PLOT = "<results>/plots/finetune_{domain}_pretrain_{data}"


rule copy_plotly:
    output:
        plotly_js=PLOTLY,
    log:
        "<logs>/figures/plotly.log",
    benchmark:
        "<benchmarks>/figures/plotly.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("copy_plotly.py"),
    script:
        "../scripts/copy_plotly.py"


rule plot_pretrain_curves:
    input:
        metrics=expand(
            f"{PRETRAINED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        seeds=expand(  # with one more seed, its file is missing and the figure stale
            f"{PRETRAINED}/seed_{{seed}}/config.json",
            **COMPARED,
            seed=SEEDS["pretrain"],
            allow_missing=True,
        ),
        reference=lookup(
            dpath="pretrain_{data}",
            within=STUDY.figures.reference_curves,
            default=[],
        ),
        baselines=rules.compute_pretrain_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        overview=f"{PRETRAIN_PLOT}.html",
        accuracy=f"{PRETRAIN_PLOT}_eval_math_acc.html",
        loss=f"{PRETRAIN_PLOT}_eval_loss.html",
    log:
        "<logs>/figures/pretrain_{data}.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("pretrain"),
        code=fingerprint("plot_curves.py"),
    script:
        "../scripts/plot_curves.py"


rule plot_finetune_curves:
    input:
        metrics=expand(
            f"{FINETUNED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        seeds=expand(
            f"{FINETUNED}/seed_{{seed}}/config.json",
            **COMPARED,
            seed=SEEDS["finetune"],
            allow_missing=True,
        ),
        reference=lookup(
            dpath="finetune_{domain}_pretrain_{data}",
            within=STUDY.figures.reference_curves,
            default=[],
        ),
        baselines=rules.compute_finetune_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        overview=f"{FINETUNE_PLOT}.html",
        accuracy=f"{FINETUNE_PLOT}_eval_domain_acc.html",
        loss=f"{FINETUNE_PLOT}_eval_loss.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("finetune"),
        code=fingerprint("plot_curves.py"),
    script:
        "../scripts/plot_curves.py"


rule plot_pretrain_generalization:
    input:
        metrics=expand(
            f"{PRETRAINED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        baselines=rules.compute_pretrain_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_generalization.html",
    log:
        "<logs>/figures/pretrain_{data}_generalization.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_generalization.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("pretrain"),
        code=fingerprint("plot_generalization.py"),
    script:
        "../scripts/plot_generalization.py"


rule plot_finetune_generalization:
    input:
        metrics=expand(
            f"{FINETUNED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        baselines=rules.compute_finetune_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{FINETUNE_PLOT}_generalization.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_generalization.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_generalization.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("finetune"),
        code=fingerprint("plot_generalization.py"),
    script:
        "../scripts/plot_generalization.py"


rule plot_answers:
    input:
        answers=expand(
            f"{PRETRAINED}/answers.csv",
            **COMPARED,
            allow_missing=True,
        ),
        baselines=rules.compute_pretrain_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        operations=f"{PRETRAIN_PLOT}_operations.html",
        operands=f"{PRETRAIN_PLOT}_operands.html",
    log:
        "<logs>/figures/pretrain_{data}_answers.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_answers.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_answers.py"),
    script:
        "../scripts/plot_answers.py"


rule plot_families:
    input:
        families=expand(
            f"{PRETRAINED}/families.csv",
            **COMPARED,
            allow_missing=True,
        ),
        baselines=rules.compute_pretrain_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_families.html",
    log:
        "<logs>/figures/pretrain_{data}_families.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_families.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_families.py"),
    script:
        "../scripts/plot_families.py"


rule plot_labels:
    input:
        labels=expand(
            f"{FINETUNED}/labels.csv",
            **COMPARED,
            allow_missing=True,
        ),
        baselines=rules.compute_finetune_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{FINETUNE_PLOT}_labels.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_labels.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_labels.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_labels.py"),
    script:
        "../scripts/plot_labels.py"


rule plot_pretrain_norms:
    input:
        metrics=expand(
            f"{PRETRAINED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_norms.html",
    log:
        "<logs>/figures/pretrain_{data}_norms.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_norms.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("pretrain"),
        code=fingerprint("plot_norms.py"),
    script:
        "../scripts/plot_norms.py"


rule plot_finetune_norms:
    input:
        metrics=expand(
            f"{FINETUNED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{FINETUNE_PLOT}_norms.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_norms.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_norms.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("finetune"),
        code=fingerprint("plot_norms.py"),
    script:
        "../scripts/plot_norms.py"


rule plot_transfer:
    input:
        metrics=expand(
            f"{FINETUNED}/metrics.csv",
            **COMPARED,
            allow_missing=True,
        ),
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{FINETUNE_PLOT}_transfer.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_transfer.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_transfer.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("finetune"),
        code=fingerprint("plot_transfer.py"),
    script:
        "../scripts/plot_transfer.py"


rule plot_pretrain_scale:
    input:
        summary="<results>/metrics/summary.csv",
        manifests=expand(f"{DATA}/manifest.json", **ALL),
        plotly_js=ancient(PLOTLY),
    output:
        page="<results>/plots/pretrain_scale.html",
    log:
        "<logs>/figures/pretrain_scale.log",
    benchmark:
        "<benchmarks>/figures/pretrain_scale.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        phase="pretrain",
        study=STUDY.costs("pretrain"),
        code=fingerprint("plot_scale.py"),
    script:
        "../scripts/plot_scale.py"


rule plot_finetune_scale:
    input:
        summary="<results>/metrics/summary.csv",
        manifests=expand(f"{DATA}/manifest.json", **ALL),
        plotly_js=ancient(PLOTLY),
    output:
        page="<results>/plots/finetune_{domain}_scale.html",
    log:
        "<logs>/figures/finetune_{domain}_scale.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_scale.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        phase="finetune",
        study=finetune_costs,
        code=fingerprint("plot_scale.py"),
    script:
        "../scripts/plot_scale.py"


rule plot_pretrain_grid:
    input:
        grid="<results>/metrics/grid.csv",
        baselines=rules.compute_pretrain_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{PRETRAIN_PLOT}_grid.html",
    log:
        "<logs>/figures/pretrain_{data}_grid.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}_grid.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("pretrain"),
        code=fingerprint("plot_grid.py"),
    script:
        "../scripts/plot_grid.py"


rule plot_finetune_grid:
    input:
        grid="<results>/metrics/grid.csv",
        baselines=rules.compute_finetune_baselines.output.baselines,
        plotly_js=ancient(PLOTLY),
    output:
        page=f"{FINETUNE_PLOT}_grid.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_grid.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_grid.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.line_colors("finetune"),
        code=fingerprint("plot_grid.py"),
    script:
        "../scripts/plot_grid.py"


# Asks Snakemake, so it has no environment but Snakemake's own.
rule trace_rules:
    output:
        graph="<results>/rules.mmd",
    log:
        "<logs>/figures/trace_rules.log",
    benchmark:
        "<benchmarks>/figures/trace_rules.tsv"
    localrule: True
    params:
        config=rules_config(),
        rules=rules_fingerprint(),
        code=fingerprint("trace_rules.py"),
    script:
        "../scripts/trace_rules.py"


rule plot_rules:
    input:
        graph="<results>/rules.mmd",
        plotly_js=ancient(PLOTLY),
    output:
        page="<results>/plots/rules.html",
    log:
        "<logs>/figures/rules.log",
    benchmark:
        "<benchmarks>/figures/rules.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_rules.py"),
    script:
        "../scripts/plot_rules.py"


# The figures that the page shows, by its sections.
SECTIONS = {
    "pretrain": expand(rules.plot_pretrain_curves.output.accuracy, **ALL),
    "pretrain_generalization": expand(rules.plot_pretrain_generalization.output, **ALL),
    "operations": expand(rules.plot_answers.output.operations, **ALL),
    "operands": expand(rules.plot_answers.output.operands, **ALL),
    "families": expand(rules.plot_families.output, **ALL),
    "pretrain_norms": expand(rules.plot_pretrain_norms.output, **ALL),
    "finetune": expand(rules.plot_finetune_curves.output.accuracy, **ALL),
    "finetune_generalization": expand(rules.plot_finetune_generalization.output, **ALL),
    "labels": expand(rules.plot_labels.output, **ALL),
    "finetune_norms": expand(rules.plot_finetune_norms.output, **ALL),
    "transfer": expand(rules.plot_transfer.output, **ALL),
    "scale": [
        *expand(rules.plot_pretrain_scale.output, **ALL),
        *expand(rules.plot_finetune_scale.output, **ALL),
    ],
    "grid": [
        *(expand(rules.plot_pretrain_grid.output, **ALL) if varies("pretrain") else []),
        *(expand(rules.plot_finetune_grid.output, **ALL) if varies("finetune") else []),
    ],
}
# Figures with a page of their own: these, and those that the page links to.
PAGES = [
    *chain.from_iterable(SECTIONS.values()),
    *rules.plot_rules.output,
    *expand(rules.plot_pretrain_curves.output.overview, **ALL),
    *expand(rules.plot_pretrain_curves.output.loss, **ALL),
    *expand(rules.plot_finetune_curves.output.overview, **ALL),
    *expand(rules.plot_finetune_curves.output.loss, **ALL),
]


# What each run was made with.
RECORDS = expand(
    [rules.pretrain_model.output.record, rules.finetune_model.output.record],
    **ALL,
)
RECORDS += grid_files(rules.pretrain_model.output.record, "pretrain")
RECORDS += grid_files(rules.finetune_model.output.record, "finetune")


rule write_index:
    input:
        **{f"{section}_figures": pages for section, pages in SECTIONS.items()},
        pretrain="<results>/metrics/pretrain.csv",
        finetune="<results>/metrics/finetune.csv",
        summary="<results>/metrics/summary.csv",
        manifests=expand(f"{DATA}/manifest.json", **ALL),
        records=RECORDS,
        equations=expand(
            "<results>/data/{data}/train.csv", data=STUDY.data_of_each_kind()
        ),
        labels=expand(
            "<results>/domains/{domain}/data_{data}/train.csv",
            data=STUDY.data_of_each_kind(),
            domain=STUDY.run.domains[:1],
        ),
        comparison=COMPARISON,
        plotly_js=ancient(PLOTLY),
    output:
        page="<results>/index.html",
    log:
        "<logs>/figures/index.log",
    benchmark:
        "<benchmarks>/figures/index.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        study=STUDY.tables(),
        code=fingerprint("write_index.py"),
    script:
        "../scripts/write_index.py"


# The last figure: it shows what ran before it.
rule plot_timeline:
    input:
        PAGES,
        index="<results>/index.html",
        plotly_js=ancient(PLOTLY),
    output:
        page="<results>/plots/timeline.html",
    log:
        "<logs>/figures/timeline.log",
    conda:
        "../../envs/figures.yaml"
    params:
        code=fingerprint("plot_timeline.py"),
    script:
        "../scripts/plot_timeline.py"


# By name: where one input is a rule's output, Snakemake hashes the list of records for each record.
rule write_made:
    input:
        graph="<results>/plots/rules.html",
        timeline="<results>/plots/timeline.html",
        records=RECORDS,
        plotly_js=ancient(PLOTLY),
    output:
        page="<results>/made.html",
    log:
        "<logs>/figures/made.log",
    benchmark:
        "<benchmarks>/figures/made.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        study=STUDY.tables(),
        code=fingerprint("write_made.py"),
    script:
        "../scripts/write_made.py"


rule export_image:
    input:
        page="<results>/plots/{figure}.html",
    output:
        image="<results>/images/{figure}.{format}",
    log:
        "<logs>/images/{figure}_{format}.log",
    benchmark:
        "<benchmarks>/images/{figure}_{format}.tsv"
    conda:
        "../../envs/images.yaml"
    params:
        code=fingerprint("export_image.py"),
    script:
        "../scripts/export_image.py"


rule images:
    input:
        [f"<results>/images/{Path(page).stem}.svg" for page in PAGES],
    localrule: True
