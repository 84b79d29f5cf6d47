"""The modules declared as inputs of a rule are those that its script loads, and no others."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.study import fingerprints
from gpt_math_domains.study.fingerprints import PACKAGE, imported_modules

SCRIPTS = sorted(PACKAGE.parent.glob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
TRAINING = [path for path in SCRIPTS if path.stem in ("pretrain_model", "finetune_model")]


def names_of(script: str) -> set[str]:
    """Return the files below the package that a script in `workflow/scripts` is found to use."""
    modules = imported_modules(PACKAGE.parent / script)
    return {str(path.relative_to(PACKAGE)) for path in modules}


def run_python(code: str) -> Any:
    """Return the JSON that some code prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def executed_imports(script: Path) -> str:
    """Return the import statements that a script executes: not those for type checkers."""
    blocks = [ast.parse(script.read_text(encoding="utf-8")).body]
    blocks += [node.body for node in blocks[0] if isinstance(node, ast.With)]
    imports = [
        node for body in blocks for node in body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return "\n".join(map(ast.unparse, imports))


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Return the package's modules that Python loads for each script, by the script's name."""
    imports = {script.name: executed_imports(script) for script in SCRIPTS}
    # One interpreter for all, which forgets the package each time: loading torch takes seconds.
    code = f"""
import json, sys
loaded = {{}}
for script, imports in {imports!r}.items():
    exec(imports)
    names = [name for name in sys.modules if name.partition(".")[0] == "gpt_math_domains"]
    loaded[script] = [sys.modules[name].__file__ for name in names if "." in name]
    for name in names:
        del sys.modules[name]
print(json.dumps(loaded))
"""
    found: dict[str, list[str]] = run_python(code)
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_scripts_declared_modules_are_those_that_python_loads(
    script: Path, loaded: dict[str, list[str]]
) -> None:
    declared = [str(path) for path in imported_modules(script) if path.suffix == ".py"]
    assert declared == sorted(loaded[script.name])


def test_an_edit_of_labels_figures_or_configuration_does_not_retrain() -> None:
    others = {"data/labels.py", "data/equations.py", "results/summary.py", "results/answers.py"}
    for script in TRAINING:
        modules = names_of(script.name)
        assert {f"training/{name}.py" for name in ("model", "stack", "tasks")} <= modules
        assert not modules & others
        assert {"figures", "pages", "study"}.isdisjoint(name.split("/")[0] for name in modules)


def test_the_page_brings_its_template() -> None:
    brought = {"pages/index.html.jinja", "pages/parts.css", "figures/drawing.js"}
    assert brought | {"pages/index.py"} <= names_of("write_index.py")
    assert "pages/index.html.jinja" not in names_of("plot_curves.py")


def test_modules_are_listed_in_order_and_once() -> None:
    for script in SCRIPTS:
        modules = imported_modules(script)
        assert modules == sorted(set(modules))
        assert all(path.is_file() for path in modules)


def test_modules_imported_inside_functions_count(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def run():\n    from gpt_math_domains.jobs.logs import job_log\n")
    found = [path.relative_to(PACKAGE) for path in imported_modules(script)]
    assert found == [Path(f"jobs/{name}.py") for name in ("__init__", "logs", "stops")]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_name_each_other_in_the_way_that_is_followed(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith(PACKAGE.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            name = (node.module or "").split(".")
            if name[0] == PACKAGE.name:
                assert PACKAGE.joinpath(*name[1:]).with_suffix(".py").is_file()


# What is loaded where


def loaded_by(*modules: str) -> set[str]:
    """Return the outermost names of all that Python loads for some modules of the package."""
    imports = ", ".join(f"gpt_math_domains.{name}" for name in modules)
    code = f"import json, sys, {imports}\nprint(json.dumps(list(sys.modules)))"
    return {name.partition(".")[0] for name in run_python(code)}


def test_building_the_job_graph_loads_neither_torch_nor_pandas() -> None:
    modules = ["study.config", "study.estimate", "study.fingerprints", "study.locks", "jobs.stops"]
    loaded = loaded_by(*modules)
    assert {"numpy", "pydantic"} <= loaded
    assert not {"torch", "pandas", "plotly", "scipy", "tokenizers"} & loaded


def test_runs_and_files_need_the_standard_library_alone() -> None:
    outside = loaded_by("run", "files") - sys.stdlib_module_names - {PACKAGE.name}
    assert not {"numpy", "pandas", "torch", "pydantic", "yaml"} & outside


def test_a_table_of_results_loads_no_plotly() -> None:
    loaded = loaded_by("results.reference", "results.summary", "results.findings")
    assert "pandas" in loaded
    assert not {"plotly", "torch"} & loaded


def test_the_live_view_loads_no_torch() -> None:
    loaded = loaded_by("pages.watch")
    assert {"plotly", "jinja2"} <= loaded
    assert "torch" not in loaded


# What a fingerprint tells


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the scripts and the package, to be changed, whose fingerprints are asked for."""
    shutil.copytree(PACKAGE.parent, tmp_path / "scripts")
    monkeypatch.setattr(fingerprints, "PACKAGE", tmp_path / "scripts" / PACKAGE.name)
    return tmp_path / "scripts"


def fresh_fingerprint(script: str) -> str:
    for cached in (fingerprints.fingerprint, fingerprints._content_hash):
        cached.cache_clear()
    fingerprints._direct_imports.cache_clear()
    return fingerprints.fingerprint(script)


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("import csv\n", "# why\n\nimport csv  # and why not\n\n", False),
        ("import csv\n", "import csv\nimport json\n", True),
        ("30 * len(jobs)", "31 * len(jobs)", True),
        ("30 * len(jobs)", "30*len(jobs)", False),
        ('"Jobs"', "'Jobs'", True),
    ],
    ids=["comments", "an import", "a number", "blanks", "quotes"],
)
def test_a_fingerprint_changes_with_the_tokens_of_a_module(
    copied: Path, old: str, new: str, differs: bool
) -> None:
    before = fresh_fingerprint("plot_timeline.py")
    module = copied / "gpt_math_domains" / "figures" / "timeline.py"
    text = module.read_text(encoding="utf-8")
    assert old in text
    module.write_text(text.replace(old, new), encoding="utf-8")
    assert (fresh_fingerprint("plot_timeline.py") != before) == differs


def test_a_fingerprint_changes_when_code_moves_to_another_wing(copied: Path) -> None:
    before = fresh_fingerprint("plot_timeline.py")
    package = copied / "gpt_math_domains"
    (package / "figures" / "timeline.py").rename(package / "pages" / "timeline.py")
    script = copied / "plot_timeline.py"
    script.write_text(script.read_text().replace("figures.timeline", "pages.timeline"))
    assert fresh_fingerprint("plot_timeline.py") != before
