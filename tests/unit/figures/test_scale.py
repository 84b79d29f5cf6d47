import base64
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from gpt_math_domains.data.vocabulary import POSITIONS
from gpt_math_domains.figures.images import read_figure
from gpt_math_domains.figures.looks import PROTOCOL_COLORS
from gpt_math_domains.figures.scale import plot_scale, scale, training_flops
from gpt_math_domains.files import write_json
from gpt_math_domains.results.metrics import collect_metrics
from gpt_math_domains.results.summary import read_summary, summarize_metrics
from gpt_math_domains.results.tables import write_table
from gpt_math_domains.run import ModelSize
from metric_rows import baselines, baselines_table, row, table

MODELS: dict[int, dict[str, Any]] = {
    2: {"num_layers": 1, "num_heads": 8, "d_model": 128},
    4: {"num_layers": 2, "num_heads": 8, "d_model": 128},
    6: {"num_layers": 8, "num_heads": 8, "d_model": 512},
}
SIZES = [
    ModelSize(**model, vocabulary_size=18, num_positions=POSITIONS) for model in MODELS.values()
]


@pytest.mark.parametrize("labels", [0, 6])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_parameters_are_counted_as_the_models_have_them(size: ModelSize, labels: int) -> None:
    shapes = size.shapes(labels or None).values()
    assert size.parameters(labels) == sum(torch.Size(shape).numel() for shape in shapes)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_forward_pass_has_the_flops_that_torch_counts_in_gpt_2(size: ModelSize) -> None:
    config: Any = GPT2Config
    config = config(
        n_layer=size.num_layers,
        n_head=size.num_heads,
        n_embd=size.d_model,
        vocab_size=18,
        n_positions=POSITIONS,
        attn_implementation="eager",  # its products are counted, those of a fused kernel are not
    )
    gpt_2 = GPT2LMHeadModel(config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        gpt_2(torch.zeros(1, POSITIONS - 1, dtype=torch.long))
    assert 3 * counter.get_total_flops() == training_flops(size, 18, pretraining=True)


def test_a_frozen_backbone_costs_its_forward_pass_alone() -> None:
    head = 2 * 128 * 6
    full = training_flops(SIZES[0], 6, pretraining=False)
    frozen = training_flops(SIZES[0], 6, pretraining=False, head_only=True)
    assert full - 3 * head == 3 * (frozen - 3 * head)


def numbers(values: Any) -> list[float]:
    """Return the numbers that a page holds, be it in plotly's binary form."""
    if isinstance(values, tuple):
        return list(values)
    found: list[float] = np.frombuffer(
        base64.b64decode(values["bdata"]), np.dtype(values["dtype"])
    ).tolist()
    return found


def write_study(directory: Path) -> dict[str, Any]:
    """Write a summary of two models, pretrained and finetuned, and a manifest."""
    for phase in ("pretrain", "finetune"):
        rows = [
            row(phase, seed=seed, step=step, accuracy=0.1 * model + 0.01 * seed, model=model)
            for model in MODELS
            for seed in (0, 1)
            for step in (41, 82)
        ]
        tables = [
            table(directory, [r for r in rows if r["model"] == model], phase, f"{phase}{model}.csv")
            for model in MODELS
        ]
        collect_metrics(tables, phase, directory / f"{phase}.csv")
    summarize_metrics(
        directory / "pretrain.csv",
        directory / "finetune.csv",
        [baselines_table(directory, baselines())],
        directory / "summary.csv",
    )
    write_json(
        directory / "manifest.json",
        {"vocabulary_size": 18, "counts": {"train": 1287, "valid": 560}},
    )
    run: dict[str, Any] = {"data": 1, "num_train_epochs": 2}
    return {
        "data": [1],
        "models": MODELS,
        "labels": {1: 6},
        "epochs": [
            run | {"phase": "pretrain", "model": model, "domain": None, "protocol": None}
            for model in MODELS
        ]
        + [
            run | {"phase": "finetune", "model": model, "domain": 1, "protocol": "full"}
            for model in MODELS
        ],
    }


def test_points_are_the_final_accuracies_at_what_the_runs_cost(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    page = tmp_path / "page.html"
    plot_scale(tmp_path / "summary.csv", [tmp_path / "manifest.json"], "pretrain", study, page)
    figure = read_figure(page)
    parameters, flops = [trace for trace in figure.data if "text" in trace.mode]
    dotted = [trace for trace in figure.data if (trace.name or "") == "baseline 0.250"]
    assert numbers(parameters.x) == [size.parameters() for size in SIZES]
    assert numbers(flops.x) == [
        2 * 1287 * training_flops(size, 18, pretraining=True) for size in SIZES
    ]
    assert [numbers(line.y) for line in dotted] == [[0.25, 0.25]] * 2
    for points in (parameters, flops):
        assert numbers(points.y) == pytest.approx([0.205, 0.405, 0.605])
        assert list(points.text) == ["2", "4", "6"]


def test_only_measures_in_which_three_runs_differ_have_a_plot(tmp_path: Path) -> None:
    """All runs take the same steps; and two models are no trend."""
    study, page = write_study(tmp_path), tmp_path / "page.html"
    files = tmp_path / "summary.csv", [tmp_path / "manifest.json"]
    plot_scale(*files, "pretrain", study, page)
    axes = [axis.title.text for axis in read_figure(page).select_xaxes()]
    assert axes == ["parameters", "FLOPs of training"]
    summary = read_summary(tmp_path / "summary.csv")
    write_table(summary[summary["model"] != 4], tmp_path / "summary.csv")
    plot_scale(*files, "pretrain", study, page)
    figure = read_figure(page)
    assert len(figure.data) == 0
    assert "Three models or more are needed" in figure.layout.annotations[0].text


def test_finetuning_has_a_page_for_its_domain_version(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    page = tmp_path / "page.html"
    files = tmp_path / "summary.csv", [tmp_path / "manifest.json"]
    plot_scale(*files, "finetune", study, page, domain=1)
    figure = read_figure(page)
    assert figure.layout.title.text == "Finetune Domain: 1, scale"
    assert numbers(figure.data[0].x) == [size.parameters(6) for size in SIZES]


def test_colours_tell_protocols_and_one_entry_of_the_legend_switches_one(tmp_path: Path) -> None:
    write_study(tmp_path)
    summary = read_summary(tmp_path / "summary.csv")
    runs = summary[summary["phase"] == "finetune"].assign(parameters=[1, 2, 3], flops=1)
    several = pd.concat(
        runs.assign(protocol=protocol, data=data)
        for protocol in ("full", "scratch", "frozen")
        for data in (1, 3)
    ).assign(baseline=0.5)
    figure = scale(several, "domain_acc", "title")
    entries = {t.meta["switch"]: t.visible for t in figure.data if "switch" in t.meta}
    assert entries == {
        **{"protocol full": True, "protocol scratch": True, "protocol frozen": "legendonly"},
        **{"data 1": True, "data 3": True, "baseline": None},
    }
    lines = {tuple(t.meta["keys"]): t for t in figure.data if "text" in t.mode}
    for (protocol, data), trace in lines.items():
        assert trace.line.color == PROTOCOL_COLORS[protocol.removeprefix("protocol ")]
        assert trace.visible == (protocol != "protocol frozen")
        assert trace.line.dash == ("solid" if data == "data 1" else "14px,6px")
    assert len(lines) == 6
    baselines = [t.meta["keys"] for t in figure.data if t.name == "baseline 0.500"]
    assert baselines == [["baseline", "data 1"], ["baseline", "data 3"]]


@pytest.mark.parametrize(
    "content",
    [
        '{"vocabulary_size": 18}',
        '{"vocabulary_size": 1e999, "counts": {"train": 1e999, "valid": 1}}',
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path: Path, content: str) -> None:
    study = write_study(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    files = tmp_path / "summary.csv", [tmp_path / "manifest.json"]
    with pytest.raises(ValueError, match=r"manifest.json: expected a manifest"):
        plot_scale(*files, "pretrain", study, tmp_path / "page.html")
