import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt_math_domains.files import atomic_write, read_json, sha256, write_json, write_text

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("mode", "content", "expected"),
    [("w", "3 - 5 = - 2 ≥\r\n\n", "3 - 5 = - 2 ≥\r\n\n".encode()), ("wb", b"\0\xff", b"\0\xff")],
)
def test_a_file_appears_whole_with_the_directories_above_it(
    tmp_path: Path, mode: str, content: str | bytes, expected: bytes
) -> None:
    path = tmp_path / "new" / "deep" / "table.csv"
    with atomic_write(path, mode) as handle:
        handle.write(content)
    assert path.read_bytes() == expected
    assert listing(path.parent) == ["table.csv"]


def test_a_path_may_be_text(tmp_path: Path) -> None:
    write_text(str(tmp_path / "note.txt"), "new")
    assert (tmp_path / "note.txt").read_text() == "new"


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic_write(path) as handle:
        handle.write("half of the new ")
        handle.flush()
        assert path.read_text() == "old"
        handle.write("file")
        assert path.read_text() == "old"
    assert path.read_text() == "half of the new file"


def test_a_reader_beside_a_writer_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    contents = ["a" * 100_000, "b" * 100_000]
    write_text(path, contents[0])
    seen, finished = set(), threading.Event()

    def read() -> None:
        while not finished.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        write_text(path, contents[number % 2])
    finished.set()
    reader.join()
    assert seen
    assert seen <= set(contents)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as handle:
        handle.write("new")
        raise error
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["table.csv"]


def test_a_block_that_raises_makes_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), atomic_write(tmp_path / "table.csv") as handle:
        handle.write("new")
        raise ValueError("broken")
    assert listing(tmp_path) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_umask_leaves(
    tmp_path: Path, mask: int, mode: int
) -> None:
    path = tmp_path / "table.csv"
    before = os.umask(mask)
    try:
        write_text(path, "new")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    write = (
        "import os, signal, sys\n"
        "from gpt_math_domains.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as handle:\n"
        "    handle.write('half')\n"
        "    handle.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "table.csv"
    subprocess.run([sys.executable, "-c", write, str(path)], env={"PYTHONPATH": str(SCRIPTS)})
    assert len(listing(tmp_path)) == 1
    assert not path.exists()

    write_text(path, "whole")
    assert listing(tmp_path) == ["table.csv"]
    assert path.read_text() == "whole"


def test_two_writers_of_one_file_do_not_meet_and_the_last_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    code = (
        "import sys\n"
        "from gpt_math_domains.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as handle:\n"
        "    handle.write('of the other ')\n"
        "    handle.flush()\n"
        "    print('began', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    handle.write('process')\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "began\n"
    write_text(path, "of this process")
    assert path.read_text() == "of this process"
    other.communicate("\n", timeout=60)
    assert other.returncode == 0
    assert path.read_text() == "of the other process"
    assert listing(tmp_path) == ["table.csv"]


def test_a_directory_in_the_place_of_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "table.csv").mkdir()
    (tmp_path / "table.csv" / "other").write_text("kept")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "table.csv", "new")
    assert listing(tmp_path) == ["table.csv"]
    assert (tmp_path / "table.csv" / "other").read_text() == "kept"


def test_a_file_in_the_place_of_the_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("kept")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "data" / "table.csv", "new")
    assert (tmp_path / "data").read_text() == "kept"


@pytest.mark.parametrize(
    "call",
    [
        "write_text('table.csv', 'x' * 100_000)",
        "write_text('table.csv', 'x' * 5_000)",  # fails only when the buffer is flushed
    ],
)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, call: str) -> None:
    (tmp_path / "table.csv").write_text("old")
    code = (
        "import resource\n"
        "from gpt_math_domains.files import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        f"    {call}\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(errno.EFBIG)
    assert (tmp_path / "table.csv").read_text() == "old"
    assert listing(tmp_path) == ["table.csv"]


def test_the_bytes_are_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def record(name: str) -> None:
        real: Callable[..., None] = getattr(os, name)

        def call(*arguments: object) -> None:
            calls.append(name)
            real(*arguments)

        monkeypatch.setattr(os, name, call)

    record("fsync")
    record("replace")
    write_text(tmp_path / "table.csv", "new")
    assert calls == ["fsync", "replace", "fsync"]  # the last one of the directory


def test_json_is_written_for_people_and_the_same_each_time(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"b": [1, 0.1], "a": "≥"})
    text = '{\n  "b": [\n    1,\n    0.1\n  ],\n  "a": "≥"\n}\n'
    assert (tmp_path / "one.json").read_text(encoding="utf-8") == text
    assert json.loads(text) == {"b": [1, 0.1], "a": "≥"}


def test_what_was_written_as_json_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"b": [1, 0.1], "a": "≥"})
    assert read_json(str(tmp_path / "one.json")) == {"b": [1, 0.1], "a": "≥"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "one.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*one\.json: not a JSON file \([^\n]+\)$"):
        read_json(tmp_path / "one.json")


def test_what_json_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "one.json", {"loss": float("nan")})
    assert listing(tmp_path) == []


def test_the_checksum_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"abc")
    assert sha256(path) == hashlib.sha256(b"abc").hexdigest()
    assert sha256(path).startswith("ba7816bf8f01cfea")
