import copy
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.study.config import ConfigError, Study, load_study
from gpt_math_domains.study.documentation import MARKER, reference, schema, write_documentation

CONFIG = Path(__file__).parents[3] / "config"
DEFAULT: dict[str, Any] = load_configfile(CONFIG / "config.yaml")

# Epochs and steps between evaluations of each published run.
PUBLISHED = {
    ("pretrain", 1, 2): (1_000, 1_000),
    ("pretrain", 1, 4): (5_000, 5_000),
    ("pretrain", 1, 6): (10_000, 10_000),
    ("pretrain", 3, 2): (5_000, 5_000),
    ("pretrain", 3, 4): (10_000, 10_000),
    ("pretrain", 3, 6): (20_000, 20_000),
    ("finetune", 1, 2): (5_000, 1_000),
    ("finetune", 1, 4): (5_000, 5_000),
    ("finetune", 1, 6): (10_000, 10_000),
    ("finetune", 3, 2): (1_000, 1_000),
    ("finetune", 3, 4): (5_000, 5_000),
    ("finetune", 3, 6): (10_000, 10_000),
}
STEPS_PER_EPOCH = {1: 41, 3: 163}
PUBLISHED_SETTINGS = {
    "batch_size": 32,
    "learning_rate": 5e-4,
    "weight_decay": 0.1,
    "gradient_accumulation_steps": 1,
    "num_warmup_steps": 1000,
    "shuffle": False,
}


