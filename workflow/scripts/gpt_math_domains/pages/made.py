"""The page that tells how a study was made: its runs, rules and jobs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpt_math_domains.figures.drawing import drawing_script, read_drawing, templates
from gpt_math_domains.files import write_text
from gpt_math_domains.pages.parts import figure_of, making, read_record

_HERE = Path(__file__).parent


def write_made(
    records: Iterable[str | Path],
    figures: Iterable[str | Path],
    study: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Write the page beside that of the study; the same files and study give the same bytes.

    Args:
        records: what each run's job told of itself, `run.json`.
        figures: the pages of the figures to show.
        study: see `index.render`.
        output: the page.

    Raises:
        ValueError: a record or a figure's page is malformed, or a record is of a run that is not
            the study's.
        KeyError: `study` lacks a key.
    """
    page = (
        templates(_HERE)
        .get_template("made.html.jinja")
        .render(
            name=study.get("name", ""),
            script=drawing_script(),
            made=making(study, [read_record(path, study) for path in records]),
            figures=[figure_of(Path(path).stem, read_drawing(path)) for path in figures],
        )
    )
    write_text(output, page)
