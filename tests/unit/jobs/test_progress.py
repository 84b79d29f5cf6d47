import io
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.files import read_json
from gpt_math_domains.jobs.progress import (
    FILE_SECONDS,
    HEARTBEAT_SECONDS,
    TERMINAL_SECONDS,
    Progress,
    describe_run,
    duration,
)
from metric_rows import evaluation

RUN = {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None}


class Clock:
    """Stands in for the clock, and moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


class Told:
    """A run's progress and what it said."""

    def __init__(self, total_steps: int = 41_000, **run: Any) -> None:
        self.log, self.terminal = io.StringIO(), io.StringIO()
        self.progress = Progress(RUN | run, "math_acc", total_steps, self.log, self.terminal)

    def lines(self) -> tuple[list[str], list[str]]:
        """Return the lines of the log and of the terminal."""
        return self.log.getvalue().splitlines(), self.terminal.getvalue().splitlines()


def test_an_evaluation_tells_steps_speed_time_left_epoch_losses_and_accuracy(clock: Clock) -> None:
    told = Told()
    clock.wait(20)
    told.progress.evaluation(evaluation(4_100))
    [logged], [shown] = told.lines()
    text = (
        "step 4,100/41,000  205.0 steps/s  3 min 0 s left  epoch 100.0  "
        "loss 1.5000  eval_loss 2.7500  math_acc 0.3750"
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d  " + re.escape(text), logged)
    assert shown == f"[pretrain data 1 model 2]  {text}"


def test_a_slow_run_still_shows_a_speed(clock: Clock) -> None:
    told = Told(total_steps=100)
    clock.wait(50)
    told.progress.evaluation(evaluation(10))
    assert "  0.2 steps/s  7 min 30 s left  " in told.log.getvalue()


def test_the_first_step_may_take_no_time_at_all(clock: Clock) -> None:
    told = Told()
    told.progress.evaluation(evaluation(1))
    assert "  0 s left  " in told.log.getvalue()


def test_the_terminal_hears_of_some_evaluations_and_the_log_of_all(clock: Clock) -> None:
    told = Told(total_steps=1000)
    for step in range(1, 11):
        clock.wait(TERMINAL_SECONDS / 2)
        told.progress.evaluation(evaluation(step))
    logged, shown = told.lines()
    assert len(logged) == 10
    assert [line.split()[6] for line in shown] == [f"{step}/1,000" for step in (2, 4, 6, 8, 10)]


def test_the_longer_a_run_takes_the_rarer_are_its_lines(clock: Clock) -> None:
    told = Told(total_steps=10**6)
    for step in range(1, 14_401):  # four hours, an evaluation each second
        clock.wait(1)
        told.progress.evaluation(evaluation(step))
    logged, shown = told.lines()
    assert len(logged) == 14_400
    steps = [int(line.split()[6].split("/")[0].replace(",", "")) for line in shown]
    assert steps[:3] == [10, 20, 30]
    assert len(steps) < 120
    assert 700 <= steps[-1] - steps[-2] <= 720


def test_the_last_evaluation_is_shown_but_for_a_run_of_seconds(clock: Clock) -> None:
    told = Told(total_steps=3)
    clock.wait(TERMINAL_SECONDS)
    for step in (1, 2, 3):
        told.progress.evaluation(evaluation(step))
    logged, shown = told.lines()
    assert len(logged) == 3
    assert [line.split()[6] for line in shown] == ["1/3", "3/3"]
    assert "  0 s left  " in shown[-1]
    brief = Told(total_steps=1)
    brief.progress.evaluation(evaluation(1))
    assert [len(lines) for lines in brief.lines()] == [1, 0]


def test_a_note_is_told_at_once_in_both_places(clock: Clock) -> None:
    told = Told()
    told.progress.note("1,287 training examples")
    [logged], [shown] = told.lines()
    assert logged.endswith("  1,287 training examples")
    assert shown == "[pretrain data 1 model 2]  1,287 training examples"


def test_a_detail_stands_in_the_log_alone(clock: Clock) -> None:
    told = Told()
    told.progress.detail("executor eager")
    [logged], shown = told.lines()
    assert logged.endswith("  executor eager") and shown == []


def test_speed_and_time_left_of_a_resumed_run_are_those_of_this_attempt(clock: Clock) -> None:
    told = Told(total_steps=1000)
    clock.wait(70)
    told.progress.begin(900)
    clock.wait(30)
    told.progress.heartbeat(930)
    assert told.lines()[1] == [
        "[pretrain data 1 model 2]  step 930/1,000  1.0 steps/s  1 min 10 s left",
    ]


def test_what_goes_before_the_first_step_such_as_compiling_counts_as_no_step(clock: Clock) -> None:
    told = Told(total_steps=120)
    clock.wait(200)
    told.progress.begin(0)
    clock.wait(0.5)
    told.progress.evaluation(evaluation(1))
    assert "  step 1/120  2.0 steps/s  1 min 0 s left  " in told.log.getvalue()


def test_only_the_first_line_of_a_long_note_is_shown_and_the_log_has_it_all(clock: Clock) -> None:
    told = Told()
    told.progress.note("torch.compile failed: no headers\nTraceback\n  of it")
    logged, shown = told.lines()
    assert shown == ["[pretrain data 1 model 2]  torch.compile failed: no headers"]
    assert logged[0].endswith("  torch.compile failed: no headers")
    assert logged[1:] == ["Traceback", "  of it"]


def test_a_resumed_run_may_have_no_step_left(clock: Clock) -> None:
    told = Told(total_steps=1000)
    told.progress.begin(1000)
    clock.wait(1)
    told.progress.evaluation(evaluation(1000))
    assert "  0 s left  " in told.log.getvalue()


def test_a_log_on_a_full_disk_does_not_end_the_run(clock: Clock) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    terminal = io.StringIO()
    Progress(RUN, "math_acc", 10, Full(), terminal).note("executor eager")
    assert terminal.getvalue() == "[pretrain data 1 model 2]  executor eager\n"


def test_a_heartbeat_breaks_a_long_silence_only(clock: Clock) -> None:
    told = Told(total_steps=1000)
    clock.wait(HEARTBEAT_SECONDS - 1)
    told.progress.heartbeat(9)
    assert told.lines() == ([], [])
    clock.wait(1)
    told.progress.heartbeat(10)
    [logged], [shown] = told.lines()
    assert shown == "[pretrain data 1 model 2]  step 10/1,000  0.3 steps/s  49 min 30 s left"
    assert logged.endswith("  step 10/1,000  0.3 steps/s  49 min 30 s left")
    told.progress.heartbeat(11)
    assert told.lines() == ([logged], [shown])


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (RUN, "pretrain data 1 model 2"),
        (
            {"phase": "finetune", "data": 3, "model": 6, "domain": 1, "protocol": "frozen"},
            "finetune domain 1 data 3 model 6 frozen",
        ),
        ({"phase": "pretrain", "data": 0, "model": 0}, "pretrain data 0 model 0"),
        (
            RUN | {"point": "grid/data.digits~5/pretrain.weight_decay~0.1/"},
            "pretrain data 1 model 2, data.digits 5, pretrain.weight_decay 0.1",
        ),
        (RUN | {"point": ""}, "pretrain data 1 model 2"),
    ],
)
def test_a_run_is_named_for_people(run: dict[str, object], name: str) -> None:
    assert describe_run(run) == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (9.6, "10 s"),
        (59.6, "1 min 0 s"),
        (250, "4 min 10 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (273_600, "3 d 4 h"),
        (40 * 86_400, "40 d 0 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_file_tells_those_who_watch_how_far_the_run_is(clock: Clock, tmp_path: Path) -> None:
    told = Told()
    told.progress.tell_in(tmp_path, [0, 1], 0, [])
    clock.wait(10)
    told.progress.evaluation(evaluation(41))
    first = read_json(tmp_path / "progress.json")
    assert (first["step"], first["total_steps"], first["seeds"]) == (41, 41_000, [0, 1])
    assert first["steps_per_second"] == pytest.approx(4.1)
    assert first["evaluations"][0]["accuracy"] == [0.25, 0.5]
    assert first["run"] == RUN
    clock.wait(FILE_SECONDS / 2)
    told.progress.heartbeat(50)  # too early
    assert read_json(tmp_path / "progress.json") == first
    clock.wait(FILE_SECONDS)
    told.progress.heartbeat(60)
    assert read_json(tmp_path / "progress.json")["step"] == 60


def test_a_resumed_run_tells_its_earlier_evaluations_too(tmp_path: Path) -> None:
    told = Told()
    told.progress.begin(82)
    told.progress.tell_in(tmp_path, [0, 1], 82, [evaluation(41)])
    known = read_json(tmp_path / "progress.json")
    assert [item["step"] for item in known["evaluations"]] == [41]
    assert (known["step"], known["steps_per_second"]) == (82, None)


def test_a_file_that_cannot_be_written_is_told_once_and_training_goes_on(
    clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    told = Told()
    told.progress.tell_in(tmp_path / "file", [0, 1], 0, [])
    clock.wait(10)
    told.progress.heartbeat(41)
    assert "\n".join(told.lines()[0]).count("progress not written, training goes on") == 1
