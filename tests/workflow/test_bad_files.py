"""Files that were damaged between two stages, and places where nothing can be written."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from study import OWN_MOUNTS, Repository, permitted


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def junk(content: bytes) -> bytes:
    return bytes(range(256)) * 4


def nothing(content: bytes) -> bytes:
    return b""


def without_first_column(content: bytes) -> bytes:
    return b"".join(line.partition(b",")[2] for line in content.splitlines(keepends=True))


def without_last_line(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:-1])


def without_numbers(content: bytes) -> bytes:
    return save({name: value * torch.nan for name, value in load(content).items()})


def with_fewer_heads(content: bytes) -> bytes:
    return json.dumps(json.loads(content) | {"n_head": 1}).encode()


PRETRAINED = "pretrain/data_4/model_2"
FINETUNED = "finetune/domain_1/data_4/model_2"


@dataclass(frozen=True)
class Damage:
    """A file of the results, what happens to it, what is asked for then, and what is said."""

    file: str
    how: Callable[[bytes], bytes]
    target: str
    says: str


# What a manifest or a record tells of is made again.
REPAIRED = [
    Damage(
        "data/4/train.csv",
        half,
        "domains/1/data_4/train.csv",
        r"data/4/manifest\.json: is made again: .*/train\.csv is not as it was written$",
    ),
    Damage(
        "data/4/valid.csv",
        without_last_line,
        f"{PRETRAINED}/metrics.csv",
        r"data/4/manifest\.json: is made again: .*/valid\.csv is not as it was written$",
    ),
    Damage(
        "data/4/vocabulary.json",
        nothing,
        f"{PRETRAINED}/metrics.csv",
        r"data/4/manifest\.json: is made again: .*/vocabulary\.json is not as it was written$",
    ),
    Damage(
        "data/4/manifest.json",
        half,
        f"{PRETRAINED}/metrics.csv",
        r"data/4/manifest\.json: is made again: digits was None, is 4$",
    ),
    Damage(
        "domains/1/data_4/valid.csv",
        without_last_line,
        f"{FINETUNED}/scratch/metrics.csv",
        r"data_4/manifest\.json: is made again: .*/data_4/valid\.csv is not as it was written$",
    ),
    Damage(
        f"{PRETRAINED}/seed_1/model.safetensors",
        half,
        f"{FINETUNED}/full/metrics.csv",
        r"model_2/run\.json: is made again: .*seed_1/model\.safetensors is not as it was written$",
    ),
    Damage(
        f"{PRETRAINED}/seed_0/model.safetensors",
        without_numbers,
        f"{PRETRAINED}/answers.csv",
        r"model_2/run\.json: is made again: .*seed_0/model\.safetensors is not as it was written$",
    ),
    Damage(
        f"{PRETRAINED}/seed_0/config.json",
        junk,
        f"{FINETUNED}/full/metrics.csv",
        r"model_2/run\.json: is made again: .*seed_0/config\.json is not as it was written$",
    ),
    Damage(
        f"{PRETRAINED}/seed_1/config.json",
        with_fewer_heads,
        f"{PRETRAINED}/answers.csv",
        r"model_2/run\.json: is made again: .*seed_1/config\.json is not as it was written$",
    ),
    Damage(
        f"{PRETRAINED}/families.csv",
        without_first_column,
        "plots/pretrain_4_families.html",
        r"model_2/run\.json: is made again: .*/families\.csv is not as it was written$",
    ),
    Damage(
        f"{FINETUNED}/full/run.json",
        half,
        "index.html",
        r"full/run\.json: is made again: .*/full/run\.json names no files that it was made from$",
    ),
]


@pytest.mark.parametrize(
    "damage", [pytest.param(d, id=f"{d.file} {d.how.__name__}") for d in REPAIRED]
)
def test_a_damaged_file_is_made_again_with_a_reason(study: Repository, damage: Damage) -> None:
    path = study.results / damage.file
    whole = path.read_bytes()
    path.write_bytes(damage.how(whole))

    ran = study.snakemake("--cores", "1", f"results/smoke/{damage.target}")

    assert ran.returncode == 0, ran.stdout
    assert len(re.findall(damage.says, ran.stdout, re.MULTILINE)) == 1, ran.stdout
    if path.name != "run.json":  # which tells the time
        assert path.read_bytes() == whole
    assert (study.results / damage.target).exists()


# Of others, the next job says what is wrong with them.
DAMAGES = [
    Damage(
        "metrics/pretrain.csv",
        without_first_column,
        "metrics/summary.csv",
        r"pretrain\.csv: has the columns \['data', .*\]; allowed are",
    ),
    Damage(
        "metrics/finetune.csv",
        junk,
        "metrics/summary.csv",
        r"finetune\.csv: Error tokenizing",
    ),
]


@pytest.mark.parametrize(
    "damage", [pytest.param(d, id=f"{d.file} {d.how.__name__}") for d in DAMAGES]
)
def test_a_damaged_file_stops_the_next_job_in_one_line(study: Repository, damage: Damage) -> None:
    path = study.results / damage.file
    path.write_bytes(damage.how(path.read_bytes()))

    ran = study.snakemake("--cores", "1", f"results/smoke/{damage.target}")

    assert ran.returncode != 0
    [line] = set(re.findall(r"^error: (.*)$", ran.stdout, re.MULTILINE))
    assert damage.file in line
    assert re.search(damage.says, line), line
    assert "Traceback" not in ran.stdout
    assert not (study.results / damage.target).exists()
    hidden = {path.name for path in study.results.rglob(".*")}
    assert hidden <= {".snakemake_timestamp"}  # of the directory that is an output as a whole


@pytest.mark.skipif(not permitted(OWN_MOUNTS), reason="this system lets nobody mount")
def test_a_directory_that_cannot_be_written_is_named(clone: Repository) -> None:
    clone.results.mkdir(parents=True)
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    prefix = (*OWN_MOUNTS, "sh", "-c", read_only, str(clone.results))

    ran = clone.snakemake("--cores", "1", "results/smoke/data/4/train.csv", prefix=prefix)

    assert ran.returncode != 0
    assert "Read-only file system" in ran.stdout
    assert "results/smoke" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert list(clone.results.iterdir()) == []


def test_a_model_that_does_not_fit_is_refused_with_its_size(study: Repository) -> None:
    target = f"results/smoke/{PRETRAINED}/metrics.csv"
    huge = {"models": {2: {"num_layers": 1000, "d_model": 1_000_000}}}
    ran = study.snakemake("--cores", "1", target, config=huge)
    assert ran.returncode != 0
    assert re.search(
        r"^error: config: models\.2 with 2 seeds on cpu takes about [\d,.]+ GiB, "
        r"but [\d,.]+ GiB are free; choose a smaller model, ",
        ran.stdout,
        re.MULTILINE,
    ), ran.stdout
    assert "Traceback" not in ran.stdout
    assert not Path(study.directory, target).exists()


def test_more_digits_than_fit_are_refused(clone: Repository) -> None:
    ran = clone.snakemake(
        "--cores", "1", "results/smoke/data/4/train.csv", config={"data": {4: {"digits": 10**9}}}
    )
    assert ran.returncode != 0
    assert re.search(r"^error: config: digits = 1000000000 takes about .* GiB", ran.stdout, re.M)
    assert not (clone.results / "data").exists()
