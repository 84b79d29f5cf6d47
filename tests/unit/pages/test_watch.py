import http.client  # noqa: TID251 - asks the server of the live view
import json
import os
import re
import socket  # noqa: TID251 - asks it badly
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.__main__ import main
from gpt_math_domains.files import write_json
from gpt_math_domains.pages import watch
from gpt_math_domains.pages.watch import live_page, look, progress_of, serve
from gpt_math_domains.results.metrics import write_metrics
from gpt_math_domains.run import run_at
from gpt_math_domains.study.layers import read_study
from metric_rows import evaluation, row

NOW = 1_800_000_000.0
RUN = {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None}
RECORD = {
    "run": RUN,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
    "git": None,
    **{key: "known" for key in ("device", "precision", "execution", "threads", "code")},
}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a study of two models runs; the results are in `out`."""
    monkeypatch.chdir(tmp_path)
    overlay = "pathvars: {results: out}\nrun: {data: [1], models: [2, 4], domains: []}\n"
    (tmp_path / "mine.yaml").write_text(overlay)
    return tmp_path / "out" / "pretrain" / "data_1"


def told(ago: float = 5.0, step: int = 100) -> dict[str, Any]:
    """Return what a running training tells."""
    told = evaluation(100, accuracy=[0.25, 0.75], seconds=9.0)
    return {
        "run": RUN,
        "seeds": [0, 1],
        "step": step,
        "total_steps": 1100,
        "steps_per_second": 20.0,
        "time": NOW - ago,
        "evaluations": [asdict(told)],
    }


def finish(directory: Path) -> None:
    """Leave what a finished run leaves."""
    place = run_at(directory)
    assert place is not None
    model, point = place["model"], place["point"]
    rows = [row(seed=seed, step=step, model=model) for seed in (0, 1) for step in (41, 82)]
    write_metrics(rows, "pretrain", directory / "metrics.csv")
    record = RECORD | {"run": RUN | {"model": model}, "point": point}
    write_json(directory / "run.json", record)


def test_a_run_waits_then_runs_then_falls_silent_then_is_done(directory: Path) -> None:
    study = read_study(["mine.yaml"])
    progress = directory / "model_2" / "resume" / "progress.json"

    def state() -> str:
        return look(study, NOW)[0].state

    assert state() == "waiting"
    write_json(progress, told() | {"evaluations": []})  # before its first
    assert state() == "running"
    write_json(progress, told())
    assert state() == "running"
    write_json(progress, told(ago=600))
    assert state() == "silent"
    finish(directory / "model_2")
    assert state() == "done"
    assert look(study, NOW)[1].state == "waiting"


def test_a_running_run_tells_its_speed_and_the_time_left(directory: Path) -> None:
    write_json(directory / "model_2" / "resume" / "progress.json", told())
    shown = look(read_study(["mine.yaml"]), NOW)[0].row(NOW)
    assert (shown["step"], shown["steps"], shown["steps/s"]) == ("100", "1,100", "20.0")
    assert shown["time left"] == "50 s"
    assert shown["share"] == pytest.approx(100 / 1100)


def test_the_page_draws_runs_that_go_on_and_concludes_from_those_that_ended(
    directory: Path,
) -> None:
    write_json(directory / "model_2" / "resume" / "progress.json", told())
    finish(directory / "model_4")
    page = live_page(read_study(["mine.yaml"]), "mine", NOW)
    assert "2 runs: 1 done, 1 running." in page
    assert "model 2: 0.5 at 100; model 4: 0.5 at 41, 0.5 at 82" in page
    assert page.count("pretrain, data 1: 1 run, math_acc 0.500") == 1  # a table of the summary


ERROR = """12:00:00  34 training examples, seeds [0, 1], on cpu
Traceback (most recent call last):
  File "runs.py", line 1, in pretrain_model
