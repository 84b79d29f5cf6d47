"""Compute what answers score that do not look at the operands."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpt_math_domains.jobs.logs import job_log
from gpt_math_domains.results.baselines import compute_baselines

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job_log(snakemake.log[0]):
    domain = snakemake.wildcards.get("domain")
    vocabulary, manifest = (snakemake.input.get(name) for name in ("vocabulary", "manifest"))
    compute_baselines(
        Path(snakemake.input.train),
        Path(snakemake.input.valid),
        int(snakemake.wildcards.data),
        snakemake.output.baselines,
        domain=None if domain is None else int(domain),
        vocabulary=vocabulary and Path(vocabulary),
        manifest=manifest and Path(manifest),
    )
