"""A state is found again whole, or not at all."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import little
from gpt_math_domains.jobs.stops import Stop
from gpt_math_domains.training import resume as state_module
from gpt_math_domains.training.execution import CAPTURED, make_executor, prepare_execution
from gpt_math_domains.training.resume import SAVE_VARIABLE, Resume, resumable
from gpt_math_domains.training.stack import Stack, train
from metric_rows import evaluation

SEEDS = [3, 11]
SETTINGS = little.settings(num_train_epochs=5, eval_steps=7)
IDENTITY: dict[str, object] = {
    "run.phase": "pretrain",
    "run.domain": None,
    "settings.learning_rate": 5e-3,
    "input.train": "0123456789abcdef",
    "seeds": SEEDS,
    "device": "cpu",
    "execution": "eager",
    "code": "fedcba9876543210",
    "torch": "2.13.0",
}


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Attempt:
    """One attempt at a run of 30 steps; `steps` takes some, saving after each."""

    def __init__(self, directory: Path, executor: str = "eager", **identity: Any) -> None:
        device = "cuda" if executor in CAPTURED else "cpu"
        self.stack, order = little.stack(SETTINGS, SEEDS, device=device, dtype=torch.float32)
        self.notes: list[str] = []
        self._open = ExitStack()
        note = self.notes.append
        stop = self._open.enter_context(Stop(note))
        self.resume: Resume = self._open.enter_context(
            resumable(directory, IDENTITY | identity, self.stack, 1, stop, note)
        )
        name = prepare_execution(executor, self.stack, order, SETTINGS, lambda note: None)
        made = make_executor(name, self.stack, order, SETTINGS)
        self._evaluations = train(
            self.stack,
            little.judge(self.stack.task),
            order,
            SETTINGS,
            made,
            self._beat,
            self.resume.start,
        )
        self._last = 0

    def steps(self, last: int) -> "Attempt":
        """Go on to a step, as a job does; then end as a killed one does, but for the lock."""
        self._last = last
        try:
            for evaluation in self._evaluations:
                self.resume.evaluated(evaluation, is_last=evaluation.step == 30)
        except StopAsyncIteration:
            pass
        self._open.close()
        return self

    def end(self) -> "Attempt":
        self._open.close()
        return self

    def _beat(self, step: int) -> None:
        self.resume.heartbeat(step)
        if step == self._last:
            raise StopAsyncIteration


@pytest.fixture(autouse=True)
def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step, and without waiting for the disk, of whose failure no test here knows."""
    torch.set_num_threads(1)  # as a job does
    monkeypatch.setenv(SAVE_VARIABLE, "0")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def values(stack: Stack) -> dict[str, torch.Tensor]:
    generators = stack.dropout.generators
    copies = {name: value.clone() for name, value in stack.state().items()}
    return copies | {f"generator {i}": g.get_state() for i, g in enumerate(generators)}


def assert_same(one: Attempt, other: Attempt) -> None:
    first, second = values(one.stack), values(other.stack)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert without_seconds(one) == without_seconds(other)


def without_seconds(attempt: Attempt) -> list[dict[str, Any]]:
    return [vars(evaluation) | {"seconds": 0} for evaluation in attempt.resume.evaluations]


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# Going on


@pytest.mark.parametrize(
    "execution",
    ["eager", "compiled", *(pytest.param(name, marks=needs_cuda) for name in CAPTURED)],
)
def test_a_run_in_three_attempts_ends_with_the_bits_of_one(tmp_path: Path, execution: str) -> None:
    whole = Attempt(tmp_path / "whole", execution).steps(0)
    Attempt(tmp_path / "parts", execution).steps(12)
    second = Attempt(tmp_path / "parts", execution).steps(14)  # before the evaluation that is due
    third = Attempt(tmp_path / "parts", execution).steps(0)

    assert (second.resume.start.step, second.resume.start.evaluated) == (12, 8)
    assert (third.resume.start.step, third.resume.start.evaluated) == (14, 8)
    assert [e.step for e in third.resume.evaluations] == [1, 2, 4, 7, 8, 14, 16, 21, 28, 30]
    assert_same(third, whole)


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    before = Attempt(tmp_path).steps(9)
    after = Attempt(tmp_path).end()
    assert_same(after, before)
    assert after.resume.start.step == 9
    assert after.notes == []


def test_a_finished_run_needs_no_step(tmp_path: Path) -> None:
    before = Attempt(tmp_path).steps(0)
    after = Attempt(tmp_path).steps(0)
    assert after.resume.start.step == 30
    assert_same(after, before)


def test_attempts_and_their_seconds_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        attempt = Attempt(tmp_path).steps(5 * (number + 1))
    newest = json.loads((tmp_path / listing(tmp_path)[-1] / "state.json").read_text())
    assert newest["resumes"] == 2
    assert newest["seconds"] > attempt.resume.start.seconds > 0


