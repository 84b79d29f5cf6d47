"""The facts of a data version, and the checksums by which later stages know its files."""

from pathlib import Path

from gpt_math_domains.files import read_json, sha256, write_json


def write_manifest(path: Path, files: dict[str, Path], **facts: object) -> None:
    """Write facts about a data version, and the SHA-256 of its files by name."""
    write_json(path, facts | {"sha256": {name: sha256(file) for name, file in files.items()}})


def read_sizes(path: str | Path) -> dict[str, int]:
    """Return from a manifest the size of the `vocabulary`, and how many equations it counts.

    These are `train` and `valid`.

    Raises:
        ValueError: the file is no manifest.
        OSError: the file cannot be read.
    """
    told = read_json(path)
    try:
        counts = {part: int(told["counts"][part]) for part in ("train", "valid")}
        return {"vocabulary": int(told["vocabulary_size"]), **counts}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"{path}: expected a manifest with vocabulary_size and counts") from None


def check_manifest(path: Path, **files: Path) -> None:
    """Require that files are those that a manifest was written with.

    Raises:
        ValueError: a file is not, or this is no manifest; the message names the file.
        OSError: a file cannot be read.
    """
    for name, file in files.items():
        if sha256(file) != _written(path, "sha256", name):
            raise ValueError(
                f"{file}: was changed after it was written: its SHA-256 is not the one in {path}; "
                "delete it to have it made again"
            )


def check_labelled(path: Path, **equations: Path) -> None:
    """Require that labels, by their manifest, are those of some equations.

    Raises:
        ValueError: they are not, or this is no manifest; the message names the manifest.
        OSError: a file cannot be read.
    """
    for name, file in equations.items():
        if sha256(file) != _written(path, "equations", name):
            raise ValueError(
                f"{path}: its labels are of other equations than those of {file}; delete it to "
                "have them made again"
            )


def _written(path: Path, key: str, name: str) -> object:
    try:
        return read_json(path)[key][name]
    except (KeyError, TypeError):
        raise ValueError(f"{path}: no manifest with the SHA-256 of {name}") from None
