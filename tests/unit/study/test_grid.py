"""A grid: which points there are, what they are called, and which runs they make."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile

from gpt_math_domains.run import PROTOCOLS, RUN, describe_point
from gpt_math_domains.study.config import ConfigError, Grid, Study, load_study
from gpt_math_domains.study.documentation import schema
from gpt_math_domains.study.grid import GridRun, point_name, spelled

CONFIG = Path(__file__).parents[3] / "config" / "config.yaml"
DEFAULT: dict[str, Any] = load_configfile(CONFIG)


def default(**top: Any) -> dict[str, Any]:
    """Return a copy of the default configuration with other top-level values."""
    return copy.deepcopy(DEFAULT) | top


def study(grid: dict[str, Any], **top: Any) -> Study:
    """Return the published study with a grid, for one data and one model version."""
    config = default(**top) | {"grid": grid}
    config["run"] |= {"data": [1], "models": [2], "protocols": ["full", "scratch"]}
    return load_study(config)


def fault(grid: dict[str, Any], **top: Any) -> str:
    with pytest.raises(ConfigError) as error:
        study(grid, **top)
    return str(error.value)


def names(found: Study, phase: str, protocol: str | None = None) -> list[str]:
    """Return the points of a phase's runs, in words; of the study's own, nothing."""
    return [
        describe_point(run.name)
        for run in found.grid_runs()
        if (run.run["phase"], run.run["protocol"]) == (phase, protocol)
    ]


# Names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.0, "0"),
        (1e-08, "1e-08"),
        (10, "10"),
        (True, "true"),
        (None, "null"),
        ("linear", "linear"),
        (["add", "divide"], "add_divide"),
        ([2, 3], "2_3"),
        ({"every": 5000}, "every_5000"),
        ({"operation": ["divide"], "modulo": []}, "operation_divide"),
    ],
)
def test_a_value_is_spelled_so_that_it_can_name_a_directory(value: Any, name: str) -> None:
    assert spelled(value) == name


def test_a_point_has_one_name_whatever_the_order_of_its_keys() -> None:
    point = {"pretrain.weight_decay": 0.1, "data.train_share": 0.3}
    assert point_name(point) == "grid/data.train_share~0.3/pretrain.weight_decay~0.1/"
    assert point_name(dict(reversed(point.items()))) == point_name(point)
    assert point_name({}) == ""
    assert describe_point(point_name(point)) == "data.train_share 0.3, pretrain.weight_decay 0.1"


# Which runs


def test_a_grid_is_every_combination_and_the_studys_own_settings_are_the_study() -> None:
    found = study({"pretrain.weight_decay": [0, 0.1, 1], "data.train_share": [0.7, 0.3]})
    assert names(found, "pretrain") == [
        "pretrain.weight_decay 0",
        "",
        "pretrain.weight_decay 1",
        "data.train_share 0.3, pretrain.weight_decay 0",
        "data.train_share 0.3",
        "data.train_share 0.3, pretrain.weight_decay 1",
    ]
    assert names(found, "finetune", "full") == names(found, "pretrain")
    assert names(found, "finetune", "scratch") == ["", "data.train_share 0.3"]


def test_a_key_of_finetuning_pretrains_nothing() -> None:
    found = study({"finetune.learning_rate": [1e-3, 1e-4]})
    assert names(found, "pretrain") == [""]
    assert names(found, "finetune", "full") == [
        "finetune.learning_rate 0.001",
        "finetune.learning_rate 0.0001",
    ]


def test_a_run_carries_the_values_of_the_keys_that_concern_it() -> None:
    found = study({"pretrain.weight_decay": [0, 0.1], "models.dropout": [0.0]})
    values = {(run.run["protocol"], run.name): dict(run.values) for run in found.grid_runs()}
    both = {"models.dropout": 0.0, "pretrain.weight_decay": 0.1}
    assert values["full", "grid/models.dropout~0/"] == both
    assert values["scratch", "grid/models.dropout~0/"] == {"models.dropout": 0.0}


def test_an_override_says_which_value_a_run_has_anyway_and_the_grid_is_laid_over_it() -> None:
    overrides = [{"phase": "pretrain", "model": 2, "weight_decay": 1.0}]
    found = study({"pretrain.weight_decay": [0.1, 1]}, overrides=overrides)
    assert names(found, "pretrain") == ["pretrain.weight_decay 0.1", ""]
    other, own = list(found.grid_runs())[:2]
    assert found.training(**other.run, point=other.point)["weight_decay"] == 0.1
    assert found.training(**own.run, point=own.point)["weight_decay"] == 1.0


def test_finetuning_from_another_data_version_is_changed_by_what_changes_that_one() -> None:
    data = {1: {"digits": 10, "train_share": 0.5}, 3: {"digits": 10, "train_share": 0.7}}
    overrides = [{"phase": "finetune", "finetune_from": 3}]
    found = study({"data.train_share": [0.5, 0.7]}, data=data, overrides=overrides)
    assert names(found, "pretrain") == ["", "data.train_share 0.7"]
    assert names(found, "finetune", "scratch") == ["", "data.train_share 0.7"]
    # At 0.5, its own data are the study's, and what it starts from is not.
    assert names(found, "finetune", "full") == ["data.train_share 0.5", "data.train_share 0.7"]
    point = {"data.train_share": 0.5}
    assert found.part(point, 1) == {}
    assert found.part(point, 3, 2) == point


def test_without_a_grid_each_run_is_the_studys_own() -> None:
    found = study({})
    assert [run.run for run in found.grid_runs()] == [
        {key: run[key] for key in RUN} for run in found.runs()
    ]
    assert not any(run.point or run.values for run in found.grid_runs())
    assert "grid" not in found.used() and "grid" not in found.tables()


def test_the_studys_own_runs_tell_the_values_that_they_have() -> None:
    found = study({"pretrain.weight_decay": [1], "data.digits": [11], "finetune.shuffle": [True]})
    told = {(run.run["phase"], run.run["protocol"]): run.values for run in found.own_runs()}
    assert told["pretrain", None] == {"data.digits": 10, "pretrain.weight_decay": 0.1}
    assert told["finetune", "full"] == {
        **told["pretrain", None],
        "finetune.shuffle": False,
    }
    assert told["finetune", "scratch"] == {"data.digits": 10, "finetune.shuffle": False}


def test_the_configuration_of_a_report_keeps_the_grid() -> None:
    used = study({"pretrain.weight_decay": [0, 1], "data.holdout": [{"modulo": [2]}]}).used()
    assert used["grid"] == {
        "data.holdout": [{"operation": [], "modulo": [2]}],
        "pretrain.weight_decay": [0.0, 1.0],
    }
    assert load_study(used).used() == used


KEYS: dict[str, st.SearchStrategy[Any]] = {
    "data.train_share": st.sampled_from([0.5, 0.7, 0.9]),
    "data.digits": st.sampled_from([10, 11]),
    "models.dropout": st.sampled_from([0.0, 0.1]),
    "pretrain.weight_decay": st.sampled_from([0.0, 0.1, 1.0]),
    "finetune.weight_decay": st.sampled_from([0.0, 0.1]),
    "finetune.finetune_from": st.sampled_from([None, 1, 3]),
}


@settings(max_examples=60, deadline=None)
@given(
    grid=st.fixed_dictionaries(
        {}, optional={key: st.lists(v, min_size=1, unique=True) for key, v in KEYS.items()}
    ),
    decay=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_each_point_is_its_own_part_and_gives_its_run_the_values_of_the_grid(
    grid: dict[str, list[Any]], decay: float
) -> None:
    found = study(grid, overrides=[{"data": 3, "weight_decay": decay}])
    seen: set[tuple[object, ...]] = set()
    for run in found.grid_runs():
        versions = [run.run[key] for key in RUN[1:]]
        assert found.part(run.point, *versions) == run.point
        assert run.name in found.parts(*[version for version in versions if version is not None])
        assert (*run.run.values(), run.name) not in seen
        seen.add((*run.run.values(), run.name))
        check_settings(found, run)


def check_settings(found: Study, run: GridRun) -> None:
    """Require that a run's settings at its point are the grid's, and else the study's."""
    sections = {
        run.run["phase"]: found.training(**run.run, point=run.point),
        "data": found.version("data", run.run["data"], run.point),
        "models": found.version("models", run.run["model"], run.point),
    }
    own = {
        run.run["phase"]: found.training(**run.run),
        "data": found.version("data", run.run["data"]),
        "models": found.version("models", run.run["model"]),
    }
    for section, told in sections.items():
        for key, value in told.items():
            expected = run.values.get(f"{section}.{key}", own[section][key])
            assert value == expected, (section, key)


