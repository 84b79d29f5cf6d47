"""A forge on this machine: what is asked of GitHub or GitLab comes from a directory."""

import os
import subprocess
from pathlib import Path

from study import Repository

NAME = "somebody/gpt-math-domains"
TAG = "v1.2.3"


class Forge:
    """A forge with a repository of its own, and a home in which nothing was fetched from it yet.

    Attributes:
        repository: the directory of its repository, which has no work tree.
        environment: variables with which git asks this forge, and Snakemake keeps what it fetched
            in the home.
        commit: what the tag and the branch `main` name.
    """

    def __init__(self, directory: Path, files: Repository) -> None:
        self.repository = directory / "forge" / NAME
        self.home = directory / "home"
        self.home.mkdir()
        instead = f"url.file://{directory}/forge/.insteadOf"
        self.environment = {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **dict.fromkeys(("GITHUB_TOKEN", "GITLAB_TOKEN"), ""),  # would stand in the address
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "2",
            **dict.fromkeys(("GIT_CONFIG_KEY_0", "GIT_CONFIG_KEY_1"), instead),
            "GIT_CONFIG_VALUE_0": "https://github.com/",
            "GIT_CONFIG_VALUE_1": "https://gitlab.com/",
            **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "somebody"),
            **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "somebody@example.org"),
        }
        self.repository.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main")
        self.commit = self.publish(files)
        self._git("tag", TAG)

    def publish(self, files: Repository) -> str:
        """Make the files of a directory the newest commit of `main`; return it."""
        tree = ("--work-tree", str(files.directory))
        self._git(*tree, "add", "--all")
        self._git(*tree, "commit", "--quiet", "--message", "All")
        return self._git("rev-parse", "HEAD")

    def close(self) -> None:
        """Be out of reach from now on."""
        self.repository.rename(self.repository.with_name("closed"))

    def _git(self, *arguments: str) -> str:
        ran = subprocess.run(
            ["git", "--git-dir", str(self.repository), *arguments],
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return ran.stdout.strip()
