"""The examples under config/examples: each can run, and has a page that says how."""

from pathlib import Path

import pytest

from study import ROOT, Repository

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
DOCS = ROOT / "docs" / "examples"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_a_study_of_its_own_with_a_page(path: Path, untouched: Repository) -> None:
    ran = untouched.snakemake("--dry-run", "--configfile", str(path.relative_to(ROOT)), smoke=False)
    assert ran.returncode == 0, ran.stdout
    assert f"results/{path.stem}/index.html" in ran.stdout

    page = (DOCS / f"{path.stem}.md").read_text(encoding="utf-8")
    assert f"\n    snakemake --cores 2 --configfile config/examples/{path.name}\n" in page


def test_every_page_is_of_an_example_and_in_the_list() -> None:
    pages = {path.stem for path in DOCS.glob("*.md")} - {"README"}
    assert pages == {path.stem for path in EXAMPLES}
    listed = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in pages:
        assert f"]({page}.md)" in listed
