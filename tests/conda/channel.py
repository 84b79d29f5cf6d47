"""Packs this machine's CPython and installed packages into a conda channel on disk.

What they pack is what pip installed from wheels, under the names that conda-forge gives to it.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler.index import index_fs
from rattler_build import assemble_package

SUBDIR = "linux-64"
LIBRARY = Path("lib", "python{}.{}".format(*sys.version_info))
# Where conda-forge has another name.
PIP_NAMES = {"pytorch": "torch", "python-igraph": "igraph", "python-kaleido": "kaleido"}
CONDA_NAMES = {pip: conda for conda, pip in PIP_NAMES.items()}
# Parts of CPython that no rule needs.
LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3"),
    *("ensurepip", "config-*", "__pycache__", "*.a"),
)


def make_channel(directory: Path, names: Iterable[str]) -> str:
    """Write a channel that has Python, some conda packages and all that they need.

    Returns:
        Its address.
    """
    (directory / "noarch").mkdir(parents=True)
    pack_python(directory)
    waiting, packed = list(names), {"python"}
    while waiting:
        name = waiting.pop()
        if name not in packed:
            packed.add(name)
            waiting += pack(directory, name)
    asyncio.run(index_fs(directory))
    return directory.as_uri()


def link(source: str | Path, target: str | Path) -> None:
    """Put a file that stays as it is at another place, without a copy where that can be."""
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def write_package(
    channel: Path, stage: Path, name: str, version: str, build: str, depends: Iterable[str]
) -> None:
    """Write one package of what is staged."""
    assemble_package(
        name,
        version,
        SUBDIR,
        build,
        channel / SUBDIR,
        files_dir=stage,
        depends=sorted(depends),
        compression_level=1,
        detect_prefix=False,
    )


def pack_python(channel: Path) -> None:
    """Pack the interpreter so that it finds its own library, wherever it is linked to."""
    base, name = Path(sys.base_prefix), LIBRARY.name
    with TemporaryDirectory(dir=channel) as temporary:
        stage = Path(temporary)
        shutil.copytree(
            base / LIBRARY, stage / LIBRARY, symlinks=True, ignore=LEFT_OUT, copy_function=link
        )
        (stage / LIBRARY / "site-packages").mkdir()
        (stage / LIBRARY / "site-packages" / "README.txt").write_text("Packages go here.\n")
        (stage / "bin").mkdir()
        shutil.copy2(base / "bin" / name, stage / "bin")
        for alias in ("python", "python3"):
            (stage / "bin" / alias).symlink_to(name)
        for shared in (base / "lib").glob(f"lib{name}*.so*"):
            shutil.copy2(shared, stage / "lib", follow_symlinks=False)
        relative = ["--set-rpath", "$ORIGIN/../lib", str(stage / "bin" / name)]
        subprocess.run(["patchelf", *relative], check=True)
        version = "{}.{}.{}".format(*sys.version_info)
        write_package(channel, stage, "python", version, "local_0", [])


def pack(channel: Path, name: str) -> list[str]:
    """Pack an installed package; return the conda names of those that it needs."""
    installed = distribution(PIP_NAMES.get(name, name))
    version, _, variant = installed.version.partition("+")
    needed = dict(requirements(installed))
    python = "python {}.{}.*".format(*sys.version_info)
    with TemporaryDirectory(dir=channel) as temporary:
        stage = Path(temporary)
        for file in installed.files or []:
            source = Path(str(installed.locate_file(file)))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue  # commands, which no rule calls, and caches
            target = stage / LIBRARY / "site-packages" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            link(source, target)
        (info,) = (stage / LIBRARY / "site-packages").glob("*.dist-info")
        (info / "INSTALLER").unlink()
        (info / "INSTALLER").write_text("conda\n")
        write_package(
            channel,
            stage,
            name,
            version,
            f"{variant or 'py'}_0",
            [python, *(f"{key} {versions}".strip() for key, versions in needed.items())],
        )
    return list(needed)


def requirements(installed: Distribution) -> Iterable[tuple[str, str]]:
    """Yield the conda names and versions of what a package needs on this machine."""
    for text in installed.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            name = canonicalize_name(requirement.name)
            yield CONDA_NAMES.get(name, name), str(requirement.specifier)
