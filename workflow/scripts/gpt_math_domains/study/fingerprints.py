"""Which code a rule really runs, so that editing it makes outputs stale and a comment does not."""

import hashlib
import re
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# At the beginning of a line, within functions too. To parse a hundred files takes a quarter of a
# second, each time that Snakemake starts.
IMPORT = re.compile(rf"^[ \t]*from {PACKAGE.name}\.([\w.]+) import\b", re.MULTILINE)


@cache
def fingerprint(script: str) -> str:
    """Return a hash of a script, named by its file name, and of the modules that it imports.

    As a parameter of a rule, it makes the outputs stale when any of them changes in more than
    comments and empty lines.
    """
    own = PACKAGE.parent / script
    return _hash([own, *imported_modules(own)], PACKAGE.parent)


def rules_fingerprint() -> str:
    """Return a hash of the workflow's rules."""
    root = PACKAGE.parents[2]
    return _hash([root / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))], root)


def imported_modules(script: Path) -> list[Path]:
    """Return the files of this package that a script imports, directly or not, sorted.

    Files are read, not run, so nothing heavy is imported. Data files that lie beside a module
    and start with its name (templates) belong to it.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for path in _direct_imports(waiting.pop()) - found:
            found.add(path)
            waiting.append(path)
    templates = {
        other for path in found for other in path.parent.glob(f"{path.stem}.*") if other.is_file()
    }
    return sorted(found | templates)


def _hash(paths: Iterable[Path], root: Path) -> str:
    """Return a hash of files and of where they are below a directory."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)}\0{_content_hash(path)}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _content_hash(path: Path) -> str:
    """Return a hash of what a file says: of Python and rules, their tokens without comments."""
    if path.suffix not in (".py", ".smk", ""):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    with path.open(encoding="utf-8") as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                digest.update(f"{token.type} {token.string}\0".encode())
    return digest.hexdigest()


@cache
def _direct_imports(path: Path) -> set[Path]:
    """Return the files of this package that one file imports by `from gpt_math_domains.x.y`."""
    if path.suffix != ".py":
        return set()
    names = set(IMPORT.findall(path.read_text(encoding="utf-8")))
    found = set()
    for name in names:
        module = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        found |= {module, module.parent / "__init__.py"} - {PACKAGE / "__init__.py"}
    return found
