import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_math_domains.figures.curves import learning_curves
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.files import write_json
from gpt_math_domains.pages.index import write_index
from gpt_math_domains.pages.parts import read_provenance
from gpt_math_domains.results.metrics import collect_metrics, read_runs, write_metrics
from gpt_math_domains.results.summary import summarize_metrics
from gpt_math_domains.run import ACCURACY
from metric_rows import baselines, baselines_table, row
from study_page import HOSTILE, RECORD, Outline, study

EQUATIONS = """equation,tokens,operation,modulo,answer_start
0 - 2 = - 2,0 14 2 10 16 2,subtract,,4
3 / 2 = 1,3 15 2 10 1,divide,,4
3 * 4 =(m) 5 2,3 13 4 11 5 2,multiply,5,5
"""
LABELS = """tokens,first_odd,has_zero
0 14 2 10 16 2,0,1
3 15 2 10 1,1,0
3 13 4 11 5 2,1,0
"""
LAST = {"pretrain": (0.4, 0.5, 0.6)}


def figure(directory: Path, phase: str, metrics: Sequence[Path], kind: str = "") -> Path:
    """Write the page of a phase's figure, under the name of some kind."""
    name = {"pretrain": "pretrain_1", "finetune": "finetune_1_pretrain_1"}[phase]
    metric = ACCURACY[phase]
    path = directory / f"{name}_{kind or f'eval_{metric}'}.html"
    write_figure(learning_curves(read_runs(metrics, phase), metric, ["#00BBBB"], name), path)
    return path


