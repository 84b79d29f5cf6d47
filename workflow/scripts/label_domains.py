"""Label the equations of a data version as a domain version asks."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.data.labels import label_domains
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    label_domains(
        snakemake.params.domain["labels"],
        Path(snakemake.input.own[0]) if snakemake.input.own else None,
        train=Path(snakemake.input.train),
        valid=Path(snakemake.input.valid),
        vocabulary=Path(snakemake.input.vocabulary),
        manifest=Path(snakemake.input.manifest),
        labelled_train=Path(snakemake.output.train),
        labelled_valid=Path(snakemake.output.valid),
        labelled_manifest=Path(snakemake.output.manifest),
    )
