"""TensorBoard reads the event files, and they tell what the tables of metrics tell."""

import math
from datetime import datetime
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from checkpoints import FINETUNED, PRETRAINED, STUDY, name, rows
from gpt_math_domains.__main__ import main
from gpt_math_domains.files import read_json

CHECKPOINTS = [*PRETRAINED, *FINETUNED]
NOT_MEASURED = {"phase", "data", "model", "domain", "protocol", "seed", "step", "epoch", "seconds"}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's metrics as event files."""
    directory = tmp_path_factory.mktemp("events") / "new"
    assert main(["events", str(STUDY), str(directory)]) == 0
    return directory


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=name)
def test_every_measure_of_every_seed_is_a_scalar_at_its_step(
    events: Path, checkpoint: Path
) -> None:
    told = EventAccumulator(str(events / name(checkpoint)))
    told.Reload()
    seed = checkpoint.name.removeprefix("seed_")
    table = [row for row in rows(checkpoint.parent / "metrics.csv") if row["seed"] == seed]
    assert set(told.Tags()["scalars"]) == set(table[0]) - NOT_MEASURED
    started = datetime.fromisoformat(read_json(checkpoint.parent / "run.json")["started"])
    for tag in told.Tags()["scalars"]:
        scalars = told.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [int(row["step"]) for row in table]
        expected = [float(row[tag] or math.nan) for row in table]
        found = [scalar.value for scalar in scalars]
        assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
        times = [scalar.wall_time - started.timestamp() for scalar in scalars]
        assert times == pytest.approx([float(row["seconds"]) for row in table], abs=1e-3)


def test_there_is_a_run_for_each_seed(events: Path) -> None:
    found = {path.parent.relative_to(events) for path in events.rglob("events.out.*")}
    assert found == {path.relative_to(STUDY) for path in CHECKPOINTS}


def test_a_directory_with_files_and_a_study_without_runs_are_refused(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", str(STUDY), str(events)]) == 2
    assert capsys.readouterr().err == f"error: {events}: is not empty; choose a new directory\n"
    assert main(["events", str(tmp_path), str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: has no finished run\n"
