import http.client  # noqa: TID251 - asks the server of the live view
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.files import write_json
from gpt_math_domains.pages.watch import live_page, look, main, read_study, serve
from gpt_math_domains.results.metrics import write_metrics
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
    model = int(directory.name.removeprefix("model_"))
    rows = [row(seed=seed, step=step, model=model) for seed in (0, 1) for step in (41, 82)]
    write_metrics(rows, "pretrain", directory / "metrics.csv")
    write_json(directory / "run.json", RECORD)


def test_a_run_waits_then_runs_then_falls_silent_then_is_done(directory: Path) -> None:
    study = read_study(["mine.yaml"])
    progress = directory / "model_2" / "resume" / "progress.json"

    def state() -> str:
        return look(study, NOW)[0].state

    assert state() == "waiting"
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


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"time": "x"}', b'{"time": 1}'])
def test_a_file_that_cannot_be_read_is_told_of_its_run_alone(
    directory: Path, damage: bytes
) -> None:
    progress = directory / "model_2" / "resume" / "progress.json"
    progress.parent.mkdir(parents=True)
    progress.write_bytes(damage)
    finish(directory / "model_4")
    states = [seen.state for seen in look(read_study(["mine.yaml"]), NOW)]
    assert states[0].startswith("unreadable: ")
    assert states[1] == "done"


@pytest.fixture
def port(directory: Path) -> Iterator[int]:
    """The port at which the study's page is served."""
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
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert len(said.splitlines()) == 1


def test_a_taken_port_is_told_in_one_line(
    directory: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mine.yaml", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert "in use" in said
    assert len(said.splitlines()) == 1