def test_nothing_is_left_once_a_run_is_published(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "resume")
    attempt.resume.heartbeat(1)
    attempt.resume.clear()
    attempt.end()
    assert listing(tmp_path) == []


def test_a_run_survives_that_somebody_removed_its_states(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "resume")
    attempt.resume.heartbeat(1)
    shutil.rmtree(tmp_path / "resume")
    attempt.resume.heartbeat(2)
    assert listing(tmp_path / "resume") == ["lock", "state_000001"]
    attempt.end()


def test_a_run_survives_that_its_states_cannot_be_written_any_more(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "resume")
    shutil.rmtree(tmp_path / "resume")
    (tmp_path / "resume").write_text("in the way")
    attempt.resume.heartbeat(1)
    attempt.resume.clear()
    attempt.end()
    assert attempt.notes[0].startswith("state not saved at step 1, training goes on: ")
    assert attempt.notes[1].startswith("the run is done, but its resume state could not be ")


def test_a_run_that_another_took_over_saves_nothing_more(tmp_path: Path) -> None:
    first = Attempt(tmp_path / "resume")
    first.resume.heartbeat(1)
    shutil.rmtree(tmp_path / "resume")
    second = Attempt(tmp_path / "resume")
    with pytest.raises(BlockingIOError) as caught:
        first.resume.heartbeat(2)
    assert str(caught.value) == (
        f"{tmp_path / 'resume'}: was removed, and process {os.getpid()} trains this run now"
    )
    with pytest.raises(BlockingIOError):
        first.resume.require_alone()  # before anything is published
    first.end()
    second.resume.heartbeat(1)
    assert listing(tmp_path / "resume") == ["lock", "state_000001"]
    second.end()


def test_the_two_newest_states_are_kept(tmp_path: Path) -> None:
    Attempt(tmp_path).steps(9)
    kept = listing(tmp_path)
    assert len(kept) == 2
    steps = [json.loads((tmp_path / name / "state.json").read_text())["step"] for name in kept]
    assert steps == [8, 9]


def test_states_can_be_checked_without_this_project(tmp_path: Path) -> None:
    Attempt(tmp_path).steps(3)
    for name in listing(tmp_path):
        subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path / name, check=True)


def test_a_state_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(tmp_path)
    calls: list[str] = []
    rename = os.rename

    def record_fsync(descriptor: int) -> None:
        calls.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")

    def record_rename(old: Path, new: Path) -> None:
        calls.append(f"rename {old.name} {new.name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    attempt.resume.heartbeat(1)
    attempt.end()

    renamed = calls.index("rename .new state_000001")
    written = [call.partition(".")[0] for call in calls[:renamed]]
    assert {"fsync tensors", "fsync "} <= set(written)
    assert calls[renamed - 1] == "fsync .new"
    assert calls[renamed + 1] == f"fsync {tmp_path.name}"


def test_a_half_written_state_of_a_killed_job_is_cleared_away(tmp_path: Path) -> None:
    Attempt(tmp_path).steps(3)
    (tmp_path / ".new").mkdir()
    (tmp_path / ".new" / "tensors.safetensors").write_bytes(b"half")
    after = Attempt(tmp_path).end()
    assert after.resume.start.step == 3
    assert ".new" not in listing(tmp_path)


# What must not be gone on from


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("run.phase", "finetune", "run.phase (pretrain -> finetune)"),
        ("run.domain", 1, "run.domain (None -> 1)"),
        ("settings.learning_rate", 1e-3, "settings.learning_rate (0.005 -> 0.001)"),
        ("input.train", "f" * 16, "input.train (0123456789abcdef -> ffffffffffffffff)"),
        ("seeds", [3, 12], "seeds ([3, 11] -> [3, 12])"),
        ("device", "cuda", "device (cpu -> cuda)"),
        ("execution", "compiled", "execution (eager -> compiled)"),
        ("code", "0" * 16, "code (fedcba9876543210 -> 0000000000000000)"),
        ("torch", "2.14.0", "torch (2.13.0 -> 2.14.0)"),
        ("model.d_model", 8, "model.d_model (None -> 8)"),
    ],
)
def test_a_state_of_another_run_is_not_used_and_the_difference_is_named(
    tmp_path: Path, key: str, value: object, told: str
) -> None:
    Attempt(tmp_path).steps(5)
    fresh = Attempt(tmp_path / "fresh").end()
    changed: dict[str, Any] = {key: value}
    other = Attempt(tmp_path, **changed).end()
    assert other.notes == [f"starts over, as what was saved differs: {told}"]
    assert_same(other, fresh)
    assert Attempt(tmp_path).end().resume.start.step == 5  # the change undone


