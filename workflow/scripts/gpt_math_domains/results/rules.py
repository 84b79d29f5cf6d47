"""The rules of the workflow and which uses whose files, asked of Snakemake."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpt_math_domains.files import write_text

SNAKEFILE = Path(__file__).parents[4] / "Snakefile"
_NODE = re.compile(r"^\s*(\w+)\[(\w+)\]\s*$", re.MULTILINE)
_EDGE = re.compile(r"^\s*(\w+) --> (\w+)\s*$", re.MULTILINE)


def read_graph(text: str) -> list[tuple[str, str]]:
    """Return pairs of rules, sorted; the second uses files of the first.

    Args:
        text: a Mermaid flowchart, such as `snakemake --rulegraph mermaid-js` prints.

    Raises:
        ValueError: it has no arrows.
    """
    names = dict(_NODE.findall(text))
    edges = sorted({(names.get(a, a), names.get(b, b)) for a, b in _EDGE.findall(text)})
    if not edges:
        raise ValueError("expected a Mermaid flowchart with arrows such as id1 --> id0")
    return edges


def trace_rules(config: Sequence[str], output: str | Path) -> None:
    """Write the workflow's rule graph as a Mermaid flowchart, the same each time.

    Snakemake's own has the same arrows in another order each time.

    Args:
        config: what decides which rules a study needs, as `snakemake --config` takes it.
        output: the flowchart.

    Raises:
        RuntimeError: Snakemake failed; the message is its last line.
    """
    # Snakemake replaces `$name` in the path; from here, there is rarely one in it.
    snakefile = os.path.relpath(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile]
    # Where this workflow is a module, the working directory has another configuration.
    command += ["--configfile", str(Path(snakefile).parent / "config" / "config.yaml")]
    ran = subprocess.run(  # noqa: S603 - the checked configuration goes as arguments
        [*command, "--rulegraph", "mermaid-js", "--config", *config],
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        said = ran.stderr.strip().splitlines() or [f"it ended with status {ran.returncode}"]
        raise RuntimeError(f"snakemake --rulegraph failed: {said[-1]}")
    lines = [f"    {first} --> {second}\n" for first, second in read_graph(ran.stdout)]
    write_text(output, "flowchart TB\n" + "".join(lines))
