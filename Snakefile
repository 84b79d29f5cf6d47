from snakemake.utils import min_version

min_version("9.27")


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


include: "workflow/rules/source.smk"
include: "workflow/rules/common.smk"


# Of the rules below, with `--sdm apptainer`.
container: IMAGE


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/interpretability.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        "<results>/index.html",
        "<results>/made.html",
        "<results>/metrics/summary.csv",
        "<results>/report",
        metrics_and_lost(rules.pretrain_model, "pretrain"),
        metrics_and_lost(rules.finetune_model, "finetune"),
        PAGES,
        "<results>/plots/timeline.html",
        expand(rules.judge_answers.output, **ALL),
        expand(rules.compute_pretrain_baselines.output, **ALL),
        expand(rules.compute_finetune_baselines.output, **ALL),
        COMPARISON,
        GRID,
    localrule: True


onstart:
    tell_costs()