def truncate(state: Path) -> None:
    os.truncate(state / "tensors.safetensors", 1000)


def flip_a_bit(state: Path) -> None:
    path = state / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit_the_json(state: Path) -> None:
    path = state / "state.json"
    path.write_text(path.read_text().replace('"step": 9', '"step": 8', 1))


def lose_the_sums(state: Path) -> None:
    (state / "SHA256SUMS").unlink()


def replace_by_a_file(state: Path) -> None:
    shutil.rmtree(state)
    state.write_text("not ours")


def sign(state: Path) -> None:
    (state / "SHA256SUMS").write_text(state_module._sums(state))


def bring_other_tensors(state: Path) -> None:
    save_file({"steps": torch.zeros(2)}, state / "tensors.safetensors")
    sign(state)


def bring_other_json(state: Path) -> None:
    (state / "state.json").write_text('{"weights": 1}')
    sign(state)


def bring_no_safetensors(state: Path) -> None:
    (state / "tensors.safetensors").write_bytes(b"not ours")
    sign(state)


def rewrite(name: str, value: Any) -> Callable[[Path], None]:
    """Return what gives a key of the JSON another value, its checksum right."""

    def damage(state: Path) -> None:
        path = state / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        sign(state)

    return damage


def rewrite_last_evaluation(name: str, value: Any) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        evaluations = json.loads((state / "state.json").read_text())["evaluations"]
        evaluations[-1][name] = value
        rewrite("evaluations", evaluations)(state)

    return damage


def lose_an_evaluation(state: Path) -> None:
    evaluations = json.loads((state / "state.json").read_text())["evaluations"]
    rewrite("evaluations", [*evaluations[:1], *evaluations[2:]])(state)


def repeat_an_evaluation(state: Path) -> None:
    evaluations = json.loads((state / "state.json").read_text())["evaluations"]
    rewrite("evaluations", [*evaluations, evaluations[-1]])(state)


def change_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    def damage(state: Path) -> None:
        tensors = load_file(state / "tensors.safetensors")
        save_file(tensors | {name: change(tensors[name])}, state / "tensors.safetensors")
        sign(state)

    return damage


def nest_the_json(state: Path) -> None:
    (state / "state.json").write_text("[" * 100_000)
    sign(state)


IMPOSSIBLE = {
    "step beyond the end": rewrite("step", 31),
    "step below 0": rewrite("step", -1),
    "step of another type": rewrite("step", 9.0),
    "step true": rewrite("step", True),
    "step null": rewrite("step", None),
    "step of another time": rewrite("step", 8),
    "resumes in words": rewrite("resumes", "two"),
    "resumes below 0": rewrite("resumes", -1),
    "seconds in words": rewrite("seconds", "9"),
    "seconds infinite": rewrite("seconds", float("inf")),
    "seconds huge": rewrite("seconds", 10**400),
    "seconds below 0": rewrite("seconds", -1.0),
    "no evaluations": rewrite("evaluations", []),
    "evaluations null": rewrite("evaluations", None),
    "evaluations in words": rewrite("evaluations", "none"),
    "identity a list": rewrite("identity", ["run.phase"]),
    "an evaluation lost": lose_an_evaluation,
    "an evaluation twice": repeat_an_evaluation,
    "accuracy above 1": rewrite_last_evaluation("accuracy", [0.5, 1.5]),
    "accuracy of one seed": rewrite_last_evaluation("accuracy", [0.5]),
    "accuracy null": rewrite_last_evaluation("accuracy", [None, None]),
    "mirrored accuracy of one seed null": rewrite_last_evaluation("mirrored_accuracy", [None, 1.0]),
    "loss NaN": rewrite_last_evaluation("train_loss", [0.5, float("nan")]),
    "loss in words": rewrite_last_evaluation("eval_loss", "small"),
    "parts of one seed": rewrite_last_evaluation("part_accuracy", [[0.5]]),
    "too many parts": rewrite_last_evaluation("part_accuracy", [[0.5, 0.5], [0.5, 0.5]]),
    "parts flat": rewrite_last_evaluation("part_accuracy", [0.5, 0.5]),
    "another learning rate": rewrite_last_evaluation("learning_rate", 1.0),
    "another epoch": rewrite_last_evaluation("epoch", 1.0),
    "weights NaN": change_tensor("group.0.values", lambda value: value * torch.nan),
    "squares below 0": change_tensor("group.0.square", lambda value: value - 1),
    "steps of another time": change_tensor("steps", lambda value: value + 1),
    "generator of another kind": change_tensor("generator.1", torch.zeros_like),
    "a JSON too deep": nest_the_json,
}