def write_page(
    directory: Path,
    study: dict[str, Any],
    protocols: tuple[str, ...] = ("full", "frozen"),
    seconds: float = 1.0,
    records: Sequence[object] = (RECORD,),
    last: Mapping[str, Sequence[float]] = LAST,
    sections: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """Write tables of a small study and the page about them; return the page.

    Sections beside those of the accuracies have a figure of some phase and kind.
    """
    paths: dict[str, list[Path]] = {"pretrain": [], "finetune": []}
    for phase in paths:
        for protocol in protocols if phase == "finetune" else (None,):
            rows = [
                row(phase, seed, step, accuracy, protocol=protocol, seconds=seconds)
                for seed, end in enumerate(last.get(protocol or phase, LAST["pretrain"]))
                for step, accuracy in ((1000, 0.25), (12000, end))
            ]
            path = directory / f"{phase}_{len(paths[phase])}.csv"
            write_metrics(rows, phase, path)
            paths[phase].append(path)
        collect_metrics(paths[phase], phase, directory / f"{phase}.csv")
    pretrain, finetune = directory / "pretrain.csv", directory / "finetune.csv"
    summary, page = directory / "summary.csv", directory / "index.html"
    known = [
        baselines_table(directory, baselines(phase, accuracy), f"baselines_{phase}.csv")
        for phase, accuracy in (("pretrain", 0.25), ("finetune", 0.55))
    ]
    summarize_metrics(pretrain, finetune, known, summary)
    files = [directory / f"run_{number}.json" for number in range(len(records))]
    for file, record in zip(files, records, strict=True):
        write_json(file, record)
    figures = {
        phase: [figure(directory, phase, paths[phase])] if paths[phase] else [] for phase in paths
    }
    for section, (phase, kind) in (sections or {}).items():
        figures[section] = [figure(directory, phase, paths[phase], kind)]
    manifests = [directory / f"manifest_{version}.json" for version in study["data"]]
    for manifest, version in zip(manifests, study["data"].values(), strict=True):
        counts = {"train": 1287, "valid": 560}
        write_json(manifest, {"vocabulary_size": version["digits"] + 8, "counts": counts})
    equations, labels = directory / "equations.csv", directory / "labels.csv"
    equations.write_text(EQUATIONS)
    labels.write_text(LABELS)
    write_index(
        *(pretrain, finetune, summary, manifests, files, figures, study, page),
        equations=[equations],
        labels=[labels] if study["domains"] else [],
    )
    return page.read_text(encoding="utf-8")


def test_the_page_has_an_outline_and_closes_what_it_opens(tmp_path: Path) -> None:
    generalization = {"pretrain_generalization": ("pretrain", "generalization")}
    outline = Outline(write_page(tmp_path, study(), sections=generalization))
    assert outline.open == []
    assert outline.landmarks == ["header", "nav", "main"]
    assert outline.headings == [
        ("h1", "GPT Math Domains: published"),
        ("h2", "What is learned"),
        ("h2", "Math Symbol Prediction"),
        ("h3", "Training against validation"),
        ("h2", "Domain Prediction"),
        ("h2", "Does pretraining help?"),
        ("h2", "Summary"),
        ("h2", "How it was made"),
    ]


def test_a_study_may_do_without_a_name(tmp_path: Path) -> None:
    unnamed = study()
    del unnamed["name"]
    page = write_page(tmp_path, unnamed)
    assert Outline(page).headings[0] == ("h1", "GPT Math Domains")
    assert "<title>GPT Math Domains</title>" in page


def test_a_model_has_more_parameters_where_the_vocabulary_is_larger(tmp_path: Path) -> None:
    data = {1: {"digits": 10, "modulo": 5}, 3: {"digits": 20, "modulo": 5}}
    models = {2: {"num_layers": 1, "num_heads": 8, "d_model": 128}}
    tables = Outline(write_page(tmp_path, study(data=data, models=models))).tables
    assert tables["Models"][1][-1] == "201,728 to 203,008"


def test_the_tables_tell_what_was_run(tmp_path: Path) -> None:
    tables = Outline(write_page(tmp_path, study())).tables
    assert tables["Models"] == [
        ["model", "num_layers", "num_heads", "d_model", "parameters"],
        ["2", "1", "8", "128", "201,728"],
        ["10", "8", "8", "512", "25,232,896"],
    ]
    assert tables["Data"] == [
        ["data", "digits", "modulo", "vocabulary", "train", "valid"],
        ["1", "10", "5", "18", "1,287", "560"],
    ]
    assert tables["Domains"] == [["domain", "labels"], ["1", "first_odd, has_zero"]]


def test_the_settings_of_data_versions_stand_there_in_words(tmp_path: Path) -> None:
    holdout = {"operation": ["divide"], "modulo": [2, 3]}
    same = {"digits": 10, "train_share": 0.5, "split": "shared"}
    data = {
        1: same | {"modulo": 5, "operations": ["add", "divide"], "holdout": holdout},
        3: same | {"moduli": [3, 10], "operations": ["add"], "without_modulus": False},
    }
    page = write_page(tmp_path, study(data=data))
    assert Outline(page).tables["Data"] == [
        ["data", "modulo", "moduli", "without_modulus", "operations", "holdout"],
        ["1", "5", "", "", "add, divide", "operation divide; modulo 2, 3"],
        ["3", "", "3, 10", "no", "add", ""],
    ]
    assert "digits 10; train_share 0.5; split shared; vocabulary 18;" in page


def test_each_figure_stands_inline_with_its_content_in_words_and_links_to_its_pages(
    tmp_path: Path,
) -> None:
    page = write_page(tmp_path, study())
    outline = Outline(page)
    assert '<script src="plots/plotly.min.js" defer></script>' in page
    assert outline.figures == {
        "pretrain_1_eval_math_acc": "model 2: 0.25 at 1,000, 0.5 at 12,000",
        "finetune_1_pretrain_1_eval_domain_acc": "model 2, full: 0.25 at 1,000, 0.5 at 12,000",
    }
    assert [link for link in outline.links if not link.startswith("#")] == [
        "made.html",  # among the contents, and at the end
        "plots/pretrain_1_eval_math_acc.html",
        "plots/pretrain_1_eval_loss.html",
        "plots/pretrain_1.html",
        "plots/finetune_1_pretrain_1_eval_domain_acc.html",
        "plots/finetune_1_pretrain_1_eval_loss.html",
        "plots/finetune_1_pretrain_1.html",
        "metrics/pretrain.csv",
        "metrics/finetune.csv",
        "metrics/summary.csv",
        "made.html",
    ]


def test_measures_of_each_phase_stand_below_its_accuracy(tmp_path: Path) -> None:
    sections = {
        "finetune_norms": ("finetune", "norms"),
        "finetune_generalization": ("finetune", "generalization"),
        "pretrain_norms": ("pretrain", "norms"),
        "families": ("pretrain", "families"),
        "pretrain_generalization": ("pretrain", "generalization"),
    }
    outline = Outline(write_page(tmp_path, study(), sections=sections))
    assert list(outline.figures) == [
        *("pretrain_1_eval_math_acc", "pretrain_1_generalization"),
        *("pretrain_1_families", "pretrain_1_norms"),
        *("finetune_1_pretrain_1_eval_domain_acc", "finetune_1_pretrain_1_generalization"),
        "finetune_1_pretrain_1_norms",
    ]
    assert [words for tag, words in outline.headings if tag == "h3"] == [
        *("Training against validation", "When they have learned it"),
        "Labels in training and validation",
    ]
    assert outline.folds[:2] == ["Norms in pretraining", "Norms in finetuning"]


def test_figures_are_numbered_have_captions_and_places_to_link_to(tmp_path: Path) -> None:
    sections = {"pretrain_generalization": ("pretrain", "generalization")}
    page = write_page(tmp_path, study(), sections=sections)
    numbers = re.findall(r'<figcaption><a href="#([^"]+)">Figure (\d+)</a>. (\w+)', page)
    assert numbers == [
        ("figure-pretrain_1", "1", "Pretraining"),
        ("figure-pretrain_1_generalization", "2", "On"),
        ("figure-finetune_1_pretrain_1", "3", "Finetuning"),
    ]
    assert set(Outline(page).ids) >= {anchor for anchor, _, _ in numbers}


def test_the_page_of_a_figure_has_the_same_caption_and_leads_back_to_it(tmp_path: Path) -> None:
    page = write_page(tmp_path, study())
    for name in ("pretrain_1_eval_math_acc", "finetune_1_pretrain_1_eval_domain_acc"):
        own = (tmp_path / f"{name}.html").read_text()
        [caption] = re.findall(r'<p class="caption"><strong>[^<]*</strong> ([^<]*)</p>', own)
        assert caption and caption in page
        [anchor] = re.findall(r'<a href="../index.html#([^"]*)">', own)
        assert anchor in Outline(page).ids


def test_the_top_names_study_configuration_and_commit(tmp_path: Path) -> None:
    header, _, _ = write_page(tmp_path, study()).partition("</header>")
    assert "<h1>GPT Math Domains: published</h1>" in header
    assert "data 1; models 2, 10; domains 1; protocols full, frozen, scratch" in header
    assert "Commit ffffffffffff." in header


def test_examples_of_each_kind_stand_there_with_their_labels(tmp_path: Path) -> None:
    page = write_page(tmp_path, study())
    tables = Outline(page).tables
    assert tables["Without a modulus"] == [
        ["equation", "meaning", "labels that hold"],
        ["0 - 2 = - 2", "0 \N{MINUS SIGN} 2 = \N{MINUS SIGN}2", "has_zero"],
        ["3 / 2 = 1", "3 // 2 = 1", "first_odd"],
    ]
    assert tables["With a modulus"][1:] == [
        ["3 * 4 =(m) 5 2", "(3 \N{MULTIPLICATION SIGN} 4) mod 5 = 2", "first_odd"]
    ]
    assert "first_odd and has_zero, always exactly one" in " ".join(page.split())
    assert "So 2 labels ask 1\nquestions" in page


def test_links_within_the_page_lead_to_its_headings(tmp_path: Path) -> None:
    page = write_page(tmp_path, study())
    names = [link[1:] for link in Outline(page).links if link.startswith("#")]
    assert names
    assert [name for name in names if f'id="{name}"' not in page] == []


def test_what_the_seeds_tell_is_stated_and_what_they_do_not_is_not(tmp_path: Path) -> None:
    far = {"full": (0.95, 0.96, 0.97), "scratch": (0.6, 0.62, 0.61)}
    page = write_page(tmp_path, study(), protocols=("full", "scratch"), last=far)
    assert "<p>Pretraining helps here.</p>" in page
    assert "ends at a higher domain_acc than from random weights (scratch)" in page
    assert "false discovery rate of 5%" in page
    assert Outline(page).tables["Pretrained and random starts compared"][1][:5] == [
        *("1", "1", "2", "full", "scratch")
    ]
    near = {"full": (0.5, 0.7, 0.6), "scratch": (0.6, 0.5, 0.7)}
    page = write_page(tmp_path, study(), protocols=("full", "scratch"), last=near)
    assert "<p>This study does not show that pretraining helps.</p>" in page
    assert "ends at a higher" not in page


def test_one_seed_proves_nothing_and_the_page_says_so(tmp_path: Path) -> None:
    one = {"pretrain": (0.5,), "full": (0.95,), "scratch": (0.6,)}
    page = write_page(tmp_path, study(seeds=[0]), protocols=("full", "scratch"), last=one)
    assert (
        "<p>One seed cannot tell whether pretraining helps; here is what was observed.</p>" in page
    )
    assert "With one seed there are no intervals" in page
    assert "0.350" in Outline(page).tables["Pretrained and random starts compared"][1]
    assert '<ul class="findings">' not in page


@pytest.mark.parametrize(
    ("protocols", "question", "compared"),
    [
        (["full", "scratch"], "Does learning arithmetic first help", True),
        (["full"], "How well does a small GPT-2 that has learned arithmetic tell", False),
        (["scratch"], "How well does a small GPT-2 learn from random weights to tell", False),
        ([], "How well does a small GPT-2 learn arithmetic?", False),
    ],
)
def test_question_and_sections_follow_from_what_runs(
    tmp_path: Path, protocols: list[str], question: str, compared: bool
) -> None:
    told = study(protocols=protocols, **({} if protocols else {"domains": {}}))
    page = write_page(tmp_path, told, protocols=tuple(protocols))
    assert f'<p class="lead">{question}' in page
    headings = [words for _, words in Outline(page).headings]
    assert ("Does pretraining help?" in headings) == compared
    assert ("Domain Prediction" in headings) == bool(protocols)
    assert ("this study does not ask" in page) == (bool(protocols) and not compared)


def test_the_results_are_rounded_for_reading(tmp_path: Path) -> None:
    tables = Outline(write_page(tmp_path, study())).tables
    [columns, pretrain] = tables["Results: pretrain, data 1"]
    assert dict(zip(columns, pretrain, strict=True)) == {
        "model": "2",
        "math_acc at the end": "0.500 [0.252, 0.748]",
        "baseline": "0.250",
        "step at 0.5": "2 of 3 seeds",
        "step at 0.9": "0 of 3 seeds",
        "step at 0.99": "0 of 3 seeds",
        "steps": "12,000",
        "seeds": "3",
    }
    [columns, *finetune] = tables["Results: finetune, domain 1, data 1"]
    assert columns[:3] == ["model", "protocol", "domain_acc at the end"]
    assert [row[:3] for row in finetune] == [
        ["2", "frozen", "0.500 [0.252, 0.748]"],  # though both end alike
        ["2", "full", "0.500 [0.252, 0.748]"],
    ]


def test_no_table_is_cut_and_each_fold_says_what_is_in_it(tmp_path: Path) -> None:
    page = write_page(tmp_path, study())
    assert "max-height" not in page
    assert Outline(page).folds == [
        "pretrain, data 1: 1 run, math_acc 0.500, baseline 0.250",
        "finetune, domain 1, data 1: 2 runs, domain_acc 0.500, baseline 0.550",
    ]


def test_a_grid_is_told_by_its_keys(tmp_path: Path) -> None:
    grid = {"pretrain.max_grad_norm": [None, 1.0], "data.holdout": [{"modulo": [2, 3]}]}
    tables = Outline(write_page(tmp_path, study(grid=grid))).tables
    assert tables["Grid"] == [
        ["key", "values"],
        ["pretrain.max_grad_norm", "null, 1"],
        ["data.holdout", "modulo 2, 3"],
    ]


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "run",
        {},
        RECORD | {"run": 1},
        RECORD | {"git": {}},
        RECORD | {"git": {"commit": 1, "dirty": False}},
        RECORD | {"versions": None},
        {key: value for key, value in RECORD.items() if key != "device"},
    ],
)
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path: Path, record: object) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*run_0\.json: expected a run's record, [^\n]*$"):
        write_page(tmp_path, study(), records=[record])
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"settings": {"num_train_epochs": 5}}, "num_train_epochs was 5, is 3"),
        ({"seeds": [0, 1]}, r"seeds was \[0, 1\], is \[0, 1, 2\]"),
        ({"model": RECORD["model"] | {"d_model": 64}}, "d_model was 64, is 128"),
    ],
)
def test_a_run_that_is_not_of_the_study_is_not_shown_as_its(
    tmp_path: Path, other: dict[str, Any], why: str
) -> None:
    of_study = study(training=[RECORD["run"] | {"num_train_epochs": 3}])
    with pytest.raises(ValueError, match=rf"run_0\.json: is not of this study: {why}$"):
        write_page(tmp_path, of_study, records=[RECORD | other])
    assert not (tmp_path / "index.html").exists()


