"""What a finished study says first, for the terminal: where its page is, and the verdict on it."""

from pathlib import Path

from gpt_math_domains.results.findings import find
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.summary import own_runs, read_summary


def page_of(results: str | Path) -> Path:
    """Return the page of a study.

    Raises:
        FileNotFoundError: it is not written yet.
    """
    page = Path(results) / "index.html"
    if not page.is_file():
        raise FileNotFoundError(f"{page}: is not there; `make run` with this CONFIG makes it")
    return page


def verdict(results: str | Path) -> list[str]:
    """Return the sentences with which the page of a study begins.

    Raises:
        ValueError: a table is malformed.
        OSError: a table cannot be read.
    """
    tables = Path(results) / "metrics"
    summary = own_runs(read_summary(tables / "summary.csv"))
    return find(
        read_metrics(tables / "pretrain.csv"), read_metrics(tables / "finetune.csv"), summary
    ).verdict
