"""The examples of docs/tools.md run as they stand there, on the study that is here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import STUDY

PAGE = Path("docs/tools.md")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
# The study's models know the digits 0 to 4 and the moduli 2 and 3.
HERE = {"results/quick": str(STUDY), "data_1": "data_5", "data/1": "data/5", "=(m) 5": "=(m) 3"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[1])
def test_an_example_runs(example: str, tmp_path: Path) -> None:
    for told, here in HERE.items():
        example = example.replace(told, here)
    script = tmp_path / "example.py"  # nnsight reads the source of its traces
    script.write_text(example)
    environment = {**os.environ, "PYTHONPATH": str(Path("workflow/scripts").resolve())}
    ran = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
