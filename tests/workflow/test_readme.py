"""What README.md says about the rules and the files is so."""

import re

import pytest

from study import ROOT, Repository

README = ROOT / "README.md"


def arrows(diagram: str) -> set[tuple[str, str]]:
    """Return the arrows of a Mermaid diagram as pairs of rule names."""
    names = dict(re.findall(r"^\s*(\w+)\[(\w+)\]\s*$", diagram, re.MULTILINE))
    found = re.findall(r"^\s*(\w+) --> (\w+)\s*$", diagram, re.MULTILINE)
    return {(names.get(first, first), names.get(second, second)) for first, second in found}


def test_the_diagram_in_the_readme_has_the_arrows_that_snakemake_draws(
    untouched: Repository,
) -> None:
    [diagram] = re.findall(r"```mermaid\n(.*?)```", README.read_text(), re.DOTALL)
    drawn = untouched.snakemake("--rulegraph", "mermaid-js", smoke=False)
    assert drawn.returncode == 0, drawn.stdout
    assert arrows(diagram) == arrows(drawn.stdout)
    assert arrows(diagram)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_link_leads_to_a_file_of_the_repository(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert links
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
