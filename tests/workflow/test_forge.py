"""Another workflow uses this one from a forge, as docs/module.md shows, without a clone."""

import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer  # noqa: TID251 - on this machine
from pathlib import Path
from threading import Thread

import pytest
import yaml

from forge import NAME, TAG, Forge
from study import ROOT, SMOKE, Repository
from training_job import outputs

PAGE = (ROOT / "docs" / "module.md").read_text()
PRETRAINED, FINETUNED = "pretrain/data_4/model_2", "finetune/domain_1/data_4/model_2/full"
# The smoke study's smallest part.
CONFIG = yaml.safe_load((ROOT / SMOKE).read_text())
CONFIG["run"] |= {"data": [4], "models": [2], "protocols": ["full"]}


def snakefile(source: str = f'github("{NAME}", path="workflow/Snakefile", tag="{TAG}")') -> str:
    """Return the Snakefile that docs/module.md shows, with the module from somewhere."""
    [clone, forge] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    [shown] = re.findall(r'github\("OWNER.*\)', forge)
    module = forge.replace(shown, source).rstrip()
    parts = str(clone).split("\n\n\n")
    return "\n\n\n".join([parts[0], module, *parts[2:]])


@pytest.fixture
def forge(untouched: Repository, tmp_path: Path) -> Iterator[Forge]:
    """A forge that has this repository."""
    yield Forge(tmp_path, untouched.copy_to(tmp_path / "published"))
    shutil.rmtree(tmp_path)


@pytest.fixture
def other(forge: Forge, tmp_path: Path) -> Repository:
    """Another workflow, without a clone of this repository beside it."""
    directory = tmp_path / "other workflow"
    directory.mkdir()
    (directory / "Snakefile").write_text(snakefile())
    (directory / "config.yaml").write_text(yaml.safe_dump({"gpt_math_domains": CONFIG}))
    return Repository(directory)


def test_the_study_runs_from_a_forge_to_the_same_bits(
    forge: Forge, other: Repository, finished: Repository
) -> None:
    ran = other.snakemake("--cores", "2", smoke=False, environment=forge.environment)

    assert ran.returncode == 0, ran.stdout
    results = other.directory / "results" / "smoke"
    assert (results / "index.html").is_file()
    for run in (PRETRAINED, FINETUNED):
        assert outputs(results / run) == outputs(finished.results / run)
        record, local = (
            json.loads((place / run / "run.json").read_text())
            for place in (results, finished.results)
        )
        assert record["code"] == local["code"]
        assert record["git"] == {
            "commit": forge.commit,
            "dirty": False,
            "repository": f"https://github.com/{NAME}",
            "reference": TAG,
        }
    drawn = "rules.mmd"
    assert (results / drawn).read_bytes() == (finished.results / drawn).read_bytes()

    # What a tag names is fetched once.
    forge.close()
    again = other.snakemake("--cores", "2", smoke=False, environment=forge.environment)
    assert "Nothing to be done" in again.stdout
    told = other.snakemake("--report", "report.zip", smoke=False, environment=forge.environment)
    assert told.returncode == 0, told.stdout
    assert (other.directory / "report.zip").is_file()


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_a_branch_is_what_it_is_at_the_forge_by_then(
    forge: Forge, other: Repository, provider: str, tmp_path: Path
) -> None:
    source = f'{provider}("{NAME}", path="workflow/Snakefile", branch="main")'
    (other.directory / "Snakefile").write_text(snakefile(source))
    target = "results/smoke/data/4/train.csv"
    before = other.snakemake(target, "--cores=1", smoke=False, environment=forge.environment)
    assert before.returncode == 0, before.stdout

    published = Repository(tmp_path / "published")
    script = published.directory / "workflow" / "scripts" / "generate_equations.py"
    script.write_text(f"{script.read_text()}\nprint(1)\n")
    forge.publish(published)
    after = other.snakemake(target, "--dry-run", smoke=False, environment=forge.environment)

    assert "Code has changed" in after.stdout or "Params have changed" in after.stdout


def test_files_that_are_fetched_one_by_one_are_refused_in_one_line(
    forge: Forge, other: Repository, tmp_path: Path
) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "published"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        source = f'"http://127.0.0.1:{server.server_port}/workflow/Snakefile"'
        (other.directory / "Snakefile").write_text(snakefile(source))
        ran = other.snakemake("--dry-run", smoke=False, environment=forge.environment)
        server.shutdown()
    assert ran.returncode != 0
    assert "must be files of a clone, or of github() or gitlab()" in ran.stdout
    assert "Traceback" not in ran.stdout
