"""The same study gives the same bytes, wherever, whenever and on however many cores it runs."""

import csv
import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from gpt_math_domains.files import sha256
from study import NO_NETWORK, ROOT, Repository, permitted

# What may differ, as docs/results.md says.
DIRECTORIES = {"logs", "benchmarks"}
FILES = {"timeline.html", "made.html"}
COLUMN = "seconds"
KEYS = {"started", "ended", "seconds", "resumes"}


def comparable(path: Path) -> bytes:
    """Return a file's content without what may differ."""
    if path.name == "run.json":
        record = json.loads(path.read_bytes())
        assert record.keys() >= KEYS
        assert record["tables"].pop("metrics.csv") == sha256(path.with_name("metrics.csv"))
        assert len(record["tables"]) == 1
        return json.dumps(
            {key: record[key] for key in record.keys() - KEYS}, sort_keys=True
        ).encode()
    if path.name == "metrics.csv" or path.parent.name == "metrics":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        kept = [place for place, name in enumerate(rows[0]) if name != COLUMN]
        return repr([[row[place] for place in kept] for row in rows]).encode()
    return path.read_bytes()


def digests(repository: Repository) -> dict[str, str]:
    """Return the SHA-256 of what must be the same, by path in the results."""
    paths = {path.relative_to(repository.results): path for path in repository.results.rglob("*")}
    return {
        str(name): hashlib.sha256(comparable(path)).hexdigest()
        for name, path in paths.items()
        if path.is_file() and name.parts[0] not in DIRECTORIES and name.name not in FILES
    }


def test_the_same_study_gives_the_same_bytes(finished: Repository, repeated: Repository) -> None:
    first, again = digests(finished), digests(repeated)
    assert first.keys() == again.keys()
    assert {name for name in first if first[name] != again[name]} == set()
    assert len(first) > 100


def test_a_directory_whose_name_is_hard_to_quote_is_no_hindrance(repeated: Repository) -> None:
    assert " " in repeated.directory.name and not repeated.directory.name.isascii()
    ran = repeated.snakemake("--dry-run")
    assert "Nothing to be done" in ran.stdout
    assert (repeated.results / "index.html").is_file()


@pytest.mark.skipif(not permitted(NO_NETWORK), reason="this system lets nobody cut off the network")
def test_a_study_needs_no_network(repeated: Repository) -> None:
    devices = subprocess.run(
        [*NO_NETWORK, "cat", "/proc/net/dev"], check=True, capture_output=True, text=True
    ).stdout
    assert set(re.findall(r"^ *(\w+):", devices, re.MULTILINE)) <= {"lo"}  # as `repeated` had it
    assert (repeated.results / "index.html").is_file()


def test_the_documentation_names_all_that_may_differ() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    [section] = re.findall(r"## What may differ\n(.*?)\n#", text, re.DOTALL)
    named = set(re.findall(r"`([^`]+)`", section))
    tables = {COLUMN, "metrics.csv", "run.json"}
    assert {f"{name}/" for name in DIRECTORIES} | tables | FILES | KEYS <= named
