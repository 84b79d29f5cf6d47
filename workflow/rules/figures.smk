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


rule write_index:
    input:
        pretrain="<results>/metrics/pretrain.csv",
        finetune="<results>/metrics/finetune.csv",
        summary="<results>/metrics/summary.csv",
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
