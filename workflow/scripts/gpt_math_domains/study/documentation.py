"""What tells people and editors about the configuration, written from its definition.

python -m gpt_math_domains.study.documentation config
"""

import json
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from gpt_math_domains.files import write_json, write_text
from gpt_math_domains.study.config import LIMIT, Grid, Section, Study


def schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration, for editors.

    No key is required, since an overlay names only those that it changes.
    """
    made = Study.model_json_schema()
    for section in (made, *made["$defs"].values()):
        section.pop("required", None)
    return made | {"title": "GPT Math Domains study"}


def reference() -> str:
    """Return the reference of all keys as Markdown tables, one for each kind of section."""
    parts: list[str] = []

    def add(section: type[Section], paths: list[str]) -> None:
        rows: list[str] = []
        nested: dict[type[Section], list[str]] = {}
        for name, field in section.model_fields.items():
            if field.annotation is Grid:  # whose keys are those of other sections
                keys = "`grid.<section>.<key>`"
                rows.append(f"| {keys} | list of the key's values | {field.description} |")
                continue
            inner, suffix = _nested_section(field.annotation)
            if inner is not None:
                nested.setdefault(inner, []).append(f"{paths[0]}{name}{suffix}.")
                continue
            values = _allowed(field.annotation, field.metadata)
            if field.default is not None and not field.is_required():
                values += f"; default `{json.dumps(field.default)}`".replace('"', "")
            keys = ", ".join(f"`{path}{name}`" for path in paths)
            rows.append(f"| {keys} | {values} | {field.description} |")
        if rows:
            table = "| key | values | meaning |\n| --- | --- | --- |\n" + "\n".join(rows)
            parts.append(f"{section.__doc__}\n\n{table}")
        for inner, inner_paths in nested.items():
            add(inner, inner_paths)

    add(Study, [""])
    return "\n\n".join(parts) + "\n"


def _nested_section(annotation: Any) -> tuple[type[Section] | None, str]:
    """Return the section inside an annotation and how its path continues."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    suffix = {dict: ".<version>", list: "[]"}.get(typing.get_origin(annotation), "")
    for inner in typing.get_args(annotation):
        if isinstance(inner, type) and issubclass(inner, Section):
            return inner, suffix
    return None, ""


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    """Describe the allowed values of an annotation in a few words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _allowed(arguments[0], list(arguments[1:]) + metadata)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if annotation is Any:
        return "`none`, `log`, `{every: N}`"
    if origin is dict:
        return "mapping"
    if origin is list:
        return f"list of {_allowed(arguments[0], [])}"
    if origin in (typing.Union, types.UnionType):
        return ", ".join(
            "`null`" if kind is type(None) else _allowed(kind, []) for kind in arguments
        )
    bounds = []
    for item in [inner for outer in metadata for inner in getattr(outer, "metadata", [outer])]:
        for sign, name in (("≥", "ge"), (">", "gt"), ("<", "lt")):
            if getattr(item, name, None) not in (None, LIMIT):
                bounds.append(f"{sign} {getattr(item, name)}")
        if getattr(item, "pattern", None):
            return "colour such as `#00BBBB`" if item.pattern.startswith("^#") else "name"
    names = {int: "integer", float: "number", str: "text", bool: "`true`, `false`"}
    return " ".join([names[annotation], *bounds])


def write_documentation(directory: Path) -> None:
    """Write `schema.json` and the reference part of `README.md` into the config directory.

    Raises:
        ValueError: README.md lacks the marker line below which the reference stands.
    """
    write_json(directory / "schema.json", schema())
    readme = directory / "README.md"
    head, marker, _ = readme.read_text(encoding="utf-8").partition(MARKER)
    if not marker:
        raise ValueError(f"{readme}: the line {MARKER!r} is missing")
    write_text(readme, f"{head}{MARKER}\n\n{reference()}")


MARKER = "<!-- Below: written by `make docs` from the definition of the configuration -->"

if __name__ == "__main__":
    write_documentation(Path(sys.argv[1]))