# Faults


@pytest.mark.parametrize(
    ("grid", "line"),
    [
        (
            {"pretrain.weight_decay": [0, -1]},
            "grid.pretrain.weight_decay.1 = -1: input should be greater than or equal to 0",
        ),
        (
            {"pretrain.weight_decay": 0.1},
            "grid.pretrain.weight_decay = 0.1: input should be a valid list",
        ),
        (
            {"pretrain.weight_decay": []},
            "grid.pretrain.weight_decay = []: must have at least one item",
        ),
        (
            {"pretrain.weight_decay": None},
            "grid.pretrain.weight_decay = None: input should be a valid list",
        ),
        (
            {"pretrain.weight_decay": [1, 0.0, 1.0]},
            "grid.pretrain.weight_decay = [1.0, 0.0, 1.0]: each value may stand there once",
        ),
        (
            {"data.operations": [["add", "divide"], ["divide", "add"]]},
            "grid.data.operations = [['add', 'divide'], ['add', 'divide']]: each value may stand "
            "there once",
        ),
        (
            {"data.moduli": [list(range(2, 90))]},
            "grid.data.moduli.0 = [2, 3, 4, 5, 6, 7, ...]: takes 255 characters in the name of a "
            "directory; must take at most 150",
        ),
        (
            {"data.holdout": [None, {"operations": ["add"]}]},
            "grid.data.holdout.1.operations: unknown key; did you mean operation? "
            "Known keys: operation, modulo",
        ),
        (
            {"data.digits": [10, 4]},
            "grid: data.digits = 4 for data.1: modulo = 5: must be 2 to digits = 4, since a "
            "modulus is written as one symbol",
        ),
        (
            {"models.d_model": [64, 100]},
            "grid: models.d_model = 100 for models.2: num_heads = 8: must divide d_model = 100",
        ),
        (
            {"finetune.lr_scheduler_type": ["linear", "constant"], "data.digits": [11]},
            "num_warmup_steps = 1000, at data.digits = 11, finetune.lr_scheduler_type = constant "
            "of the grid, for phase finetune data 1 model 2 domain 1 protocol full: must be 0 "
            "with lr_scheduler_type = 'constant', or use 'constant_with_warmup'",
        ),
        ({"pretrain.finetune_from": [1]}, "pretrain.finetune_from = 1: must be null"),
        (
            {"finetune.finetune_from": [None, 9]},
            "finetune.finetune_from = 9: not defined under data, which has [1, 3]",
        ),
        (
            {f"pretrain.{key}": list(range(1, 12)) for key in ("batch_size", "eval_steps")}
            | {"data.split_seed": list(range(11))},
            "grid: has 1,331 points; must have at most 1,000",
        ),
        ({3: [1]}, "grid.3 = 3: keys should be strings"),
        ([], "grid = []: must be a section with keys of its own"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key_or_the_point(grid: Any, line: str) -> None:
    assert fault(grid) == f"config: {line}"


def test_an_unknown_key_is_told_with_the_nearest_known_one() -> None:
    for key, near in (("pretrain.weigth_decay", "pretrain.weight_decay"), ("data", "data.split")):
        said = fault({key: [1]})
        assert said.startswith(f"config: grid.{key}: unknown key; did you mean {near}")
        assert len(said.splitlines()) == 1


def test_keys_that_are_wrong_apart_may_be_right_together() -> None:
    constant = {"pretrain.lr_scheduler_type": ["constant"], "pretrain.num_warmup_steps": [0]}
    assert len(names(study(constant), "pretrain")) == 1
    with pytest.raises(ConfigError):
        study({"pretrain.lr_scheduler_type": ["constant"]})


def test_every_setting_can_be_varied_and_an_editor_knows_it() -> None:
    known = set(Grid.model_fields)
    assert len(known) == 9 + 5 + 17 + 17
    assert {key.partition(".")[0] for key in known} == {"data", "models", "pretrain", "finetune"}
    config = json.loads(json.dumps(default(grid={"data.train_share": [0.3]})))
    jsonschema.validate(config, schema())
    for grid in ({"data.train_share": [2]}, {"data.train": [0.3]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config | {"grid": grid}, schema())


def test_random_starts_are_those_that_pretraining_does_not_concern() -> None:
    config = default(grid={"pretrain.shuffle": [True]})
    config["run"] |= {"data": [1], "models": [2], "protocols": list(PROTOCOLS)}
    found = {
        run.run["protocol"]
        for run in load_study(config).grid_runs()
        if run.point and run.run["phase"] == "finetune"
    }
    assert found == {"full", "frozen"}
