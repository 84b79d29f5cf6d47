from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/figures.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,


rule all:
    default_target: True
    input:
        "<results>/index.html",
        "<results>/metrics/summary.csv",
        expand("<results>/plots/pretrain_{data}.html", data=STUDY.run.data),
        expand(
            "<results>/plots/finetune_{domain}_pretrain_{data}.html",
            domain=STUDY.run.domains,
            data=STUDY.run.data,
        ),


onstart:
    warn_without_cuda()
