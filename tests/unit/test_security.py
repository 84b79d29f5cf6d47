"""What the code never does: run what it reads, unpickle, or talk to the network."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "workflow" / "scripts").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]

# Modules that unpickle or talk to the network.
MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("socket", "ssl", "ftplib", "smtplib", "telnetlib", "xmlrpc", "urllib", "http"),
    *("requests", "httpx", "aiohttp", "huggingface_hub"),
}
# Functions that run what they are given, or read what may hold code, by the end of their name.
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "importlib.import_module"),
    *("torch.load", "torch.hub.load", "jit.load", "read_pickle", "to_pickle"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"),
}
# The live view listens, on this machine alone: tests/unit/pages/test_watch.py.
LISTENS = {"watch": "http.server"}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}


def dangers(source: str) -> Iterator[str]:
    """Yield what a source text does that this project does not do."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name for name in names if name in CALLS)
        yield from (name for name in names if name.partition(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from call_dangers(node)


def call_dangers(call: ast.Call) -> Iterator[str]:
    """Yield the name of a call that runs code from outside or may do so."""
    name = ast.unparse(call.func)
    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in CALLS or any(name.endswith(f".{end}") for end in CALLS - {"compile"}):
        yield name
    if name in ("yaml.load", "yaml.compose", "yaml.parse"):
        loader = [*map(ast.unparse, call.args[1:2]), *[arguments.get("Loader", "")]]
        if not SAFE_LOADERS.intersection(loader):
            yield name
    for keyword in ("shell", "allow_pickle", "trust_remote_code"):
        if arguments.get(keyword, "False") != "False":
            yield f"{name}({keyword}=...)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_unpickles_runs_what_it_reads_or_uses_the_network(path: Path) -> None:
    found = set(dangers(path.read_text(encoding="utf-8")))
    listens = {name for name in found if name.startswith(LISTENS.get(path.stem, "nothing"))}
    assert found - listens == set()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_rule_calls_a_shell(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if line.strip().startswith(("shell:", "run:"))]
    assert not any(f"{name}(" in text for name in ("eval", "exec", "shell", "__import__"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "import torch, socket",
        "def f():\n    import requests.sessions",
        "torch.load('a')",
        "import torch as t\nt.jit.load('a')",
        "from torch import load\nload('a')",
        "pandas.read_pickle('a')",
        "numpy.load('a', allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "yaml.load(text, yaml.Loader)",
        "yaml.compose(text)",
        "yaml.unsafe_load(text)",
        "eval('1')",
        "builtins.exec('1')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_what_is_dangerous_is_found(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "re.compile('a')",
        "torch.compile(f)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.load(text, yaml.SafeLoader)",
        "yaml.safe_load(text)",
        "numpy.load('a', allow_pickle=False)",
        "safetensors.torch.load_file(path)",
        "model.eval_loss",
    ],
)
def test_what_is_safe_is_let_be(source: str) -> None:
    assert list(dangers(source)) == []
