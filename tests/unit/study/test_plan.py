"""What a plan says of how long a study takes."""

import re
from collections.abc import Mapping

import pytest

from gpt_math_domains.study import plan
from gpt_math_domains.study.estimate import job_seconds
from gpt_math_domains.study.layers import read_study
from gpt_math_domains.study.plan import all_runs, describe_plan, estimated_seconds

QUICK = ["config/config.yaml", "config/quick.yaml"]
Jobs = list[tuple[str, Mapping[str, str]]]
FIGURES: Jobs = [("plot_rules", {}), ("write_index", {})]


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "has_cuda", lambda: False)


def trainings() -> Jobs:
    """Return the trainings of the quick study."""
    runs = all_runs(read_study(QUICK))
    return [
        (f"{run.run['phase']}_model", {name: str(value) for name, value in run.wildcards.items()})
        for run in runs
    ]


def spans(told: str) -> list[int]:
    """Return the time spans in a plan's last line in seconds."""
    found = re.findall(r"(?:(\d+) min )?(\d+) s\b", told)
    return [60 * int(minutes or 0) + int(seconds) for minutes, seconds in found]


def test_a_plan_counts_steps_evaluations_starts_and_figures() -> None:
    jobs = trainings() + FIGURES
    *_, last = describe_plan(QUICK, jobs, cores=2)
    total, steps, wall = spans(last)
    assert steps == pytest.approx(sum(estimated_seconds(read_study(QUICK)).values()), abs=1)
    assert total - steps == pytest.approx(sum(job_seconds(rule) for rule, _ in jobs), abs=1)
    assert wall == pytest.approx(total / 2, abs=1)


def test_nothing_takes_no_time() -> None:
    assert not re.search(r"\b0 s\b", "\n".join(describe_plan(QUICK, trainings(), cores=1)))
    *_, last = describe_plan(QUICK, FIGURES, cores=8)
    assert "steps and evaluations take <1 s; on 8 cores about <1 s." in last


def test_no_number_of_cores_makes_it_shorter_than_a_pretraining_and_a_finetuning_from_it() -> None:
    *_, last = describe_plan(QUICK, trainings(), cores=1000)
    seconds = estimated_seconds(read_study(QUICK))
    pretrained = "pretrain/data_3/model_4", "finetune/domain_1/data_3/model_4/full"
    starts = job_seconds("pretrain_model") + job_seconds("finetune_model")
    assert spans(last)[-1] == pytest.approx(
        sum(seconds[name] for name in pretrained) + starts, abs=1
    )


def test_a_finetuning_that_waits_for_none_of_the_pretrainings_is_not_added_to_one() -> None:
    alone = [
        job for job in trainings() if job[0] == "pretrain_model" or job[1]["protocol"] == "scratch"
    ]
    *_, last = describe_plan(QUICK, alone, cores=1000)
    longest = max(estimated_seconds(read_study(QUICK)).values()) + job_seconds("pretrain_model")
    assert spans(last)[-1] == pytest.approx(longest, abs=1)


def test_a_plan_says_that_trainings_wait_for_a_gpu_slot_unless_they_train_on_the_cpu() -> None:
    jobs: Jobs = [("pretrain_model", {"data": "1", "model": "2", "point": ""})]
    waiting = "if they need not wait for each other's GPU slot (`device: cpu`)"
    *_, published = describe_plan(QUICK[:1], jobs, cores=2)
    *_, quick = describe_plan(QUICK, jobs, cores=2)
    assert waiting in published
    assert waiting not in quick