def default(**top: Any) -> dict[str, Any]:
    """Return a copy of the default configuration with other top-level values."""
    return copy.deepcopy(DEFAULT) | top


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the default configuration with another value at a path such as `models.2.d_model`."""
    config = default()
    *sections, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = config
    for part in sections:
        place = place[part]
    place[last] = value
    return config


def without(path: str) -> dict[str, Any]:
    """Return the default configuration without one key."""
    config = default()
    *sections, last = path.split(".")
    place = config
    for part in sections:
        place = place[part]
    del place[last]
    return config


def quick() -> Study:
    """Return the quick study as `--configfile config/quick.yaml` makes it."""
    config = default()
    update_config(config, load_configfile(CONFIG / "quick.yaml"))
    return load_study(config)


def fault(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        load_study(config)
    return str(error.value)


# The two studies


def test_the_default_configuration_is_the_published_study() -> None:
    study = load_study(DEFAULT)
    assert study.run.data == [1, 3]
    assert study.run.models == [2, 4, 6]
    assert study.run.domains == [1]
    assert study.run.protocols == ["full"]
    assert {number: (data.digits, data.modulo) for number, data in study.data.items()} == {
        1: (10, 5),
        3: (20, 5),
    }
    assert {data.split_seed for data in study.data.values()} == {0}
    assert {
        number: (model.num_layers, model.num_heads, model.d_model)
        for number, model in study.models.items()
    } == {2: (1, 8, 128), 4: (2, 8, 128), 6: (8, 8, 512)}
    assert study.domains[1].labels == [
        "first_odd",
        "first_even",
        "both_odd",
        "both_even",
        "has_zero",
        "no_zero",
    ]
    assert study.precision == "fp32"


def test_the_default_runs_are_the_published_ones() -> None:
    runs = list(load_study(DEFAULT).runs())
    assert len(runs) == 12
    assert {
        (run["phase"], run["data"], run["model"]): (run["num_train_epochs"], run["eval_steps"])
        for run in runs
    } == PUBLISHED
    for run in runs:
        assert {key: run[key] for key in PUBLISHED_SETTINGS} == PUBLISHED_SETTINGS
        finetuning = run["phase"] == "finetune"
        assert (run["domain"], run["protocol"]) == ((1, "full") if finetuning else (None, None))


def test_the_published_study_takes_nearly_ten_million_steps() -> None:
    steps = sum(
        run["num_train_epochs"] * STEPS_PER_EPOCH[run["data"]] for run in load_study(DEFAULT).runs()
    )
    assert steps == 9_789_000


def test_the_quick_study_is_a_small_variation_beside_the_published_one() -> None:
    study = quick()
    assert study.run.data == [1, 3]
    assert study.run.models == [2, 4]
    assert len(study.run.seeds) == 2
    assert all(run["shuffle"] for run in study.runs())
    assert study.pathvars.results != load_study(DEFAULT).pathvars.results
    assert study.device == "cpu"
    steps = [run["num_train_epochs"] * STEPS_PER_EPOCH[run["data"]] for run in study.runs()]
    assert max(steps) < 2_000
    for run in study.runs():
        other_settings = {"learning_rate", "batch_size", "weight_decay"}
        assert {key: run[key] for key in other_settings} == {
            key: PUBLISHED_SETTINGS[key] for key in other_settings
        }


def test_a_page_hears_only_of_the_versions_that_run() -> None:
    tables = quick().tables()
    assert list(tables["models"]) == [2, 4]
    assert tables["data"][3].items() >= {"digits": 20, "modulo": 5, "split_seed": 0}.items()
    assert tables["seeds"] == [0, 1]
    assert len(tables["training"]) == 2 * 2 + 2 * 2 * 4


def test_the_published_study_has_its_colours_and_the_quick_study_those_for_any_eyes() -> None:
    published = load_study(default()).figures
    assert published.line_colors("pretrain") == ["#00BBBB", "#FF4444", "#00BBFF"]
    assert published.line_colors("finetune") == ["#BBBBBB", "#888888", "#000000"]
    assert quick().figures.line_colors("pretrain") is None
    assert quick().figures.line_colors("finetune") is None


def test_a_study_is_named_after_its_directory() -> None:
    assert quick().tables()["name"] == "quick"
    assert load_study(default()).tables()["name"] == ""


def test_lists_of_operations_and_moduli_mean_the_same_in_any_order() -> None:
    version = {"digits": 7, "operations": ["divide", "add"], "moduli": [7, 3]}
    other = {"digits": 7, "operations": ["add", "divide"], "moduli": [3, 7]}
    one, two = (load_study(default(data={1: data, 3: data})) for data in (version, other))
    assert one == two
    assert one.data[1].operations == ["add", "divide"]


def test_the_grokking_task_is_a_data_version() -> None:
    task = {"digits": 97, "moduli": [97], "without_modulus": False, "operations": ["add"]}
    config = changed("data.3", task | {"train_share": 0.5})
    assert DataSettings(**load_study(config).data[3].model_dump()).train_equations == 97**2 // 2


# Generated documentation


@pytest.mark.parametrize(
    ("data", "chosen"),
    [
        ({1: {"modulo": 5}, 3: {"modulo": 7}}, [1]),
        ({1: {}, 3: {"modulo": 5}}, [1, 3]),
        ({1: {}, 3: {}, 5: {"modulo": 5, "operations": ["add"]}}, [1, 5]),
        ({1: {"modulo": 5, "operations": ["add"]}, 3: {"operations": ["divide"]}}, [1, 3]),
        ({1: {"moduli": [5], "holdout": {"modulo": [5]}}, 3: {"moduli": [3]}}, [1, 3]),
    ],
)
def test_examples_come_from_the_data_versions_that_have_every_kind_of_equation(
    data: dict[int, dict[str, Any]], chosen: list[int]
) -> None:
    config = default(data={number: {"digits": 10, **own} for number, own in data.items()})
    config["run"]["data"], config["overrides"] = list(data), []
    assert load_study(config).data_of_each_kind() == chosen


def test_the_documentation_in_config_is_what_make_docs_writes() -> None:
    stale = "is out of date: run `make docs`"
    written = (CONFIG / "schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == schema(), f"config/schema.json {stale}"
    readme = (CONFIG / "README.md").read_text(encoding="utf-8")
    assert readme.endswith(f"{MARKER}\n\n{reference()}"), f"config/README.md {stale}"


def test_make_docs_keeps_what_people_wrote_above_the_marker(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# Mine\n\n{MARKER}\nold")
    write_documentation(tmp_path)
    assert (tmp_path / "README.md").read_text() == f"# Mine\n\n{MARKER}\n\n{reference()}"
    assert (tmp_path / "schema.json").read_bytes() == (CONFIG / "schema.json").read_bytes()


def test_make_docs_refuses_a_readme_without_the_marker(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    with pytest.raises(ValueError, match=r"README\.md: the line .* is missing"):
        write_documentation(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("name", ["config.yaml", "quick.yaml"])
def test_an_editor_finds_no_fault_in_the_two_studies(name: str) -> None:
    # JSON keys are text.
    config = json.loads(json.dumps(load_configfile(CONFIG / name)))
    jsonschema.validate(config, schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [("modles", {}), ("models.2.d_model", 0), ("run.protocols", ["half"]), ("device", "gpu")],
)
def test_an_editor_finds_the_faults_that_a_schema_can_tell(path: str, value: Any) -> None:
    config = json.loads(json.dumps(changed(path, value)))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, schema())


def test_the_reference_names_every_key_with_its_values() -> None:
    lines = reference().splitlines()
    assert "| `run.seeds` | list of integer ≥ 0 | independent" in reference()
    assert any(line.startswith("| `overrides[].learning_rate` | number > 0") for line in lines)
    assert any("| `data.<version>.modulo` | integer ≥ 2, `null` |" in line for line in lines)


# Faults

PATH_RULE = "= '{}': must be a path of printable characters without {{, }}, < and >; ~ is a home"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("interpretability.equations.1", [], "= []: must have at least one item"),
        ("interpretability.equations.1", "1 + 1", "= '1 + 1': input should be a valid list"),
        (
            "interpretability.equations",
            {7: ["1 + 1"]},
            "= 7: not defined under data, which has [1, 3]",
        ),
        (
            "interpretability.equations.1",
            ["3 + 12 ="],
            "= '3 + 12 =': has the symbol '12'; must have those of its data version: 0 to 9, - and "
            "= =(m) + * /",
        ),
        (
            "interpretability.equations.3",
            ["3 + 4 =(m) 5 2 2"],
            "= '3 + 4 =(m) 5 2 2': has 7 symbols between spaces; must have 1 to 6, as "
            "`3 + 4 =(m) 5 2` has 6",
        ),
        (
            "interpretability.equations.1",
            ["3 + 4 = 7", "3  + 4 = 7"],
            "= '3  + 4 = 7': each equation may stand there once",
        ),
        ("pretrain.batch_size", 0, "= 0: input should be greater than or equal to 1"),
        ("pretrain.batch_size", -1, "= -1: input should be greater than or equal to 1"),
        ("pretrain.batch_size", True, "= True: input should be a valid integer"),
        ("pretrain.batch_size", "32", "= '32': input should be a valid integer"),
        ("pretrain.batch_size", 32.0, "= 32.0: input should be a valid integer"),
        ("pretrain.batch_size", None, "= None: input should be a valid integer"),
        ("pretrain.num_train_epochs", 0, "= 0: input should be greater than or equal to 1"),
        ("pretrain.eval_steps", 0, "= 0: input should be greater than or equal to 1"),
        ("pretrain.num_warmup_steps", -1, "= -1: input should be greater than or equal to 0"),
        ("finetune.learning_rate", 0, "= 0: input should be greater than 0"),
        ("finetune.learning_rate", -5e-4, "= -0.0005: input should be greater than 0"),
        ("finetune.learning_rate", float("nan"), "= nan: input should be a finite number"),
        ("finetune.learning_rate", float("inf"), "= inf: input should be a finite number"),
        ("finetune.learning_rate", True, "= True: input should be a valid number"),
        ("finetune.learning_rate", "fast", "= 'fast': input should be a valid number"),
        ("finetune.learning_rate", "0.1", "= '0.1': input should be a valid number"),
        ("finetune.learning_rate", [1], "= [1]: input should be a valid number"),
        ("finetune.weight_decay", -0.1, "= -0.1: input should be greater than or equal to 0"),
        ("finetune.weight_decay", float("nan"), "= nan: input should be a finite number"),
        ("finetune.shuffle", "no", "= 'no': input should be a valid boolean"),
        ("finetune.shuffle", 0, "= 0: input should be a valid boolean"),
        ("pathvars.results", "a{b}", PATH_RULE.format("a{b}")),
        ("pathvars.results", "<b>", PATH_RULE.format("<b>")),
        ("pathvars.results", "~no_such_user/a", PATH_RULE.format("~no_such_user/a")),
        (
            "figures.reference_curves",
            {"pretrain_1": "a\0"},
            ".pretrain_1 " + PATH_RULE.format("a\\x00"),
        ),
        ("domains.1.file", "{b}.py", PATH_RULE.format("{b}.py")),
        (
            "overrides",
            [{"model": 2}],
            ".0 = {'model': 2}: must set something, such as learning_rate, beside what it matches",
        ),
        (
            "overrides",
            [{"phase": "pretrain", "protocol": "full", "batch_size": 8}],
            ".0.protocol = full: pretraining has none",
        ),
        ("device", "gpu", "= 'gpu': input should be 'auto', 'cpu' or 'cuda'"),
        ("threads", "two", "= 'two': must be auto or an integer from 1 to 64"),
        ("threads", 0, "= 0: must be auto or an integer from 1 to 64"),
        ("threads", 65, "= 65: must be auto or an integer from 1 to 64"),
        ("threads", True, "= True: must be auto or an integer from 1 to 64"),
        ("threads", 1.5, "= 1.5: must be auto or an integer from 1 to 64"),
        ("precision", 32, "= 32: input should be 'fp32', 'tf32', 'bf16' or 'fp64'"),
        ("pathvars.results", "", "= '': string should have at least 1 character"),
        ("pathvars.results", 1, "= 1: input should be a valid string"),
        ("run.seeds", [], "= []: must have at least one item"),
        ("run.seeds", 0, "= 0: input should be a valid list"),
        ("run.seeds", [0, 1, 0], "= [0, 1, 0]: each value may stand there once"),
        ("run.pretrain_seeds", [0, 1], "= [0, 1]: must have one seed for each of seeds = [0]"),
        ("run.pretrain_seeds", [0, -1], ".1 = -1: input should be greater than or equal to 0"),
        ("run.seeds", [-1], ".0 = -1: input should be greater than or equal to 0"),
        ("run.seeds", [0, True], ".1 = True: input should be a valid integer"),
        ("run.models", [2, 2], "= [2, 2]: each value may stand there once"),
        ("run.data", [], "= []: must have at least one item"),
        (
            "run.protocols",
            ["half"],
            ".0 = 'half': input should be 'full', 'frozen', 'scratch' or 'random_frozen'",
        ),
        ("run.seeds", [10**18], f".0 = {10**18}: input should be less than {10**18}"),
        ("run.data", [1, 2], "= 2: not defined under data, which has [1, 3]"),
        ("run.models", [8], "= 8: not defined under models, which has [2, 4, 6]"),
        ("run.domains", [2], "= 2: not defined under domains, which has [1]"),
        ("models.2.num_heads", 7, "= 7: must divide d_model = 128"),
        ("models.2.num_layers", 0, "= 0: input should be greater than or equal to 1"),
        (
            "data.1.modulo",
            11,
            "= 11: must be 2 to digits = 10, since a modulus is written as one symbol",
        ),
        ("data.1.modulo", 1, "= 1: input should be greater than or equal to 2"),
        ("data.1.moduli", [5], "= [5]: must be null where modulo = 5 is given"),
        ("data.1.moduli", [], "= []: must have at least one item"),
        ("data.1.moduli", [1], ".0 = 1: input should be greater than or equal to 2"),
        ("data.1.operations", [], "= []: must have at least one item"),
        ("data.1.operations", ["add", "add"], "= ['add', 'add']: each value may stand there once"),
        (
            "data.1.operations",
            ["power"],
            ".0 = 'power': input should be 'add', 'subtract', 'multiply' or 'divide'",
        ),
        ("data.1.without_modulus", 1, "= 1: input should be a valid boolean"),
        ("data.1.train_share", 1, "= 1: input should be less than 1"),
        ("data.1.train_share", 0.0, "= 0.0: input should be greater than 0"),
        (
            "data.1.train_share",
            0.01,
            "= 0.01: takes none of the 55 equations of add without a modulus; "
            "must take one of each family",
        ),
        ("data.1.split", "even", "= 'even': input should be 'shared' or 'independent'"),
        ("data.1.holdout", "divide", "= 'divide': must be a section with keys of its own"),
        (
            "data.1.holdout",
            {},
            "= {}: must name values of operation or modulo, or be null",
        ),
        (
            "data.1.holdout",
            {"modulo": [6]},
            ".modulo = [6]: must be, each once, among those of this version, 2 to 5",
        ),
        (
            "data.1.holdout",
            {"operation": ["add", "subtract", "multiply", "divide"]},
            "= {'operation': ['add', 'subtract', 'multiply', 'divide']}: "
            "must leave a family to train on",
        ),
        ("data.1.split_seed", 2**32, "= 4294967296: input should be less than 4294967296"),
        (
            "domains.1.labels",
            ["no_zero", "no_zero"],
            "= ['no_zero', 'no_zero']: each value may stand there once",
        ),
        ("domains.1.labels", [], "= []: must have at least one item"),
        (
            "domains.1.labels",
            ["prime"],
            "= 'prime': no such label; did you mean first_even? There are first_odd, first_even, "
            "both_odd, both_even, has_zero, no_zero, answer_odd, answer_zero, carry, modular, "
            "mirror_trained",
        ),
        ("overrides.0.data", 2, "= 2: not defined under data, which has [1, 3]"),
        ("overrides.1.model", 3, "= 3: not defined under models, which has [2, 4, 6]"),
        ("overrides.4.domain", 9, "= 9: not defined under domains, which has [1]"),
        ("overrides.0.phase", "train", "= 'train': input should be 'pretrain' or 'finetune'"),
        ("overrides.0.learning_rate", 0, "= 0: input should be greater than 0"),
        ("overrides.0", None, "= None: must be a section with keys of its own"),
        ("overrides", {}, "= {}: input should be a valid list"),
        (
            "figures.pretrain_colors",
            ["red"],
            ".0 = 'red': string should match pattern '^#[0-9A-Fa-f]{6}$'",
        ),
        ("figures.finetune_colors", [], "= []: must have at least one item"),
        ("figures.colors", "greys", "= 'greys': input should be 'published' or 'accessible'"),
        (
            "figures.reference_curves",
            {"pretrain": "points.csv"},
            ".pretrain = 'pretrain': "
            r"string should match pattern '^(finetune_\d+_)?pretrain_\d+$'",
        ),
        (
            "figures.reference_curves",
            {"pretrain_1": ""},
            ".pretrain_1 = '': string should have at least 1 character",
        ),
    ],
)
def test_a_fault_is_one_line_with_key_value_and_what_is_allowed(
    path: str, value: Any, expected: str
) -> None:
    told = f"config: {path}{'' if expected.startswith('.') else ' '}{expected}"
    assert fault(changed(path, value)) == told


@pytest.mark.parametrize(
    ("key", "value"),
    [("precision", "tf32"), ("execution", "cuda_graph"), ("execution", "compiled_cuda_graph")],
)
def test_what_a_cpu_cannot_do_is_refused(key: str, value: str) -> None:
    said = f"config: {key} = {value!r}: needs a GPU, but device = 'cpu'"
    assert fault(default(device="cpu", **{key: value})) == said
    assert load_study(default(**{key: value})).device == "auto"


def test_a_fault_among_many_versions_is_a_short_line() -> None:
    said = fault(default(models={number: DEFAULT["models"][2] for number in range(100, 9000)}))
    assert said.startswith("config: run.models = 2: not defined under models, which has [100, 10")
    assert len(said) < 120


def test_a_home_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    study = load_study(changed("pathvars.results", "~/study"))
    assert study.pathvars.results == "/home/somebody/study"


def test_a_study_may_do_without_a_grid() -> None:
    assert load_study(without("grid")) == load_study(DEFAULT)


@pytest.mark.parametrize("name", list(DEFAULT))
def test_a_section_left_out_or_left_empty_is_named(name: str) -> None:
    if name != "grid":
        assert fault(without(name)) == f"config: {name}: this key is missing"
    assert fault(default(**{name: None})).startswith(f"config: {name} = None: ")


@pytest.mark.parametrize("key", list(DEFAULT["pretrain"]))
def test_a_missing_training_setting_is_named(key: str) -> None:
    assert fault(without(f"pretrain.{key}")) == f"config: pretrain.{key}: this key is missing"


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("modles", "models"),
        ("override", "overrides"),
        ("run.seed", "seeds"),
        ("pretrain.lr_rate", "learning_rate"),
        ("pretrain.epochs", "num_train_epochs"),
        ("models.2.n_heads", "num_heads"),
        ("data.3.digit", "digits"),
        ("domains.1.label", "labels"),
        ("overrides.0.batchsize", "batch_size"),
        ("figures.pretrain_colours", "pretrain_colors"),
        ("pathvars.result", "results"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(path: str, nearest: str) -> None:
    message = fault(changed(path, 1))
    assert message.startswith(f"config: {path}: unknown key; did you mean {nearest}? Known keys: ")
    assert nearest in message.split("Known keys: ")[1].split(", ")
    assert len(message.splitlines()) == 1


def test_an_unknown_key_of_a_section_that_may_be_null_is_told_too() -> None:
    message = fault(changed("data.3.holdout", {"operations": ["add"]}))
    assert message == (
        "config: data.3.holdout.operations: unknown key; did you mean operation? "
        "Known keys: operation, modulo"
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2", "'2': input should be a valid integer"),
        (-1, "-1: input should be greater than or equal to 0"),
        ("big", "'big': input should be a valid integer"),
    ],
)
def test_a_version_that_is_no_number_is_refused(version: Any, expected: str) -> None:
    config = default()
    config["models"][version] = config["models"][4]
    assert fault(config) == f"config: models.{version} = {expected}"


@pytest.mark.parametrize("key", ["pretrain.num_warmup_steps", "finetune.learning_rate"])
def test_a_number_that_no_computer_word_holds_is_refused(key: str) -> None:
    assert fault(changed(key, 10**400)).startswith(f"config: {key} = 1000000000")


def test_a_value_too_long_for_a_line_is_cut_short() -> None:
    bomb: list[Any] = ["x" * 1000]
    for _ in range(50):  # as an alias of an alias does: 2^50 values in all
        bomb = [bomb, bomb]
    for value in (bomb, "x" * 10**6, {number: "x" for number in range(10**5)}, 2**100_000):
        message = fault(changed("device", value))
        assert message.endswith(": input should be 'auto', 'cpu' or 'cuda'")
        assert len(message) < 400


def test_every_fault_has_a_line_of_its_own() -> None:
    config = changed("pretrain.batch_size", 0)
    config["models"][2]["width"] = 3
    assert [line.split(":")[1] for line in fault(config).splitlines()] == [
        " models.2.width",
        " pretrain.batch_size = 0",
    ]


def test_a_key_that_would_break_the_line_is_told_in_one_line() -> None:
    message = fault(default(**{"mod\nels\u2028": 1}))
    assert message.startswith(r"config: 'mod\nels\u2028': unknown key; did you mean models?")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("written", ["5e-4", "5E-4", "5.e-4", "0.5e-3", "50e-5"])
def test_a_learning_rate_written_with_an_exponent_is_a_number(tmp_path: Path, written: str) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"finetune: {{learning_rate: {written}}}")
    config = default()
    update_config(config, load_configfile(overlay))
    assert load_study(config).finetune.learning_rate == 5e-4


def test_pretraining_alone_needs_no_domains() -> None:
    runs = list(load_study(changed("run.domains", [])).runs())
    assert {run["phase"] for run in runs} == {"pretrain"}


# Overrides


def test_the_last_matching_override_wins() -> None:
    overrides = [
        {"phase": "pretrain", "model": 2, "batch_size": 8, "learning_rate": 0.1},
        {"model": 2, "batch_size": 16},
        {"phase": "finetune", "batch_size": 64},
    ]
    study = load_study(default(overrides=overrides))
    assert study.training("pretrain", 1, 2)["batch_size"] == 16
    assert study.training("pretrain", 1, 2)["learning_rate"] == 0.1
    assert study.training("finetune", 1, 2, 1, "full")["batch_size"] == 64
    assert study.training("pretrain", 1, 4) == study.pretrain.model_dump()
    assert study.training("pretrain", 1, 4).items() >= DEFAULT["pretrain"].items()


def test_an_override_can_set_nothing_where_nothing_is_allowed() -> None:
    study = load_study(default(overrides=[{"model": 2, "max_grad_norm": None}]))
    assert study.training("pretrain", 1, 2)["max_grad_norm"] is None
    assert study.training("pretrain", 1, 4)["max_grad_norm"] == 1.0
    assert load_study(study.used()).used() == study.used()


def test_a_file_adds_labels_of_ones_own_and_is_read_before_any_job(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("raise SystemExit\ndef large(equation):\n    return equation.answer > 5\n")

    def fault_of(**version: Any) -> str:
        with pytest.raises(ConfigError) as error:
            load_study(default(domains={1: version}))
        return str(error.value)

    version = {"labels": ["large", "has_zero"], "file": str(file)}
    assert load_study(default(domains={1: version})).domains[1].labels == ["large", "has_zero"]
    said = fault_of(labels=["larger"], file=str(file))
    assert said.startswith(
        "config: domains.1.labels = 'larger': no such label; did you mean large?"
    )
    said = fault_of(labels=["large"], file="none.py")
    assert said.startswith("config: domains.1.file = none.py: [Errno 2] No such file")
    file.write_text("def has_zero(equation):\n    return True\n")
    assert "has_zero is the name of a built-in label" in fault_of(**version)


def test_a_finetuning_starts_from_a_data_version_that_is_there() -> None:
    study = load_study(default(overrides=[{"phase": "finetune", "data": 3, "finetune_from": 1}]))
    assert study.training("finetune", 3, 2, 1, "full")["finetune_from"] == 1
    with pytest.raises(ConfigError, match=r"config: finetune.finetune_from = 9: not defined under"):
        load_study(default(finetune=DEFAULT["finetune"] | {"finetune_from": 9}))
    with pytest.raises(ConfigError, match=r"config: pretrain.finetune_from = 1: must be null"):
        load_study(default(overrides=[{"finetune_from": 1}]))


def test_a_schedule_without_warmup_gets_none_from_an_override_either() -> None:
    with pytest.raises(ConfigError, match=r"config: pretrain.num_warmup_steps = 1000: must be 0"):
        load_study(default(pretrain=DEFAULT["pretrain"] | {"lr_scheduler_type": "constant"}))
    overrides = [{"data": 3, "lr_scheduler_type": "constant"}]
    said = "config: num_warmup_steps = 1000, by the overrides for phase pretrain data 3 model 2"
    with pytest.raises(ConfigError, match=said):
        load_study(default(overrides=overrides))


def test_an_override_can_set_a_value_to_zero_or_false() -> None:
    overrides = [{"num_warmup_steps": 0, "weight_decay": 0.0, "shuffle": False}]
    config = default(overrides=overrides)
    config["pretrain"]["shuffle"] = True
    found = load_study(config).training("pretrain", 1, 2)
    assert (found["num_warmup_steps"], found["weight_decay"], found["shuffle"]) == (0, 0, False)


@pytest.mark.parametrize(
    ("key", "value", "others"),
    [
        ("phase", "finetune", ["pretrain"]),
        ("data", 1, [3]),
        ("model", 4, [2, 6]),
        ("domain", 1, [None]),
        ("protocol", "frozen", [None, "full"]),
    ],
)
def test_an_override_holds_for_the_runs_that_have_its_key(
    key: str, value: Any, others: list[Any]
) -> None:
    config = default(overrides=[{key: value, "batch_size": 5}])
    config["run"]["protocols"] = ["full", "frozen"]
    runs = list(load_study(config).runs())
    assert {run[key] for run in runs if run["batch_size"] == 5} == {value}
    assert {run[key] for run in runs if run["batch_size"] == 32} == set(others)


# Anything at all


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(["auto", "5e-4", "1e999", "pretrain", "full", 2**70, datetime.date.min])
)


def keys(config: Any) -> Iterator[Any]:
    """Yield all keys of nested sections."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield key
            yield from keys(value)


