"""The notebook docs/tour.ipynb runs from a clean kernel, on the study that is here."""

import re
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from checkpoints import RUN, STUDY, rows

FIGURE, TABLE = "application/vnd.plotly.v1+json", "text/html"
# The study's models know the digits 0 to 4 and the moduli 2 and 3.
HERE = {
    "../results/quick": str(STUDY.resolve()),
    "data_1": "data_5",
    '"data": 1': '"data": 5',
    "=(m) 5": "=(m) 3",
}


@pytest.fixture(scope="module")
def shown() -> dict[str, list[Any]]:
    """What each cell shows, by the cell's name; notes of libraries aside."""
    notebook = nbformat.read("docs/tour.ipynb", as_version=4)
    for told, here in HERE.items():
        assert any(told in cell.source for cell in notebook.cells), told
        for cell in notebook.cells:
            cell.source = cell.source.replace(told, here)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": "docs"}})
    client.execute()
    return {
        cell.id: [output for output in cell.outputs if output.get("name") != "stderr"]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def test_nothing_is_said_but_what_is_asked_for(shown: dict[str, list[Any]]) -> None:
    kinds = {name: [output.output_type for output in outputs] for name, outputs in shown.items()}
    assert kinds == {
        "study": [],
        "summary": ["execute_result"],
        "curve": ["display_data"],
        "ask": ["execute_result"],
        "bridge": ["stream"],
        "heatmap": ["display_data"],
    }


def test_the_model_answers_what_the_tables_tell(shown: dict[str, list[Any]]) -> None:
    cells = re.findall("<td>(.*?)</td>", shown["ask"][0].data[TABLE])
    told = [
        cells[i : i + 6] for i in range(0, len(cells), 6)
    ]  # the columns of the notebook's table
    key = {"operation": "add", "modulo": "3", "a": "3", "b": "4"}
    answers = [row for row in rows(STUDY / RUN / "answers.csv") if key.items() <= row.items()]
    assert len(answers) == 2  # a row for each seed
    for row in answers:
        [(answer, probability)] = [
            (answer, probability)
            for equation, _, _, seed, answer, probability in told
            if (equation, seed) == ("3 + 4 =(m) 3", row["seed"])
        ]
        assert answer == row["answer"]
        # A batch of another size rounds otherwise.
        assert float(probability) == pytest.approx(float(row["probability"]), abs=1e-5)
    [first] = [row["answer"] for row in answers if row["seed"] == "0"]
    assert f"3 + 4 =(m) 3 {first} " in shown["bridge"][0].text


def test_the_figures_are_of_this_study(shown: dict[str, list[Any]]) -> None:
    curves, heatmap = (shown[name][0].data[FIGURE] for name in ("curve", "heatmap"))
    assert {trace["name"] for trace in curves["data"]} == {"math_acc", "train_math_acc"}
    assert len(heatmap["data"]) == 4  # a map for each head
    assert heatmap["data"][0]["x"] == ["0 3", "1 +", "2 4", "3 =(m)", "4 3"]
