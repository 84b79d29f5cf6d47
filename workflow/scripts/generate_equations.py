"""Write a data version's equations, vocabulary and manifest."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.jobs.logs import job_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    generate_equations(
        DataSettings(**snakemake.params.version),
        train=Path(snakemake.output.train),
        valid=Path(snakemake.output.valid),
        vocabulary=Path(snakemake.output.vocabulary),
        manifest=Path(snakemake.output.manifest),
    )
