"""Configuration files, and how those given later are laid over those before them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.jobs.logs import shorten
from gpt_math_domains.run import ACCURACY, RUN, Settings
from gpt_math_domains.study.config import ConfigError, Study, load_study, printable

Layers = Mapping[str, Mapping[Any, Any]]
"""What each file or argument says, by its name, from the lowest to the highest."""

DEFAULT = Path("config") / "config.yaml"  # of the directory, else of the clone of this package
VERSIONS = ["data", "models", "domains"]  # sections whose keys are numbers


def read_study(files: Sequence[str]) -> Study:
    """Return the study that `snakemake --configfile` with these files runs.

    Raises:
        ConfigError: a file or the configuration is at fault.
    """
    clone = Path(__file__).parents[4:5]  # an installed package is in none, and may lie less deep
    default = next(filter(Path.is_file, (path / DEFAULT for path in (Path(), *clone))), None)
    if default is None:
        raise ConfigError(
            f"config: {DEFAULT}: no such file; run this in a clone of the repository, or where "
            "there is one"
        )
    return load_study(lay({file: read_layer(file) for file in [str(default), *files]}))


def read_layer(path: str | Path) -> dict[Any, Any]:
    """Read a configuration file, YAML or JSON.

    Refused is what a reader of YAML passes over: a key that stands twice in a section, however it
    is spelled, a section that contains itself, and code.

    Raises:
        ConfigError: in one line that names the file and, where it is at fault, the key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if _is_json(text):
            text = text.replace("\t", " ")  # which JSON has between values alone, and YAML nowhere
        root = yaml.compose(text, Loader=yaml.SafeLoader)  # noqa: TID251 - a safe loader
        _check_keys(root, path)
        told = {} if root is None else yaml.SafeLoader("").construct_document(root)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"config: {path}: not YAML: {' '.join(str(error).split())}") from None
    except FileNotFoundError:
        raise ConfigError(f"config: {path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"config: {path}: {error.strerror}") from None
    if not isinstance(told, dict):
        raise ConfigError(f"config: {path}: must have keys at its top level")
    return told


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _check_keys(root: yaml.Node | None, path: str | Path) -> None:
    """Refuse keys that stand twice, code, and a section within itself.

    Raises:
        ConfigError: in one line that names the file, the line and the key.
    """
    loader = yaml.SafeLoader("")
    checked: set[int] = set()

    def check(node: yaml.Node, above: frozenset[int]) -> None:
        if id(node) in above:
            line = node.start_mark.line + 1
            raise ConfigError(f"config: {path}, line {line}: contains itself")
        if id(node) in checked:  # an alias
            return
        checked.add(id(node))
        above |= {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                check(item, above)
        elif isinstance(node, yaml.MappingNode):
            seen: set[object] = set()
            for key, value in node.value:
                if key.value == "__use_yte__":  # has Snakemake evaluate values as Python
                    raise _fault(path, key, "a configuration holds values, not code")
                if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                    name = _number(loader.construct_object(key))
                    if name in seen:
                        raise _fault(path, key, "this key stands twice in its section")
                    seen.add(name)
                check(value, above)

    if root is not None:
        check(root, frozenset())


MERGE = "tag:yaml.org,2002:merge"  # of `<<`, which is no key


def _fault(path: str | Path, key: yaml.Node, said: str) -> ConfigError:
    place = f"config: {path}, line {key.start_mark.line + 1}: {printable(str(key.value))}"
    return ConfigError(f"{place}: {said}")


def _number(key: object) -> object:
    """Return the number that a key means which is written as text, as all keys of JSON are."""
    return int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 20 else key


def from_command_line(told: object) -> Any:
    """Return what was given with `--config`, numbers and null in sections as in a file.

    Snakemake leaves what stands within a section as text.
    """
    if isinstance(told, Mapping):
        return {_number(key): from_command_line(value) for key, value in told.items()}
    if isinstance(told, list):
        return [from_command_line(value) for value in told]
    try:
        value = yaml.safe_load(told) if isinstance(told, str) else told
    except (yaml.YAMLError, ValueError):
        return told
    return value if value is None or isinstance(value, bool | int | float) else told


def lay(layers: Layers) -> dict[str, Any]:
    """Return a configuration of its layers.

    Sections are merged; of anything else, the highest layer counts. A training setting that stands
    in a layer holds for all runs of its phase but those that overrides of the same or of a higher
    layer name: overrides of a lower layer lose it.
    """
    config: dict[str, Any] = {}
    for layer in layers.values():
        config = _over(config, _numbered(layer))
    if isinstance(config.get("overrides"), list):
        told = list(layers.values())
        place = max(number for number, layer in enumerate(told) if "overrides" in layer)
        settled = {
            phase: {
                key
                for layer in told[place + 1 :]
                if isinstance(layer.get(phase), Mapping)
                for key in layer[phase]
            }
            for phase in ACCURACY
        }
        config["overrides"] = [
            part for override in config["overrides"] for part in _left(override, settled)
        ]
    return config


def _over(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _over(old, value)
        merged[key] = value
    return merged


def _numbered(layer: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a layer whose versions have numbers as keys."""
    return {
        section: {_number(key): value for key, value in told.items()}
        if section in VERSIONS and isinstance(told, Mapping)
        else told
        for section, told in layer.items()
    }


def _left(override: Any, settled: Mapping[str, set[Any]]) -> Iterator[Any]:
    """Yield what is left of an override: itself, or parts of it, each for one phase.

    Args:
        override: as it is written, perhaps faulty.
        settled: by phase, the settings that a higher layer has.
    """
    if not isinstance(override, Mapping):
        yield override
        return
    phases = [phase for phase in settled if override.get("phase") in (None, phase)]
    if not any(settled[phase] & override.keys() for phase in phases):
        yield override
        return
    for phase in phases:
        left: dict[Any, Any] = {
            key: value for key, value in override.items() if key not in settled[phase]
        }
        if left.keys() - RUN:
            yield left | {"phase": phase}


def doubts(layers: Layers, study: Study) -> list[str]:
    """Return what is allowed and yet hardly meant, each in one line.

    Overrides that match no run are told where they stand in the layer that selects the runs, or in
    a higher one: those of lower layers are meant for other studies too.
    """
    names, runs = list(layers), list(study.runs())
    places = [max(n for n, name in enumerate(names) if key in layers[name]) for key in CHOOSING]
    lines = []
    if places[0] >= places[1] and names[places[0]] != names[0]:
        lines += [
            f"config: overrides: {shorten(override.model_dump(exclude_unset=True))} matches no "
            "run of this study"
            for override in study.overrides
            if not any(map(override.matches, runs))
        ]
    rows = {
        number: DataSettings(**version.model_dump()).train_equations
        for number, version in study.data.items()
        if number in study.run.data
    }
    for phase in ACCURACY:
        steps = {
            " ".join(f"{key} {run[key]}" for key in RUN[1:] if run[key] is not None): total
            for run in runs
            if run["phase"] == phase
            and (total := _steps(run, rows[run["data"]])) <= run["num_warmup_steps"]
        }
        if steps:
            run, total = next(iter(steps.items()))
            others = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
            lines.append(
                f"config: {phase}.num_warmup_steps: {run}{others}: the warmup does not end within "
                f"the run, which has {total} steps"
            )
    return lines


CHOOSING = ["overrides", "run"]


def _steps(run: Mapping[str, Any], rows: int) -> int:
    settings = {key: value for key, value in run.items() if key not in RUN}
    return Settings(**settings).total_steps(rows)
