"""What records say, against what would be made now."""

import os
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.files import read_json, sha256, write_json
from gpt_math_domains.study.records import (
    Checksums,
    data_difference,
    labels_difference,
    run_difference,
)

SETTINGS = {"batch_size": 16, "max_grad_norm": None}


@pytest.fixture
def checksums(tmp_path: Path) -> Checksums:
    return Checksums(tmp_path / "kept" / "checksums.json")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    files = {name: tmp_path / name for name in ("train", "valid", "vocabulary", "manifest")}
    generate_equations(DataSettings(4), **files)
    return {name: str(path) for name, path in files.items()}


def test_a_data_version_is_known_by_its_settings_and_files(
    data: dict[str, str], checksums: Checksums
) -> None:
    manifest = data.pop("manifest")

    def found(settings: DataSettings) -> str | None:
        return data_difference(manifest, settings, data, checksums)

    assert found(DataSettings(4)) is None
    assert found(DataSettings(5)) == "digits was 4, is 5"
    assert found(DataSettings(4, train_share=0.5)) == "train_share was 0.7, is 0.5"
    Path(data["valid"]).write_text("")
    assert found(DataSettings(4)) == f"{data['valid']} is not as it was written"
    Path(data["valid"]).unlink()
    assert found(DataSettings(5)) is None  # Snakemake sees that itself


def test_a_manifest_that_tells_less_means_the_defaults(
    data: dict[str, str], checksums: Checksums
) -> None:
    manifest = data.pop("manifest")
    told = read_json(Path(manifest))
    for key in ("operations", "moduli", "train_share", "split", "holdout"):
        told.pop(key, None)
    write_json(Path(manifest), told)
    assert data_difference(manifest, DataSettings(4), data, checksums) is None
    other = data_difference(manifest, DataSettings(4, operations=("add",)), data, checksums)
    assert other == "operations was ['add', 'subtract', 'multiply', 'divide'], is ['add']"


def test_labels_are_known_by_their_equations_names_and_file(
    data: dict[str, str], checksums: Checksums, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text("def large(equation):\n    return equation.answer > 1\n")
    paths = {name: Path(path) for name, path in data.items()}
    tables = {name: tmp_path / f"labelled_{name}" for name in ("train", "valid", "manifest")}
    told = {f"labelled_{name}": path for name, path in tables.items()}
    label_domains(["large", "has_zero"], own, **paths, **told)
    manifest, *files = (str(tables[name]) for name in ("manifest", "train", "valid"))
    named = dict(zip(("train", "valid"), files, strict=True))
    equations = {name: data[name] for name in named}

    def found(labels: list[str], own: Path | None = own) -> str | None:
        file = None if own is None else str(own)
        return labels_difference(manifest, labels, file, equations, named, checksums)

    assert found(["large", "has_zero"]) is None
    assert found(["has_zero", "large"]) == (
        "labels was ['large', 'has_zero'], is ['has_zero', 'large']"
    )
    own.write_text(own.read_text().replace("1", "2"))
    assert str(found(["large", "has_zero"])).startswith("own was ")
    assert str(found(["large", "has_zero"], None)).startswith("own was ")


def a_run(directory: Path, **changes: Any) -> dict[str, Any]:
    """Write the record of a run that read two files; return what it was made from."""
    files = [directory / "run" / f"seed_{seed}" / "model.safetensors" for seed in (0, 1)]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True)
        file.write_text(str(number))
    elsewhere = {f"/moved/run/seed_{n}/model.safetensors": sha256(f) for n, f in enumerate(files)}
    own = directory / "made" / "seed_0" / "model.safetensors"
    own.parent.mkdir(parents=True)
    own.write_text("made")
    record = {"settings": SETTINGS, "seeds": [0, 1], "inputs": elsewhere, "code": "abc"}
    record["weights"] = {"seed_0/model.safetensors": sha256(own)}
    write_json(directory / "made" / "run.json", record | changes)
    return {
        "record": str(directory / "made" / "run.json"),
        "now": {"settings": SETTINGS | {"shuffle": True}, "seeds": [0, 1], "precision": "fp32"},
        "inputs": list(map(str, files)),
        "code": "abc",
    }


def test_a_run_that_was_moved_is_known(tmp_path: Path, checksums: Checksums) -> None:
    settings = SETTINGS | {"shuffle": True}
    assert run_difference(**a_run(tmp_path, settings=settings), checksums=checksums) is None


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"settings": SETTINGS | {"shuffle": False}}, "shuffle was False, is True"),
        ({"settings": {"batch_size": 8, "shuffle": True}}, "batch_size was 8, is 16"),
        ({"settings": 3}, "settings was 3, is {'batch_size': 16, 'max_grad_norm': None, "),
        ({"settings": SETTINGS | {"shuffle": True}, "seeds": [0]}, "seeds was [0], is [0, 1]"),
        ({"settings": SETTINGS | {"shuffle": True}, "code": "x"}, "it was made by other code"),
        ({"settings": SETTINGS | {"shuffle": True}, "inputs": 1}, "names no files"),
    ],
)
def test_a_run_of_other_settings_seeds_or_code_is_told(
    tmp_path: Path, checksums: Checksums, record: dict[str, Any], why: str
) -> None:
    assert why in str(run_difference(**a_run(tmp_path, **record), checksums=checksums))


def test_weights_that_are_no_longer_those_of_the_run_are_told(
    tmp_path: Path, checksums: Checksums
) -> None:
    run = a_run(tmp_path, settings=SETTINGS | {"shuffle": True})
    own = tmp_path / "made" / "seed_0" / "model.safetensors"
    own.write_text("other")
    assert run_difference(**run, checksums=checksums) == f"{own} is not as it was written"
    own.unlink()
    assert run_difference(**run, checksums=checksums) is None  # Snakemake sees that itself


def test_exchanged_inputs_are_told_whatever_their_time(
    tmp_path: Path, checksums: Checksums
) -> None:
    run = a_run(tmp_path, settings=SETTINGS | {"shuffle": True})
    first, second = map(Path, run["inputs"])
    assert run_difference(**run, checksums=checksums) is None
    first.rename(tmp_path / "kept_aside")
    second.rename(first)
    (tmp_path / "kept_aside").rename(second)
    os.utime(first, (0, 0))
    assert run_difference(**run, checksums=checksums) == (
        f"{first} is another than it was made from"
    )


def test_checksums_are_kept_until_a_file_changes(tmp_path: Path, checksums: Checksums) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    first = checksums.of(str(file))
    checksums.save()

    again = Checksums(tmp_path / "kept" / "checksums.json")
    os.truncate(file, 1)  # the same size
    file.write_text("2")
    os.utime(file, (1, 1))
    assert again.of(str(file)) == sha256(file) != first


@pytest.mark.parametrize("kept", ["", "[]", '{"a": 1}', "{"])
def test_kept_checksums_that_are_none_are_made_again(tmp_path: Path, kept: str) -> None:
    path = tmp_path / "checksums.json"
    path.write_text(kept)
    assert Checksums(path).of(__file__) == sha256(__file__)
