"""The plotly.js that all pages share.

A module of its own, as no edit of it makes a figure stale, and none of a figure makes it stale:
figures name its file as `ancient`, and Snakemake does not look for other reasons to draw them in a
run in which such a file is made again.
"""

from pathlib import Path

from plotly.offline import get_plotlyjs

from gpt_math_domains.files import write_text


def copy_plotly(output: str | Path) -> None:
    """Write the installed plotly.js."""
    write_text(output, get_plotlyjs())
