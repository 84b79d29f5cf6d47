"""Rule copy_plotly: the plotly.js that all pages share."""

from typing import TYPE_CHECKING

from gpt_math_domains.figures import copy_plotly

if TYPE_CHECKING:
    from snakemake.script import snakemake

copy_plotly(snakemake.output.plotly_js)
