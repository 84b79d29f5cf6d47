"""The page that shows two studies side by side."""

from pathlib import Path

from gpt_math_domains.figures.comparison import comparison_curves
from gpt_math_domains.figures.drawing import drawing_of, drawing_script, figure_element, templates
from gpt_math_domains.figures.library import copy_plotly
from gpt_math_domains.files import write_text
from gpt_math_domains.results.comparison import Comparison, told_difference, told_runs

_HERE = Path(__file__).parent
PLOTLY = "plotly.min.js"


def write_comparison(comparison: Comparison, page: str | Path) -> None:
    """Write the page of a comparison, and beside it the plotly.js that it reads.

    Args:
        comparison: of two studies.
        page: the HTML file to write.

    Raises:
        OSError: a file cannot be written.
    """
    figures = [
        figure_element(drawing_of(comparison_curves(*metrics, title=name)), f"run_{place}")
        for place, (name, metrics) in enumerate(comparison.shared.items())
    ]
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
