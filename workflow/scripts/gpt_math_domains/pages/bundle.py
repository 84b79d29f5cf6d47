"""What goes into Snakemake's report: copies of the pages and tables, side by side.

The report keeps the files of one directory together, so that links between them, and to the
plotly.js that they share, still lead there.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gpt_math_domains.files import write_text


def bundle_report(
    files: Iterable[str | Path],
    results: str | Path,
    configuration: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Copy results into a directory of their own, each in its place, beside the configuration.

    Args:
        files: what to copy.
        results: the directory in which they lie, each at its place.
        configuration: of the study, written to `config.yaml`.
        output: the directory to make.

    Raises:
        ValueError: a file lies elsewhere.
        OSError: a file cannot be read or written.
    """
    for file in map(Path, files):
        copy = Path(output) / file.relative_to(results)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    text = yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True)
    write_text(Path(output, "config.yaml"), f"# What this study used.\n{text}")
