"""Which modules of this package a script really uses, so that editing one makes outputs stale."""

import ast
import hashlib
import tokenize
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def fingerprint(script: str) -> str:
    """Return a hash of a script, named by its file name, and of the modules that it imports.

    As a parameter of a rule, it makes the outputs stale when the text of any of them changes.
    """
    digest = hashlib.sha256()
    own = PACKAGE.parent / script
    for path in [own, *imported_modules(own)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def rules_fingerprint() -> str:
    """Return a hash of the workflow's rules that comments and empty lines do not change."""
    root = PACKAGE.parents[2]
    digest = hashlib.sha256()
    for path in [root / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))]:
        with path.open(encoding="utf-8") as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type not in (tokenize.COMMENT, tokenize.NL):
                    digest.update(f"{token.type} {token.string}\0".encode())
    return digest.hexdigest()[:16]


def imported_modules(script: Path) -> list[Path]:
    """Return the files of this package that a script imports, directly or not, sorted.

    Files are parsed, not run, so nothing heavy is imported. Data files that lie beside a module
    and start with its name (templates) belong to it.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for path in _direct_imports(waiting.pop()) - found:
            found.add(path)
            waiting.append(path)
    templates = {
        other for path in found for other in PACKAGE.glob(f"{path.stem}.*") if other.is_file()
    }
    return sorted(found | templates)


@cache
def _direct_imports(path: Path) -> set[Path]:
    """Return the files of this package that one file imports by `from gpt_math_domains.x`."""
    if path.suffix != ".py":
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    modules = {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE.name}.")}
    return {PACKAGE / f"{module}.py" for module in modules}