def test_a_study_of_pretraining_alone_says_so(tmp_path: Path) -> None:
    page = write_page(tmp_path, study(domains={}, training=[]), protocols=())
    assert "Domain Prediction" not in page
    assert [name for name in Outline(page).tables if name.startswith("Results")] == [
        "Results: pretrain, data 1"
    ]


def test_the_same_study_gives_the_same_page_whenever_and_however_long_it_ran(
    tmp_path: Path,
) -> None:
    later = RECORD | {"started": "2027-01-01T00:00:00+00:00", "ended": "2027-01-01T00:00:09+00:00"}
    again = later | {"seconds": 9.5, "resumes": 1}
    page = write_page(tmp_path, study())
    assert page == write_page(tmp_path, study(), seconds=99.5, records=[again])


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    assert not re.search("https?:|//[a-z]", write_page(tmp_path, study()))


@pytest.mark.parametrize(
    "other",
    [
        {"name": HOSTILE},
        {"seeds": [HOSTILE]},
        {"domains": {1: {"labels": [HOSTILE]}}},
        {"models": {2: {"num_layers": 1, "num_heads": HOSTILE, "d_model": 128}}},
    ],
)
def test_hostile_text_in_the_study_stays_text(tmp_path: Path, other: dict[str, Any]) -> None:
    plain = write_page(tmp_path, study())
    page = write_page(tmp_path, study(**other), records=[])
    assert "<img" not in page
    assert page.count("<script") == plain.count("<script")
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*RECORD, *RECORD["run"], "commit", "dirty"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON | st.builds(lambda key, value: RECORD | {key: value}, st.sampled_from([*RECORD]), JSON))
def test_any_record_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, record: object
) -> None:
    path = tmp_path_factory.mktemp("record") / "run.json"
    write_json(path, record)
    try:
        told = read_provenance(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: expected a run's record")
        assert len(str(error).splitlines()) == 1
    else:
        assert isinstance(told["commit"], str)


def test_hostile_text_in_the_tables_stays_text(tmp_path: Path) -> None:
    plain = write_page(tmp_path, study())
    page = write_page(tmp_path, study(), protocols=("full", HOSTILE))
    assert "<img" not in page
    assert page.count("<script") == plain.count("<script")
