"""The page that shows two studies side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_math_domains.figures.comparison import comparison_curves
from gpt_math_domains.figures.drawing import drawing_of, drawing_script, figure_element, templates
from gpt_math_domains.figures.library import copy_plotly
from gpt_math_domains.files import write_text
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.comparison import Comparison, told_difference, told_runs

_HERE = Path(__file__).parent
PLOTLY = "plotly.min.js"
BASELINES = {
    "pretrain": "data/{data}/baselines.csv",
    "finetune": "domains/{domain}/data_{data}/baselines.csv",
}


def write_comparison(comparison: Comparison, page: str | Path) -> None:
    """Write the page of a comparison, and beside it the plotly.js that it reads.

    Args:
        comparison: of two studies.
        page: the HTML file to write.

    Raises:
        ValueError: a table of baselines is malformed.
        OSError: a file cannot be written.
    """
    figures = []
    for place, (name, metrics) in enumerate(comparison.shared.items()):
        baseline = _baseline(comparison, metrics[0].iloc[0].to_dict())
        drawing = drawing_of(comparison_curves(*metrics, title=name, baseline=baseline))
        figures.append(figure_element(drawing, f"run_{place}"))
    text = (
        templates(_HERE)
        .get_template("comparison.html.jinja")
        .render(
            comparison=comparison,
            differences=[
                (*difference, told_runs(comparison, runs))
                for difference, runs in comparison.differences.items()
            ],
            outcomes=[(outcome, told_difference(outcome)) for outcome in comparison.outcomes],
            figures=figures,
            plotly_js=PLOTLY,
            script=drawing_script(),
        )
    )
    copy_plotly(Path(page).with_name(PLOTLY))
    write_text(page, text)


def _baseline(comparison: Comparison, run: Mapping[Any, Any]) -> float | None:
    """Return the baseline of a run of both studies, if both have it and it is the same."""
    place = BASELINES[run["phase"]].format(data=run["data"], domain=run["domain"])
    paths = [directory / place for directory in (comparison.first, comparison.second)]
    found = {overall(read_baselines([path]), run) for path in paths if path.is_file()}
    return found.pop() if all(path.is_file() for path in paths) and len(found) == 1 else None
