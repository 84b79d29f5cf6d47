import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.sourcecache import HostingProviderFile, LocalSourceFile


def files_from_forge(rules):
    """Return a directory with the files of a repository at a forge, as they are in git.

    Python imports the package from a directory. Snakemake fetches the files that rules name, one by
    one, and without their last line break, with which they have another fingerprint. The directory
    lies where Snakemake keeps those: of a tag or a commit for good, of a branch while it runs.
    """
    cache, root = workflow.sourcecache, rules.join("../..")
    kept = root.is_persistently_cacheable()
    directory = Path(cache.cache_path if kept else cache.runtime_cache_path)
    directory = directory / "gpt-math-domains" / root.get_cache_path()
    if directory.is_dir():
        return directory
    repository = root.hosted_repo.repo
    fetched = {
        "commit": repository.commit(root.ref).hexsha,
        "dirty": False,
        "reference": root.ref,
        "repository": f"https://{root.host}/{root.repo}",
    }
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        archive, files = Path(temporary) / "files.zip", Path(temporary) / "files"
        with archive.open("wb") as stream:
            repository.archive(stream, fetched["commit"], format="zip")
        shutil.unpack_archive(archive, files)
        # Read by `jobs.record.git_state`.
        note = files / "workflow/scripts/gpt_math_domains/jobs/fetched.json"
        note.write_text(json.dumps(fetched))
        try:
            os.rename(files, directory)
        except OSError:
            if not directory.is_dir():  # it is where another process was faster
                raise
    return directory


def repository_files(rules):
    """Return the directory of this repository."""
    if isinstance(rules, LocalSourceFile):
        return Path(str(rules)).parents[1]
    if isinstance(rules, HostingProviderFile):
        return files_from_forge(rules)
    raise WorkflowError(
        f"{rules}: must be files of a clone, or of github() or gitlab()"
    )


ROOT = repository_files(workflow.current_basedir)
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
