"""What the code never does: run what it reads, unpickle, or talk to the network.

Ruff looks for it, as pyproject.toml says, and finds it; what it cannot see is looked for here.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "workflow" / "scripts").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]

BAD = [
    # Unpickles, or may.
    "import pickle",
    "import _pickle",
    "import dill",
    "import cloudpickle",
    "from joblib import load",
    "import shelve",
    "import marshal",
    "import torch\ntorch.load('a')",
    "import torch as t\nt.jit.load('a')",
    "from torch import load\nload('a')",
    "import torch.hub",
    "import pandas\npandas.read_pickle('a')",
    "import numpy as np\nnp.load('a', allow_pickle=True)",
    # Runs what it reads, or may.
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
    "import yaml\nyaml.load(text, yaml.Loader)",
    "import yaml\nyaml.load_all(text)",
    "import yaml\nyaml.full_load(text)",
    "import yaml\nyaml.unsafe_load(text)",
    "import yaml\nyaml.compose(text)",
    "import yaml\nyaml.parse(text)",
    "eval('1')",
    "exec('1')",
    "import builtins\nbuiltins.exec('1')",
    "from importlib import import_module",
    "import os\nos.system('ls')",
    "import os\nos.popen('ls')",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    # Uses the network.
    "import torch, socket",
    "import ssl",
    "from urllib.request import urlopen",
    "def f():\n    import requests.sessions",
    "import http.client",
    "from http.server import ThreadingHTTPServer",
    "import xmlrpc.client",
    "import ftplib",
    "import smtplib",
    "import telnetlib",
    "import httpx",
    "import aiohttp",
    "from huggingface_hub import snapshot_download",
]
SAFE = [
    "import re\nre.compile('a')",
    "import torch\ntorch.compile(f)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "import yaml\nyaml.load(text, yaml.SafeLoader)",
    "import yaml\nyaml.safe_load(text)",
    "from safetensors.torch import load_file\nload_file(path)",
    "from importlib.metadata import version",
    "model.eval_loss",
    "model.eval()",
]
# What ruff does not know.
UNSEEN = re.compile(r"(?<![\w.])(compile|__import__)\(|\bto_pickle\(|\btrust_remote_code\b")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return those of the examples in which ruff finds something of this kind."""
    directory = tmp_path_factory.mktemp("examples")
    examples = {f"example_{number}.py": source for number, source in enumerate(BAD + SAFE)}
    for name, source in examples.items():
        (directory / name).write_text(f"{source}\n")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    options = ["--config", str(ROOT / "pyproject.toml"), "--select", "S,TID251", str(directory)]
    said = subprocess.run([*command, *options], capture_output=True, text=True).stdout
    return {examples[name] for name in re.findall(r"(example_\d+\.py):\d+:\d+: ", said)}


@pytest.mark.parametrize("source", BAD)
def test_what_is_dangerous_is_found(source: str, found: set[str]) -> None:
    assert source in found


@pytest.mark.parametrize("source", SAFE)
def test_what_is_safe_is_let_be(source: str, found: set[str]) -> None:
    assert source not in found
    assert not UNSEEN.search(source)


@pytest.mark.parametrize(
    "source",
    [
        "compile('1', 'a', 'exec')",
        "__import__('os')",
        "table.to_pickle('a')",
        "AutoModel.from_pretrained('a', trust_remote_code=True)",
    ],
)
def test_what_ruff_does_not_see_is_found_too(source: str) -> None:
    assert UNSEEN.search(source)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_source_does_what_ruff_does_not_see(path: Path) -> None:
    assert not UNSEEN.search(path.read_text(encoding="utf-8"))


def test_ruff_is_told_to_pass_over_this_and_no_more() -> None:
    passed = {
        (path.stem, code)
        for path in SOURCES
        for codes in re.findall(r"# noqa: ([\w, ]+)", path.read_text(encoding="utf-8"))
        for code in re.findall(r"\b(?:S|TID)\d+", codes)
    }
    assert passed == {
        ("watch", "TID251"),  # http.server, which listens on this machine alone
        ("layers", "TID251"),  # yaml.compose, with a safe loader
        ("drawing", "S704"),  # HTML of a figure's JSON, and of our own script
        ("gpus", "S108"),  # locks in /tmp
        *(("gpus", "S607"), ("record", "S607"), ("record", "S603")),  # nvidia-smi and git
        ("rules", "S603"),  # Snakemake
    }


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_rule_calls_a_shell(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if line.strip().startswith(("shell:", "run:"))]
    assert not any(f"{name}(" in text for name in ("eval", "exec", "shell", "__import__"))
