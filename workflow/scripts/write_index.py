"""Write the page that shows the whole study."""

from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.pages.index import write_index

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    write_index(
        snakemake.input.pretrain,
        snakemake.input.finetune,
        snakemake.input.summary,
        snakemake.input.manifests,
        snakemake.input.records,
        {
            name.removesuffix("_figures"): pages
            for name, pages in snakemake.input.items()
            if name.endswith("_figures")
        },
        snakemake.params.study,
        snakemake.output.page,
        snakemake.input.equations,
        snakemake.input.labels,
        next(iter(snakemake.input.comparison), None),
    )