KEYS = st.sampled_from(sorted(set(keys(DEFAULT)), key=str)) | SCALARS.filter(
    lambda key: key == key  # YAML's .nan cannot be looked up again
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def paths(config: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in nested sections and lists."""
    items: Any = ()
    if isinstance(config, dict):
        items = config.items()
    elif isinstance(config, list):
        items = enumerate(config)
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


PATHS = list(paths(DEFAULT))


def load_or_refuse(config: dict[str, Any]) -> None:
    """Load a configuration: a usable study, or one line for each fault."""
    try:
        study = load_study(config)
    except ConfigError as error:
        lines = str(error).split("\n")
        assert all(line.startswith("config: ") and len(line.splitlines()) == 1 for line in lines)
    else:
        assert all(run["batch_size"] >= 1 for run in study.runs())
        assert study.tables()["seeds"]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(DEFAULT)) | st.text(max_size=5), VALUES))
def test_any_yaml_is_a_study_or_a_configuration_error(config: dict[str, Any]) -> None:
    load_or_refuse(config)


@settings(max_examples=250, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    value=VALUES,
    key=KEYS,
    action=st.sampled_from(["replace", "drop", "add"]),
)
def test_any_one_change_makes_a_study_or_a_configuration_error(
    path: tuple[Any, ...], value: Any, key: Any, action: str
) -> None:
    config = default()
    place: Any = config
    for part in path[:-1]:
        place = place[part]
    if action == "drop":
        del place[path[-1]]
    elif action == "add" and isinstance(place, dict):
        place[key] = value
    else:
        place[path[-1]] = value
    load_or_refuse(config)


def test_reading_a_configuration_imports_nothing_heavy() -> None:
    code = (
        "import sys, gpt_math_domains.study.config\n"
        "heavy = {'torch', 'pandas', 'plotly', 'scipy', 'transformers', 'snakemake'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    scripts = CONFIG.parent / "workflow" / "scripts"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "[]"


def test_what_a_study_uses_is_a_configuration_with_the_same_runs_and_no_more() -> None:
    config = default()
    config["run"] |= {"models": [2], "data": [1]}
    used = load_study(config).used()
    assert (list(used["models"]), list(used["data"])) == ([2], [1])
    assert used["overrides"] == [
        {"phase": "pretrain", "data": 1, "model": 2, "num_train_epochs": 1000, "eval_steps": 1000},
        {"phase": "finetune", "data": 1, "model": 2, "eval_steps": 1000},
    ]
    assert list(load_study(used).runs()) == list(load_study(config).runs())


def test_an_override_that_says_what_holds_already_is_not_used() -> None:
    config = default()
    idle = {"phase": "pretrain", "batch_size": 32}
    assert load_study(config | {"overrides": [*config["overrides"], idle]}).used() == (
        load_study(config).used()
    )