@pytest.mark.parametrize("damage", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_a_state_that_no_run_can_be_in_is_set_aside(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    Attempt(tmp_path).steps(9)
    before, newest = listing(tmp_path)
    damage(tmp_path / newest)
    after = Attempt(tmp_path).end()
    [note] = after.notes
    assert note.startswith(f"{tmp_path / newest} is damaged, kept as broken_{newest[-6:]}: ")
    assert "\n" not in note
    assert after.resume.start.step == 8
    assert listing(tmp_path) == [f"broken_{newest[-6:]}", before]


def test_what_a_state_that_is_set_aside_held_is_not_trained_on(tmp_path: Path) -> None:
    """Not even by a half."""
    Attempt(tmp_path).steps(9)
    for name in listing(tmp_path):
        change_tensor("generator.1", torch.zeros_like)(tmp_path / name)
    fresh = Attempt(tmp_path / "fresh").end()
    assert_same(Attempt(tmp_path).end(), fresh)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        edit_the_json,
        lose_the_sums,
        replace_by_a_file,
        bring_other_tensors,
        bring_other_json,
        bring_no_safetensors,
    ],
)
def test_a_damaged_state_is_set_aside_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    Attempt(tmp_path).steps(9)
    before, newest = listing(tmp_path)
    damage(tmp_path / newest)

    after = Attempt(tmp_path).end()

    assert after.resume.start.step == 8
    [note] = after.notes
    broken = newest.replace("state", "broken")
    assert note.startswith(f"{tmp_path / newest} is damaged, kept as {broken}: ")
    assert "\n" not in note
    assert listing(tmp_path) == [broken, before]
    whole = Attempt(tmp_path / "whole").steps(0)
    assert_same(Attempt(tmp_path).steps(0), whole)


def test_with_both_states_damaged_a_run_starts_over(tmp_path: Path) -> None:
    Attempt(tmp_path).steps(9)
    for name in listing(tmp_path):
        flip_a_bit(tmp_path / name)
    after = Attempt(tmp_path).end()
    assert after.resume.start.step == 0
    assert len(after.notes) == 2


def test_only_the_latest_damaged_states_are_kept(tmp_path: Path) -> None:
    for _ in range(3):
        Attempt(tmp_path).steps(9)
        for name in listing(tmp_path):
            if name.startswith("state"):
                flip_a_bit(tmp_path / name)
    Attempt(tmp_path).end()
    assert [name.partition("_")[0] for name in listing(tmp_path)] == ["broken", "broken"]


def test_other_files_beside_the_states_are_left_alone(tmp_path: Path) -> None:
    Attempt(tmp_path).steps(3)
    (tmp_path / "notes.txt").write_text("mine")
    assert Attempt(tmp_path).steps(5).resume.start.step == 3
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_values_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    attempt.resume.heartbeat(1)
    attempt.stack.groups[0].square[1, 5] = torch.inf
    with pytest.raises(FloatingPointError, match=r"seed 11 diverged: .*square .* at step 2"):
        attempt.resume.heartbeat(2)
    attempt.end()
    assert listing(tmp_path) == ["state_000001"]


# How often


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_run_is_saved_by_time_and_a_little_earlier_at_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SAVE_VARIABLE)
    clock = Clock(monkeypatch)
    attempt = Attempt(tmp_path)
    saved: list[int] = []
    monkeypatch.setattr(Resume, "_write", lambda self, tensors: saved.append(self._state.step))

    for step, seconds in enumerate([1, 58, 2, 59, 1], start=1):
        clock.now += seconds
        attempt.resume.heartbeat(step)
    assert saved == [3, 5]
    for step, seconds in enumerate([1, 8, 2, 9, 1], start=11):
        clock.now += seconds
        attempt.resume.evaluated(evaluation(step), is_last=False)
    assert saved == [3, 5, 13, 15]
    attempt.resume.evaluated(evaluation(16), is_last=True)
    assert saved == [3, 5, 13, 15, 16]
    attempt.end()


def test_saving_takes_no_more_than_a_fiftieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SAVE_VARIABLE)
    clock = Clock(monkeypatch)
    attempt = Attempt(tmp_path)
    saved: list[int] = []

    def write_slowly(self: Resume, tensors: object) -> None:
        saved.append(self._state.step)
        clock.now += 4

    monkeypatch.setattr(Resume, "_write", write_slowly)
    for step, seconds in enumerate([60, 199, 1], start=1):
        clock.now += seconds
        attempt.resume.heartbeat(step)
    assert saved == [1, 3]
    attempt.end()


def test_a_wish_for_another_interval_that_is_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SAVE_VARIABLE, "often")
    with pytest.raises(ValueError, match=f"^{SAVE_VARIABLE} = 'often': must be a number"):
        Attempt(tmp_path)