FloatingPointError: seed 0 diverged: its <eval> loss is nan at step 1
"""


def write_log(directory: Path, model: int, text: str) -> None:
    log = directory.parents[1] / "logs" / "pretrain" / "data_1" / f"model_{model}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)


def test_a_run_whose_log_ends_with_an_error_has_failed_and_is_told_with_its_end(
    directory: Path,
) -> None:
    write_json(directory / "model_2" / "resume" / "progress.json", told())
    write_log(directory, 2, ERROR)
    page = live_page(read_study(["mine.yaml"]), "mine", NOW)
    assert "2 runs: 1 failed, 1 waiting." in page
    assert "Failed: pretrain data 1 model 2." in page
    assert "its &lt;eval&gt; loss is nan at step 1</pre>" in page


@pytest.mark.parametrize(
    ("log", "state"),
    [
        ("12:00:00  executor eager\n", "running"),
        (f"{ERROR}12:00:05  executor eager\n", "running"),  # it could do without what failed
    ],
)
def test_a_log_that_goes_on_is_no_failure(directory: Path, log: str, state: str) -> None:
    write_json(directory / "model_2" / "resume" / "progress.json", told())
    write_log(directory, 2, log)
    assert look(read_study(["mine.yaml"]), NOW)[0].state == state


def test_a_run_that_is_done_has_not_failed_whatever_its_log_says(directory: Path) -> None:
    finish(directory / "model_2")
    write_log(directory, 2, ERROR)
    assert look(read_study(["mine.yaml"]), NOW)[0].state == "done"


def test_the_time_left_goes_by_the_estimate_then_by_the_speeds_so_far(directory: Path) -> None:
    study = read_study(["mine.yaml"])
    small, large = ("pretrain/data_1/model_2", "pretrain/data_1/model_4")
    expected = {small: 100.0, large: 300.0}

    def left() -> tuple[float, str]:
        return progress_of(look(study, NOW), expected)

    assert left() == (
        0.0,
        "No training runs; one after the other take 6 min 40 s, by the estimate for a CPU core.",
    )
    half = told(step=550) | {"steps_per_second": 5.5}  # 200 s for all, twice the estimate
    write_json(directory / "model_2" / "resume" / "progress.json", half)
    done, words = left()
    assert done == pytest.approx(50 / 400)
    assert words == "About 11 min 40 s left with one training at a time, by the speeds so far."
    write_json(directory / "model_4" / "resume" / "progress.json", half)
    assert left()[1] == "About 1 min 40 s left with 2 trainings at a time, by the speeds so far."
    for model in (2, 4):
        finish(directory / f"model_{model}")
    assert left() == (1.0, "All runs are done; figures and tables follow.")


def test_a_baseline_that_is_there_is_drawn_and_stands_in_the_verdict(directory: Path) -> None:
    finish(directory / "model_4")
    table = directory.parents[1] / "data" / "1" / "baselines.csv"
    table.parent.mkdir(parents=True)
    study = read_study(["mine.yaml"])
    assert "baseline 0.310" not in live_page(study, "mine", NOW)
    columns = "phase,data,domain,operation,modulo,label,answer,equations,accuracy,train_accuracy"
    table.write_text(f"{columns}\npretrain,1,,,,,,100,0.31,0.3\n")
    page = live_page(study, "mine", NOW)
    assert '"baseline 0.310"' in page
    assert "against 0.310 on data 1" in page


def test_the_live_view_needs_no_torch() -> None:
    code = "import sys, gpt_math_domains.pages.watch; assert 'torch' not in sys.modules"
    scripts = Path(watch.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(scripts)}, check=True)


def test_runs_at_points_of_a_grid_are_counted_and_stand_in_the_progress(
    directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text("grid: {pretrain.weight_decay: [0.1, 1]}\n")
    point = tmp_path / "out" / "grid" / "pretrain.weight_decay~1" / "pretrain" / "data_1"
    finish(point / "model_2")
    write_json(point / "model_4" / "resume" / "progress.json", told())
    page = live_page(read_study(["mine.yaml", "grid.yaml"]), "mine", NOW)
    assert "4 runs: 1 done, 1 running, 2 waiting." in page
    assert page.count(">pretrain.weight_decay 1</td>") == 3  # in progress twice, once in provenance
    assert ">math_acc</td>" not in page  # the study's own have not ended


def telling(**changes: Any) -> bytes:
    return json.dumps(told() | changes).encode()


def judging(**changes: Any) -> bytes:
    return telling(evaluations=[told()["evaluations"][0] | changes])


ODD = {
    "nothing": b"",
    "half": telling()[:100],
    "no text": b"\xff\xfe",
    "too deep": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "a word": b'"running"',
    "one key": b'{"time": 1}',
    "time in words": telling(time="now"),
    "time null": telling(time=None),
    "time NaN": telling(time=float("nan")),
    "step in words": telling(step="100"),
    "step null": telling(step=None),
    "step a fraction": telling(step=1.5),
    "step below 0": telling(step=-1),
    "step beyond the end": telling(step=2000),
    "step huge": telling(step=10**400),
    "total in words": telling(total_steps="many"),
    "total 0": telling(total_steps=0),
    "total a list": telling(total_steps=[1100]),
    "speed in words": telling(steps_per_second="fast"),
    "speed infinite": telling(steps_per_second=float("inf")),
    "speed below 0": telling(steps_per_second=-20.0),
    "speed next to nothing": telling(steps_per_second=1e-308),
    "seeds a number": telling(seeds=2),
    "seeds none": telling(seeds=[]),
    "seeds twice": telling(seeds=[0, 0]),
    "seeds in words": telling(seeds=["a", "b"]),
    "one seed of two": telling(seeds=[0]),
    "evaluations null": telling(evaluations=None),
    "evaluations of numbers": telling(evaluations=[1]),
    "an evaluation of other keys": telling(evaluations=[{"loss": 1}]),
    "an evaluation twice": telling(evaluations=told()["evaluations"] * 2),
    "an evaluation to come": judging(step=1200),
    "accuracy in words": judging(accuracy=["good", "bad"]),
    "accuracy a number": judging(accuracy=0.5),
    "accuracy above 1": judging(accuracy=[0.5, 7.0]),
    "loss NaN": judging(eval_loss=[0.5, float("nan")]),
    "loss null": judging(train_loss=[None, None]),
    "epoch in words": judging(epoch="first"),
    "parts a number": judging(part_accuracy=1.0),
    "parts of another number": judging(part_accuracy=[[0.5], [0.5, 0.5]]),
}


@pytest.mark.parametrize("damage", ODD.values(), ids=ODD.keys())
def test_a_file_that_cannot_be_read_is_told_of_its_run_alone(
    directory: Path, damage: bytes
) -> None:
    progress = directory / "model_2" / "resume" / "progress.json"
    progress.parent.mkdir(parents=True)
    progress.write_bytes(damage)
    finish(directory / "model_4")
    study = read_study(["mine.yaml"])
    states = [seen.state for seen in look(study, NOW)]
    assert states[0].startswith("unreadable: ")
    assert len(states[0].splitlines()) == 1
    assert states[1] == "done"
    page = live_page(study, "mine", NOW)
    assert page.count(">unreadable: ") == 1
    assert "model 4: 0.5 at 41, 0.5 at 82" in page


def be_a_pipe(path: Path) -> None:
    os.mkfifo(path)


def be_a_directory(path: Path) -> None:
    path.mkdir()


def lead_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("become", [be_a_pipe, be_a_directory, lead_to_itself])
def test_what_is_no_file_is_told_of_its_run_alone(
    directory: Path, become: Callable[[Path], None]
) -> None:
    progress = directory / "model_2" / "resume" / "progress.json"
    progress.parent.mkdir(parents=True)
    become(progress)
    state = look(read_study(["mine.yaml"]), NOW)[0].state
    assert state.startswith("unreadable: ")


@pytest.mark.parametrize(
    "record",
    ["", "[]", '{"run": 1}', json.dumps(RECORD | {"git": 7})],
)
def test_an_odd_record_is_told_of_its_run_alone(directory: Path, record: str) -> None:
    for model in (2, 4):
        finish(directory / f"model_{model}")
    (directory / "model_2" / "run.json").write_text(record)
    page = live_page(read_study(["mine.yaml"]), "mine", NOW)
    assert page.count(">unreadable: ") == 1
    assert "1 done" in page


def test_before_a_run_is_done_a_table_without_rows_is_a_line(directory: Path) -> None:
    page = live_page(read_study(["mine.yaml"]), "mine", NOW)
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert tables
    assert all("<td" in table for table in tables)


@pytest.fixture
def port(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port at which the study's page is served."""
    monkeypatch.setattr(watch, "REQUEST_SECONDS", 1.0)
    with serve(read_study(["mine.yaml"]), "mine", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert server.server_address[0] == "127.0.0.1"
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    response = connection.getresponse()
    return response.status, response.read()


def test_the_server_shows_the_page_and_what_it_needs_and_nothing_else(
    directory: Path, port: int
) -> None:
    before = sorted(Path.cwd().rglob("*"))
    status, page = get(port, "/")
    assert (status, b"2 runs: 2 waiting" in page) == (200, True)
    status, script = get(port, "/plots/plotly.min.js")
    assert (status, script.startswith(b"/**\n* plotly.js")) == (200, True)
    for path in ("/mine.yaml", "/../mine.yaml", "/plots/", "/etc/passwd"):
        assert get(port, path)[0] == 404, path
    assert sorted(Path.cwd().rglob("*")) == before


def test_who_begins_to_ask_and_does_not_go_on_is_hung_up_on(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()
    begun = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
    for connection in begun:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
    assert get(port, "/")[0] == 200
    for connection in begun:
        assert connection.recv(1000) == b""  # it is closed
        connection.close()
    while threading.active_count() > before:
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_who_asks_and_hangs_up_is_not_told_of(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    for _ in range(10):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET /plots/plotly.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.close()
    assert get(port, "/")[0] == 200
    while threading.active_count() > before:
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_pages_of_other_hosts_cannot_read_along(port: int) -> None:
    assert get(port, "/", host="example.org")[0] == 403
    assert get(port, "/", host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.yaml"], "error: config: nowhere.yaml: no such file"),
        (["wrong.yaml"], "error: config: run.models = 9: not defined under models, which has"),
        (["mine.yaml", "--port", "99999"], "error: "),
    ],
)
def test_a_mistake_is_told_in_one_line(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    Path("wrong.yaml").write_text("run: {models: [9]}\n")
    assert main(["watch", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert len(said.splitlines()) == 1


def test_a_taken_port_is_told_in_one_line(
    directory: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "mine.yaml", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert "in use" in said
    assert len(said.splitlines()) == 1
