"""Reading configuration files, and laying them over each other."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_math_domains.study.config import ConfigError, load_study
from gpt_math_domains.study.layers import doubts, from_command_line, lay, read_layer

CONFIG = Path(__file__).parents[3] / "config"
DEFAULT = read_layer(CONFIG / "config.yaml")


def refused(directory: Path, content: str | bytes) -> str:
    path = directory / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as error:
        read_layer(path)
    message = str(error.value)
    assert message.startswith(f"config: {path}")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"config: {path}")


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_files_here_have_no_fault(path: Path) -> None:
    read_layer(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a: &x {b: 1}\nc: *x\nd: {b: 1}\n",
        '{"a": [{"b": 1}, {"b": 1}]}',
        "a: &x {b: 1}\nc: {<<: *x, d: 1}\n",
    ],
)
def test_a_file_that_repeats_no_key_is_left_to_the_other_checks(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    read_layer(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("device: cpu\nrun: {}\ndevice: auto\n", ", line 3: device: this key"),
        ("pretrain:\n  batch_size: 1\n  batch_size: 2\n", ", line 3: batch_size: this key"),
        ("overrides:\n- {model: 2}\n- {model: 2, model: 4}\n", ", line 3: model: this key"),
        ('{"device": "cpu", "device": "cpu"}', ", line 1: device: this key"),
        ("models:\n  2: {}\n  '2': {}\n", ", line 3: 2: this key"),
        ("models:\n  1: {}\n  01: {}\n", ", line 3: 01: this key"),
        ("models:\n  0x2: {}\n  2: {}\n", ", line 3: 2: this key"),
        ("models:\n  1: {}\n  1.0: {}\n", ", line 3: 1.0: this key"),
        ("models:\n  1: {}\n  yes: {}\n", ", line 3: yes: this key"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(
    tmp_path: Path, content: str, expected: str
) -> None:
    assert refused(tmp_path, content) == f"{expected} stands twice in its section"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: &x [*x]\n", ", line 1: contains itself"),
        ("run: &x\n  data: {b: [*x]}\n", ", line 1: contains itself"),
        ("3", ": must have keys at its top level"),
        ("- run\n", ": must have keys at its top level"),
    ],
)
def test_what_is_no_section_is_refused(tmp_path: Path, content: str, said: str) -> None:
    assert refused(tmp_path, content) == said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"config: {tmp_path}: Is a directory"):
        read_layer(tmp_path)


def test_json_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    written = {"data": {"5": {"digits": 12}}, "run": {"seeds": [0, 1]}, "device": "cpu"}
    path.write_text(json.dumps(written, indent="\t"))
    assert read_layer(path) == written


def test_code_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "# mine\n__use_yte__: true\ndevice: ?'c' + 'pu'\n")
    assert message == ", line 2: __use_yte__: a configuration holds values, not code"


@pytest.mark.parametrize(
    "content",
    [
        *("a: [", "a: b: c", "\ta: 1", b"\xff\xfe\x00", "a: \x00", "---\n---\n"),
        "device: cpu".encode("utf-16"),
        pytest.param("[" * 10_000, id="deep"),
        pytest.param(f"a: {'1' * 5_000}", id="long"),
        "a: 2026-13-45",
        "a: !!python/name:os.system",
    ],
)
def test_what_is_no_yaml_is_refused_by_name(tmp_path: Path, content: str | bytes) -> None:
    assert refused(tmp_path, content).startswith(": not YAML: ")


@settings(max_examples=100, deadline=None)
@given(st.text("ab:-[]{},&*!|>'\"# \n\t?%@", max_size=30).map(str.encode) | st.binary(max_size=30))
def test_any_file_passes_or_is_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "mine.yaml"
    path.write_bytes(content)
    try:
        read_layer(path)
    except ConfigError as error:
        assert str(error).startswith(f"config: {path}")
        assert len(str(error).splitlines()) == 1


# Layers


def laid(**mine: Any) -> dict[str, Any]:
    """Return the published configuration with a layer over it."""
    return lay({"config.yaml": copy.deepcopy(DEFAULT), "mine.yaml": mine})


def test_sections_are_merged_and_all_else_is_replaced() -> None:
    layers: dict[str, Any] = {
        "a": {"x": {"b": 1, "c": [1]}, "y": 1},
        "b": {"x": {"c": [2], "d": None}, "y": {}},
    }
    assert lay(layers) == {"x": {"b": 1, "c": [2], "d": None}, "y": {}}


def test_versions_of_json_are_those_of_yaml() -> None:
    found = laid(data={"1": {"digits": 12}, "5": {"digits": 7}}, models={"2": {"num_heads": 4}})
    assert load_study(found).data[1].digits == 12
    assert (list(found["data"]), list(found["models"])) == ([1, 3, 5], [2, 4, 6])
    assert found["models"][2] == {"num_layers": 1, "num_heads": 4, "d_model": 128}


def test_a_setting_of_a_higher_layer_wins_over_overrides_of_a_lower_one() -> None:
    study = load_study(laid(pretrain={"num_train_epochs": 3}))
    assert study.training("pretrain", 1, 2)["num_train_epochs"] == 3
    assert study.training("pretrain", 1, 2)["eval_steps"] == 1000  # nobody said otherwise
    assert study.training("finetune", 3, 2, 1, "full")["num_train_epochs"] == 1000


def test_an_override_of_both_phases_loses_in_one_of_them() -> None:
    below = {"overrides": [{"model": 2, "batch_size": 8, "learning_rate": 0.1}]}
    layers = {
        "config.yaml": DEFAULT,
        "below.yaml": below,
        "mine.yaml": {"pretrain": {"batch_size": 64}},
    }
    study = load_study(lay(layers))
    pretrain, finetune = (
        study.training("pretrain", 1, 2),
        study.training("finetune", 1, 2, 1, "full"),
    )
    assert (pretrain["batch_size"], pretrain["learning_rate"]) == (64, 0.1)
    assert (finetune["batch_size"], finetune["learning_rate"]) == (8, 0.1)


def test_overrides_of_the_same_or_a_higher_layer_win() -> None:
    overrides = [{"phase": "pretrain", "model": 2, "batch_size": 8}]
    study = load_study(laid(pretrain={"batch_size": 64}, overrides=overrides))
    assert study.training("pretrain", 1, 2)["batch_size"] == 8
    assert study.training("pretrain", 1, 4)["batch_size"] == 64


@pytest.mark.parametrize("overrides", [3, [3], [{"phase": []}], [{"phase": "half"}], {}])
def test_faulty_overrides_are_left_to_the_checks(overrides: object) -> None:
    with pytest.raises(ConfigError, match="config: overrides"):
        load_study(lay({"a": laid(overrides=overrides), "b": {"pretrain": {"batch_size": 8}}}))


def test_numbers_in_sections_of_the_command_line_are_numbers() -> None:
    told = {"run": {"seeds": ["0", "1"]}, "data": {"5": {"modulo": "null", "train_share": "0.5"}}}
    assert from_command_line(told | {"device": "cpu", "x": "2026-01-01", "y": "[", "z": 3}) == {
        "run": {"seeds": [0, 1]},
        "data": {5: {"modulo": None, "train_share": 0.5}},
        **{"device": "cpu", "x": "2026-01-01", "y": "[", "z": 3},
    }


# Doubts


def told(**mine: Any) -> list[str]:
    layers = {"config.yaml": DEFAULT, "mine.yaml": mine}
    return doubts(layers, load_study(lay(layers)))


def test_the_published_study_is_told_nothing() -> None:
    assert doubts({"config.yaml": DEFAULT}, load_study(lay({"config.yaml": DEFAULT}))) == []
    assert told(run={"data": [1]}) == []  # overrides of data 3 are not of this layer


def test_a_warmup_that_never_ends_is_told_once_for_a_phase() -> None:
    run = {"data": [1], "models": [2, 4]}
    assert told(run=run, pretrain={"num_train_epochs": 3}) == [
        "config: pretrain.num_warmup_steps: data 1 model 2 and 1 more: the warmup does not end "
        "within the run, which has 123 steps"
    ]


def test_an_override_that_matches_no_run_is_told() -> None:
    overrides = [{"model": 2, "batch_size": 8}, {"model": 6, "batch_size": 8}]
    assert told(run={"models": [2]}, overrides=overrides) == [
        "config: overrides: {'batch_size': 8, 'model': 6} matches no run of this study"
    ]
