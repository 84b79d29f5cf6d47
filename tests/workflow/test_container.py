"""Rules run in an image that is built from Containerfile, as far as that can be tried here.

No engine that builds images is at hand. So the file is checked against the repository, and jobs run
in a directory that stands for the image, behind a command that stands for apptainer.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from study import OWN_MOUNTS, ROOT, Repository, listed_jobs, permitted
from training_job import outputs

APPTAINER = Path(__file__).with_name("apptainer")
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
IMAGE = "gpt-math-domains.sif"
RUN = "pretrain/data_4/model_2"
TARGETS = [f"results/smoke/{RUN}/answers.csv", "results/smoke/plots/plotly.min.js"]
# Writes where each Python process of a job ran.
WITNESS = """\
import os, sys

with open(os.environ["WITNESSES"], "a") as file:
    print(sys.prefix, "inside" if os.path.isfile("/image") else "outside", file=file)
"""


def test_the_image_has_the_python_of_the_environments_and_the_packages_of_the_lock() -> None:
    [version] = re.findall(r"^FROM docker\.io/library/python:([\d.]+)-\S+$", CONTAINERFILE, re.M)
    for path in (ROOT / "envs").glob("*.yaml"):
        assert f"python =={version}" in yaml.safe_load(path.read_text())["dependencies"]
    [copied, target] = re.findall(r"^COPY (\S+) (\S+)$", CONTAINERFILE, re.MULTILINE)[0]
    assert (ROOT / copied) == ROOT / "envs" / "requirements.lock"
    assert f"--requirement {target}\n" in CONTAINERFILE


def test_the_image_has_the_name_that_the_documentation_gives_it() -> None:
    page = (ROOT / "docs" / "running.md").read_text()
    assert f"apptainer build {IMAGE} " in page
    assert f"/{IMAGE}\n" in (ROOT / ".gitignore").read_text()


def test_without_the_image_one_line_says_so(untouched: Repository) -> None:
    ran = untouched.snakemake("--dry-run", "--sdm", "apptainer")
    assert ran.returncode != 0
    assert f"\n{untouched.directory / IMAGE}: no such image\n" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_an_image_is_a_change_of_software_so_everything_runs_again(
    study: Repository, untouched: Repository
) -> None:
    (study.directory / IMAGE).mkdir()
    path = os.pathsep.join([str(APPTAINER.parent), os.environ["PATH"]])
    ran = study.snakemake("--dry-run", "--sdm", "apptainer", environment={"PATH": path})
    assert ran.returncode == 0, ran.stdout
    assert listed_jobs(ran.stdout) == untouched.jobs_to_run()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A root directory with this machine's system, and with this Python at /usr/local."""
    if not permitted(OWN_MOUNTS):
        pytest.skip("file systems cannot be mounted here")
    root = tmp_path / "image"
    root.mkdir()
    (root / "image").touch()
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    mounts = ["/usr", "/etc", sys.base_prefix, f"{sys.prefix}:/usr/local"]
    (root / "mounts").write_text("".join(f"{mount}\n" for mount in mounts))
    return root


def test_jobs_run_in_the_image_to_the_same_bits(
    clone: Repository, image: Path, finished: Repository
) -> None:
    commands = clone.directory / "commands"
    commands.mkdir()
    shutil.copy2(APPTAINER, commands)
    (commands / "sitecustomize.py").write_text(WITNESS)
    (clone.directory / IMAGE).symlink_to(image)
    witnesses = clone.directory / "witnesses"

    ran = clone.snakemake(
        *TARGETS,
        *("--cores", "2", "--sdm", "apptainer"),
        environment={
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(commands),
            "WITNESSES": str(witnesses),
        },
    )

    assert ran.returncode == 0, ran.stdout
    inside = [line for line in witnesses.read_text().splitlines() if "inside" in line]
    # The jobs: equations, training, answers, copy.
    assert inside == ["/usr/local inside"] * 4
    assert outputs(clone.results / RUN) == outputs(finished.results / RUN)
