"""A small study as its pages tell it, and what is read in them."""

import re
from html.parser import HTMLParser
from typing import Any

RECORD: dict[str, Any] = {
    "run": {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None},
    "model": {"num_layers": 1, "num_heads": 8, "d_model": 128},
    "device": "Processor",
    "precision": "fp32",
    "execution": "compiled",
    "threads": 1,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
    "code": "0123456789abcdef",
    "git": {"commit": "f" * 40, "dirty": False},
    "inputs": {"train.csv": "a" * 64},
    "started": "2026-01-02T03:04:05+00:00",
    "ended": "2026-01-02T03:05:05+00:00",
    "seconds": 60.5,
    "resumes": 0,
}


def study(**other: Any) -> dict[str, Any]:
    return {
        "name": "published",
        "models": {
            10: {"num_layers": 8, "num_heads": 8, "d_model": 512},
            2: {"num_layers": 1, "num_heads": 8, "d_model": 128},
        },
        "data": {1: {"digits": 10, "modulo": 5}},
        "domains": {1: {"labels": ["first_odd", "has_zero"]}},
        "seeds": [0, 1, 2],
        "pretrain_seeds": None,
        "protocols": ["full", "frozen", "scratch", "random_frozen"],
        "training": [
            {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None},
            {"phase": "finetune", "data": 1, "model": 2, "domain": 1, "protocol": "full"},
        ],
        "figures": {"pretrain_colors": ["#00BBBB"], "finetune_colors": ["#BBBBBB"]},
    } | other


HOSTILE = '</script><script>alert("1")</script><img src=x onerror=alert(2)>\'"&'


class Outline(HTMLParser):
    """Collects a page's tables as rows of text, its headings, links and open elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.figures: dict[str, str] = {}
        self.landmarks: list[str] = []
        self.ids: list[str] = []
        self.folds: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")
        if dict(attrs).get("class") == "plot":
            self.figures[dict(attrs)["id"] or ""] = dict(attrs)["data-description"] or ""
        if tag in ("header", "nav", "main"):
            self.landmarks.append(tag)
        if tag == "tr":
            list(self.tables.values())[-1].append([])
        if tag in ("td", "th"):
            list(self.tables.values())[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        if tag == "caption":
            self.tables[data] = []
        if tag in ("td", "th"):
            list(self.tables.values())[-1][-1][-1] += data
        if tag == "summary":
            self.folds.append(data)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((tag, data))
