rule copy_plotly:
    output:
        plotly_js="<results>/plots/plotly.min.js",
    log:
        "<logs>/figures/plotly.log",
    benchmark:
        "<benchmarks>/figures/plotly.tsv"
    conda:
        "../../envs/figures.yaml"
    script:
        "../scripts/copy_plotly.py"


rule plot_pretrain:
    input:
        metrics=expand(
            "<results>/pretrain/data_{data}/model_{model}/metrics.csv",
            model=STUDY.run.models,
            allow_missing=True,
        ),
        seeds=expand(  # with one more seed, its file is missing and the figure stale
            "<results>/pretrain/data_{data}/model_{model}/seed_{seed}/config.json",
            model=STUDY.run.models,
            seed=STUDY.run.seeds,
            allow_missing=True,
        ),
        reference=lookup(
            dpath="pretrain_{data}",
            within=STUDY.figures.reference_curves,
            default=[],
        ),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
    output:
        overview="<results>/plots/pretrain_{data}.html",
        accuracy="<results>/plots/pretrain_{data}_eval_math_acc.html",
        loss="<results>/plots/pretrain_{data}_eval_loss.html",
    log:
        "<logs>/figures/pretrain_{data}.log",
    benchmark:
        "<benchmarks>/figures/pretrain_{data}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.pretrain_colors,
        code=fingerprint("plot_pretrain.py"),
    script:
        "../scripts/plot_pretrain.py"


rule plot_finetune:
    input:
        metrics=expand(
            "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/metrics.csv",
            model=STUDY.run.models,
            protocol=STUDY.run.protocols,
            allow_missing=True,
        ),
        seeds=expand(
            "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/seed_{seed}/config.json",
            model=STUDY.run.models,
            protocol=STUDY.run.protocols,
            seed=STUDY.run.seeds,
            allow_missing=True,
        ),
        reference=lookup(
            dpath="finetune_{domain}_pretrain_{data}",
            within=STUDY.figures.reference_curves,
            default=[],
        ),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
    output:
        overview="<results>/plots/finetune_{domain}_pretrain_{data}.html",
        accuracy="<results>/plots/finetune_{domain}_pretrain_{data}_eval_domain_acc.html",
        loss="<results>/plots/finetune_{domain}_pretrain_{data}_eval_loss.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.finetune_colors,
        code=fingerprint("plot_finetune.py"),
    script:
        "../scripts/plot_finetune.py"


rule plot_answers:
    input:
        answers=expand(
            "<results>/pretrain/data_{data}/model_{model}/answers.csv",
            model=STUDY.run.models,
            allow_missing=True,
        ),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
    output:
        operations="<results>/plots/pretrain_{data}_operations.html",
        operands="<results>/plots/pretrain_{data}_operands.html",
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


rule plot_labels:
    input:
        labels=expand(
            "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/labels.csv",
            model=STUDY.run.models,
            protocol=STUDY.run.protocols,
            allow_missing=True,
        ),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
    output:
        page="<results>/plots/finetune_{domain}_pretrain_{data}_labels.html",
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


rule plot_transfer:
    input:
        metrics=expand(
            "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/metrics.csv",
            model=STUDY.run.models,
            protocol=STUDY.run.protocols,
            allow_missing=True,
        ),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
    output:
        page="<results>/plots/finetune_{domain}_pretrain_{data}_transfer.html",
    log:
        "<logs>/figures/finetune_{domain}_pretrain_{data}_transfer.log",
    benchmark:
        "<benchmarks>/figures/finetune_{domain}_pretrain_{data}_transfer.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        colors=STUDY.figures.finetune_colors,
        code=fingerprint("plot_transfer.py"),
    script:
        "../scripts/plot_transfer.py"


rule plot_pretrain_scale:
    input:
        summary="<results>/metrics/summary.csv",
        manifests=expand("<results>/data/{data}/manifest.json", data=STUDY.run.data),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
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
        manifests=expand("<results>/data/{data}/manifest.json", data=STUDY.run.data),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
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
        study=STUDY.costs("finetune"),
        code=fingerprint("plot_scale.py"),
    script:
        "../scripts/plot_scale.py"


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
        plotly_js=ancient("<results>/plots/plotly.min.js"),
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


rule write_index:
    input:
        pretrain="<results>/metrics/pretrain.csv",
        finetune="<results>/metrics/finetune.csv",
        summary="<results>/metrics/summary.csv",
        manifests=expand("<results>/data/{data}/manifest.json", data=STUDY.run.data),
        records=[
            *expand(
                "<results>/pretrain/data_{data}/model_{model}/run.json",
                data=STUDY.run.data,
                model=STUDY.run.models,
            ),
            *expand(
                "<results>/finetune/domain_{domain}/data_{data}/model_{model}/{protocol}/run.json",
                domain=STUDY.run.domains,
                data=STUDY.run.data,
                model=STUDY.run.models,
                protocol=STUDY.run.protocols,
            ),
        ],
        pretrain_figures=expand(
            "<results>/plots/pretrain_{data}_eval_math_acc.html", data=STUDY.run.data
        ),
        finetune_figures=expand(
            "<results>/plots/finetune_{domain}_pretrain_{data}_eval_domain_acc.html",
            domain=STUDY.run.domains,
            data=STUDY.run.data,
        ),
        answers_figures=expand(rules.plot_answers.output, data=STUDY.run.data),
        labels_figures=expand(
            rules.plot_labels.output, domain=STUDY.run.domains, data=STUDY.run.data
        ),
        transfer_figures=expand(
            rules.plot_transfer.output, domain=STUDY.run.domains, data=STUDY.run.data
        ),
        scale_figures=[
            *expand(rules.plot_pretrain_scale.output),
            *expand(rules.plot_finetune_scale.output, domain=STUDY.run.domains),
        ],
        rules_figures=expand(rules.plot_rules.output),
        comparison=(
            rules.compare_reference.output if STUDY.figures.reference_curves else []
        ),
        plotly_js=ancient("<results>/plots/plotly.min.js"),
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


PAGES = [
    *expand(rules.plot_pretrain.output, data=STUDY.run.data),
    *expand(rules.plot_answers.output, data=STUDY.run.data),
    *expand(rules.plot_finetune.output, domain=STUDY.run.domains, data=STUDY.run.data),
    *expand(rules.plot_labels.output, domain=STUDY.run.domains, data=STUDY.run.data),
    *expand(rules.plot_transfer.output, domain=STUDY.run.domains, data=STUDY.run.data),
    *expand(rules.plot_pretrain_scale.output),
    *expand(rules.plot_finetune_scale.output, domain=STUDY.run.domains),
    *expand(rules.plot_rules.output),
]


# The last figure: it shows what ran before it.
rule plot_timeline:
    input:
        PAGES,
        index="<results>/index.html",
        plotly_js=ancient("<results>/plots/plotly.min.js"),
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
