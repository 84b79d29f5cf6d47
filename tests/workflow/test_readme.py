"""What README.md says about the rules and the files is so."""

import re

import pytest

from gpt_math_domains.figures.rules import reduced
from gpt_math_domains.results.rules import read_graph
from study import ROOT, Repository

README = ROOT / "README.md"


def test_the_diagram_in_the_readme_has_the_arrows_that_snakemake_draws(
    untouched: Repository,
) -> None:
    """But for those that follow from others."""
    [diagram] = re.findall(r"```mermaid\n(.*?)```", README.read_text(), re.DOTALL)
    drawn = untouched.snakemake("--rulegraph", "mermaid-js", smoke=False)
    assert drawn.returncode == 0, drawn.stdout
    assert sorted(read_graph(diagram)) == sorted(reduced(read_graph(drawn.stdout)))


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/figures.md"]
)
def test_every_link_leads_to_a_file_of_the_repository(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert links
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
