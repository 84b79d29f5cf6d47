"""Points of a grid: what they are called, and which of their keys change what.

A key of a grid is one of a section, without the version: `data.train_share`. A point gives some
keys a value. Its name is a path, spelled like one of Snakemake's Paramspace, with the keys in
alphabetical order: `grid/data.train_share~0.3/pretrain.weight_decay~0.1/`. The point without keys
is the study itself, whose name is empty.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Point = Mapping[str, Any]

SECTIONS = ("data", "models", "pretrain", "finetune")
MOST_POINTS = 1000  # Snakemake would take minutes to tell what it would run
LONGEST_VALUE = 150  # characters; a directory's name may have 255


class GridRun(NamedTuple):
    """A run at a point of the grid.

    Attributes:
        run: its keys, those of `run.RUN`.
        point: what of the point makes it another run than the study's own; empty for that one.
        values: of all keys of the grid that concern it.
    """

    run: dict[str, Any]
    point: Point
    values: Point

    @property
    def name(self) -> str:
        """The name of the point."""
        return point_name(self.point)

    @property
    def wildcards(self) -> dict[str, Any]:
        """What `run.DIRECTORIES` is filled with."""
        return self.run | {"point": self.name}


def spelled(value: Any) -> str:
    """Return a value as it stands in the names of directories and in tables."""
    if isinstance(value, Mapping):
        return "_".join(f"{key}_{spelled(part)}" for key, part in value.items() if part)
    if isinstance(value, list):
        return "_".join(map(spelled, value))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0")


def point_name(point: Point) -> str:
    """Return the name of a point: a directory with a slash at its end, or nothing."""
    parts = [f"{key}~{spelled(point[key])}/" for key in sorted(point)]
    return f"grid/{''.join(parts)}" if parts else ""


def told(point: Point) -> str:
    """Return a point for a sentence: `data.digits = 5, pretrain.shuffle = true`."""
    return ", ".join(f"{key} = {spelled(value)}" for key, value in point.items())


def settings_of(point: Point, section: str) -> dict[str, Any]:
    """Return the values that a point gives the keys of a section, by key alone."""
    pairs = [(*key.partition(".")[::2], value) for key, value in point.items()]
    return {key: value for prefix, key, value in pairs if prefix == section}


def changed(point: Point, section: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a point that gives keys of a section other values than they have."""
    values = settings_of(point, section).items()
    return {f"{section}.{key}": value for key, value in values if value != own[key]}


def of_sections(point: Point, sections: Iterable[str]) -> dict[str, Any]:
    """Return the part of a point that is of some sections."""
    kept = set(sections)
    return {key: value for key, value in point.items() if key.partition(".")[0] in kept}
