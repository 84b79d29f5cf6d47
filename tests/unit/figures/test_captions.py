"""Every page of a figure says what to see, and leads back to where the study has it."""

import re
from pathlib import Path

import pytest

from gpt_math_domains.figures.captions import anchor_of, caption_of, page_of

RULES = Path(__file__).parents[3] / "workflow/rules"
PLACES = {
    "{PRETRAIN_PLOT}": "pretrain_1",
    "{FINETUNE_PLOT}": "finetune_2_pretrain_1",
    "<results>/plots/": "",
    "{domain}": "2",
    "{{model}}": "4",
}


def names() -> list[str]:
    """Return a name for each kind of page that the rules write into `plots/`."""
    found = []
    for rules in sorted(RULES.glob("*.smk")):
        for name in re.findall(
            r'=f?"([^"]*PLOT\}[^"]*|<results>/plots/[^"]*)\.html"', rules.read_text()
        ):
            for place, value in PLACES.items():
                name = name.replace(place, value)
            found.append(name)
    return [name for name in found if "{" not in name]


def test_the_rules_write_pages() -> None:
    assert {"pretrain_1", "finetune_2_pretrain_1_grid", "pretrain_1_model_4_attention"} < {*names()}
    assert len(names()) > 20


@pytest.mark.parametrize("name", names())
def test_the_page_of_every_figure_has_a_caption(name: str) -> None:
    assert len(caption_of(name)) > 60


@pytest.mark.parametrize(
    "name",
    [
        "pretrain_1_model_4_attention",
        *("pretrain_1_embedding", "pretrain_1_lens"),
        *("finetune_2_pretrain_1_probes", "finetune_2_pretrain_1_probe_steps"),
    ],
)
def test_what_is_inside_models_leads_to_their_learning_curves(name: str) -> None:
    assert (page_of(name), anchor_of(name)) == ("index.html", "figure-pretrain_1")
