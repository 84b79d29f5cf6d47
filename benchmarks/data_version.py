"""How long a large data version takes on one core, and how much memory.

Run `python benchmarks/data_version.py`. It generates the version with 300 digit symbols
and moduli 2 to 20 (about 7 million equations) in a temporary directory, in a child process
pinned to one core, and writes `benchmarks/results/data_version.csv`. Seconds are wall time
of the whole child process; the memory is its peak resident set.
"""

import csv
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from gpt_math_domains.files import atomic_write
from gpt_math_domains.jobs.record import cpu_name

DIGITS, MODULO = 300, 20
CHILD = f"""
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
sys.path.insert(0, sys.argv[1])
from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.settings import DataSettings
names = ("train.csv", "valid.csv", "vocabulary.json", "manifest.json")
generate_equations(DataSettings({DIGITS}, {MODULO}), **{{Path(n).stem: Path(n) for n in names}})
"""


def main() -> None:
    """Measure once, print the figures and write them down."""
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", CHILD, sys.path[0]], cwd=directory, check=True)
        seconds = time.perf_counter() - start
        peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        manifest = json.loads((Path(directory) / "manifest.json").read_text())
        figures = {
            "digits": DIGITS,
            "modulo": MODULO,
            "equations": manifest["counts"]["total"],
            "bytes": sum(file.stat().st_size for file in Path(directory).iterdir()),
            "seconds": round(seconds, 2),
            "peak_rss_mib": round(peak_kib / 1024),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "cpu": cpu_name(),
        }
    for name, value in figures.items():
        print(f"{name}: {value}")
    with atomic_write(ROOT / "benchmarks" / "results" / "data_version.csv") as handle:
        table = csv.DictWriter(handle, figures, lineterminator="\n")
        table.writeheader()
        table.writerow(figures)


if __name__ == "__main__":
    main()
