"""The modules declared as inputs of a rule are those that its script loads, and no others."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.imports import PACKAGE, imported_modules

SCRIPTS = sorted(PACKAGE.parent.glob("*.py"))
MODULES = sorted(PACKAGE.glob("*.py"))
TRAINING = [path for path in SCRIPTS if path.stem in ("pretrain_model", "finetune_model")]


def names_of(script: str) -> set[str]:
    """Return the names of the files that a script in `workflow/scripts` is declared to use."""
    return {path.name for path in imported_modules(PACKAGE.parent / script)}


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


def imported_names(path: Path) -> Iterator[str]:
    """Yield the name of each module that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not followed"
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


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
    loaded[script] = [name.partition(".")[2] + ".py" for name in names if "." in name]
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
    declared = {name for name in names_of(script.name) if name.endswith(".py")}
    assert sorted(declared) == sorted(loaded[script.name])


def test_an_edit_of_labels_figures_or_configuration_does_not_retrain() -> None:
    others = {"domains.py", "equations.py", "summary.py", "figures.py", "page.py", "config.py"}
    others |= {"curves.py", "answers.py", "judging.py", "label_curves.py", "heatmaps.py"}
    others |= {"transfer.py", "scale.py", "cost.py", "comparison.py", "images.py"}
    for script in TRAINING:
        modules = names_of(script.name)
        assert {"model.py", "training.py", "tasks.py", "checkpoint.py"} <= modules
        assert not modules & others


def test_the_page_brings_its_template() -> None:
    assert {"page.py", "page.html.jinja", "drawing.js"} <= names_of("write_index.py")
    assert "page.html.jinja" not in names_of("plot_pretrain.py")


def test_modules_are_listed_in_order_and_once() -> None:
    for script in SCRIPTS:
        modules = imported_modules(script)
        assert modules == sorted(set(modules))
        assert all(path.is_file() for path in modules)


def test_modules_imported_inside_functions_count(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def run():\n    from gpt_math_domains.logs import job_log\n")
    assert [path.name for path in imported_modules(script)] == ["logs.py"]


# Which way the modules depend


LIGHT = ["equations", "vocabulary", "domains", "tables", "config", "estimate", "imports", "logs"]
LIGHT += ["gpus", "locks", "memory", "provenance", "stops"]


def test_data_labels_and_configuration_load_neither_torch_nor_pandas() -> None:
    imports = ", ".join(f"gpt_math_domains.{name}" for name in LIGHT)
    loaded = run_python(f"import json, sys, {imports}\nprint(json.dumps(list(sys.modules)))")
    assert {"numpy", "pydantic"} <= set(loaded)
    assert not {"torch", "pandas", "plotly", "scipy", "tokenizers"} & set(loaded)


def test_the_model_knows_nothing_but_torch() -> None:
    outside = {
        name.split(".")[0]
        for name in imported_names(PACKAGE / "model.py")
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert outside == {"torch"}


def test_figures_page_and_summary_know_no_training() -> None:
    plots = sorted(path.name for path in SCRIPTS if path.stem.startswith("plot_"))
    assert len(plots) > 5
    for script in (*plots, "write_index.py", "collect_metrics.py", "compare_reference.py"):
        training = {"training.py", "tasks.py", "model.py", "runs.py", "checkpoint.py"}
        assert not names_of(script) & training
        for name in names_of(script):
            if name.endswith(".py"):
                assert "torch" not in set(imported_names(PACKAGE / name))


@pytest.mark.parametrize("module", MODULES + SCRIPTS, ids=lambda path: path.stem)
def test_nothing_imports_a_script(module: Path) -> None:
    scripts = {path.stem for path in SCRIPTS}
    assert not scripts & {name.split(".")[0] for name in imported_names(module)}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_modules_name_each_other_in_the_way_that_is_followed(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith(PACKAGE.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module != PACKAGE.name
