"""What is found, and that nothing is found where the metrics do not say so."""

from collections.abc import Mapping, Sequence
from math import isnan

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from gpt_math_domains.results.baselines import COLUMNS as BASELINES
from gpt_math_domains.results.findings import Findings, find, in_steps, saved_steps
from gpt_math_domains.results.metrics import columns
from gpt_math_domains.results.statistics import difference
from gpt_math_domains.results.summary import summarize
from gpt_math_domains.results.tables import empty_table, typed
from metric_rows import row

Curves = Sequence[Sequence[float]]  # accuracies by seed and evaluation
Runs = Mapping[tuple[int, str], Curves] | Mapping[tuple[int, None], Curves]


def frame(phase: str, runs: Runs, data: int = 1) -> pd.DataFrame:
    """Return metrics of runs by model and protocol, evaluated at steps 10, 20, 30 ..."""
    return pd.DataFrame(
        row(
            phase,
            seed=seed,
            step=10 * (place + 1),
            accuracy=accuracy,
            model=model,
            data=data,
            protocol=protocol,
        )
        for (model, protocol), curves in runs.items()
        for seed, curve in enumerate(curves)
        for place, accuracy in enumerate(curve)
    )


def pretrained(*models: Curves) -> pd.DataFrame:
    """Return metrics of pretraining models 2, 4, 6 ..."""
    return frame("pretrain", {(2 * i + 2, None): curves for i, curves in enumerate(models)})


def finetuned(**protocols: Curves) -> pd.DataFrame:
    """Return metrics of finetuning model 2 with several protocols."""
    return frame("finetune", {(2, protocol): curves for protocol, curves in protocols.items()})


BASELINE = typed(
    pd.DataFrame(
        [
            {"phase": "pretrain", "data": 1, "accuracy": 0.25},
            {"phase": "finetune", "data": 1, "domain": 1, "accuracy": 0.55},
        ],
        columns=list(BASELINES),
    ).fillna({"equations": 100}),
    BASELINES,
)


def found(metrics: pd.DataFrame, other: pd.DataFrame | None = None) -> Findings:
    """Return what metrics of one phase, or of both, say."""
    tables = {phase: empty_table(columns(phase)) for phase in ("pretrain", "finetune")}
    for frame in (metrics, *([] if other is None else [other])):
        tables[frame["phase"].iloc[0]] = frame
    return find(**tables, summary=summarize(tables.values(), BASELINE))


def pretraining_findings(metrics: pd.DataFrame) -> list[str]:
    return found(metrics).pretraining


def protocol_findings(metrics: pd.DataFrame) -> list[str]:
    return found(metrics).protocols


def table(*curves: Sequence[float]) -> pd.DataFrame:
    """Return accuracies by step (10, 20 ...) and seed."""
    steps = [10 * (place + 1) for place in range(len(curves[0]))]
    return pd.DataFrame(dict(enumerate(curves)), index=steps)


# Three seeds that reach 0.9 at step 20, and three that do so at step 80.
EARLY = [[0.5, 0.95, *[0.99] * 8], [0.5, 0.94, *[0.98] * 8], [0.4, 0.92, *[0.97] * 8]]
LATE = [[*[0.5] * 7, 0.95, 0.99, 0.99], [*[0.5] * 7, 0.93, 0.97, 0.96], [*[0.4] * 7, 0.9, 0.9, 0.9]]
NEVER = [[0.5] * 10, [0.51] * 10, [0.52] * 10]
SHORT = [curve[:9] for curve in NEVER]


def test_paired_differences_have_the_t_interval_of_the_textbook() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t of 2 degrees of freedom 4.3027."""
    found = difference(pd.Series([5.0, 5.0, 5.0]), pd.Series([4.0, 3.0, 2.0]))
    assert (found.mean, found.low, found.high) == pytest.approx(
        (2, 2 - 2.48414, 2 + 2.48414), abs=1e-5
    )
    assert found.sign == 0


def test_other_seeds_are_compared_by_welchs_t() -> None:
    values = pd.Series([1.0, 2.0, 3.0], index=[0, 1, 2])
    others = pd.Series([9.0, 11.0, 13.0, 11.0], index=[5, 6, 7, 8])
    found = difference(values, others)
    tested = ttest_ind(values, others, equal_var=False)
    expected = tested.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.p == pytest.approx(tested.pvalue)
    assert found.sign == -1


@pytest.mark.parametrize(
    ("values", "others"),
    [
        ({0: 0.5}, {0: 0.4}),  # one seed
        ({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5}),  # ties: the difference does not vary
        ({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}),
        ({0: 0.5}, {1: 0.4, 2: 0.3}),  # other seeds, one of them alone
        ({0: 0.5, 1: 0.5}, {2: 0.4, 3: 0.4}),  # other seeds, and nothing varies
    ],
)
def test_where_nothing_varies_or_one_seed_stands_alone_there_is_no_interval(
    values: dict[int, float], others: dict[int, float]
) -> None:
    found = difference(pd.Series(values), pd.Series(others))
    assert found.mean == pytest.approx(pd.Series(values).mean() - pd.Series(others).mean())
    assert isnan(found.low) and isnan(found.high) and isnan(found.p)
    assert found.sign == 0


def test_saved_steps_lie_between_the_evaluations_before_and_after() -> None:
    """Reached in (10, 20] and (70, 80]: 60 steps, with variance 2 * 10^2 / 12 for each seed."""
    found = saved_steps(table(*EARLY), table(*LATE), 0.9)
    assert found is not None
    assert found.mean == 60
    half = 4.302653 * (200 / 12 / 3) ** 0.5
    assert (found.low, found.high) == pytest.approx((60 - half, 60 + half), rel=1e-6)
    assert in_steps(found) == "60 [50, 70]"


def test_reaching_it_at_the_same_evaluation_saves_nothing() -> None:
    found = saved_steps(table(*EARLY), table(*EARLY), 0.9)
    assert found is not None
    assert (found.mean, found.sign) == (0, 0)


def test_seeds_that_never_get_there_give_a_bound() -> None:
    saved = saved_steps(table(*EARLY), table(*NEVER), 0.9)
    assert saved is not None and saved.sign == 1
    assert in_steps(saved) == "at least 78"  # 100 - 15, less the half width
    lost = saved_steps(table(*NEVER), table(*EARLY), 0.9)
    assert lost is not None and lost.sign == -1
    assert in_steps(lost) == "at least 78"


def test_nothing_is_known_where_both_miss_it_or_seeds_differ() -> None:
    assert saved_steps(table(*NEVER), table(*NEVER), 0.9) is None
    assert saved_steps(table(*EARLY), table(*EARLY).rename(columns={0: 7}), 0.9) is None


def test_one_seed_has_an_observed_difference_without_an_interval() -> None:
    found = saved_steps(table(EARLY[0]), table(LATE[0]), 0.9)
    assert found is not None
    assert (found.mean, found.sign, isnan(found.low)) == (60, 0, True)
    bound = saved_steps(table(EARLY[0]), table(NEVER[0]), 0.9)
    assert bound is not None
    assert in_steps(bound) == "at least 85"


def test_the_highest_model_is_named_with_those_that_it_is_surely_above() -> None:
    metrics = pretrained(
        [[0.1, 0.30], [0.1, 0.31], [0.1, 0.32]],
        [[0.1, 0.60], [0.1, 0.62], [0.1, 0.61]],
        [[0.1, 0.55], [0.1, 0.66], [0.1, 0.59]],  # lower, but not surely
    )
    assert pretraining_findings(metrics) == [
        "On data 1, model 4 ends at the highest math_acc, 0.610: "
        "0.300 [0.275, 0.325] above model 2."
    ]


def test_one_seed_or_equal_models_give_no_finding() -> None:
    assert pretraining_findings(pretrained([[0.1, 0.3]], [[0.1, 0.6]])) == []
    same = [[0.1, 0.5], [0.1, 0.6]]
    assert pretraining_findings(pretrained(same, same)) == []
    assert pretraining_findings(pretrained([[0.1, 0.3], [0.1, 0.4]])) == []


def test_saved_steps_and_a_higher_end_are_told() -> None:
    metrics = finetuned(full=EARLY, scratch=NEVER)
    steps, ends = protocol_findings(metrics)
    assert steps == (
        "On data 1, finetuning everything from the pretrained checkpoint (full) reaches a "
        "domain_acc of 0.9 earlier than from random weights (scratch): model 2 by at least 78 "
        "steps (scratch gets there in 0 of 3 seeds within 100 steps)."
    )
    assert ends.startswith(
        "On data 1, finetuning everything from the pretrained checkpoint (full) ends at a higher "
        "domain_acc than from random weights (scratch): model 2 by 0.470 ["
    )


def test_a_pretrained_start_that_is_behind_is_told_too() -> None:
    metrics = finetuned(frozen=NEVER, random_frozen=EARLY)
    steps, ends = protocol_findings(metrics)
    assert "(frozen) reaches a domain_acc of 0.9 later than on a random one" in steps
    assert "(frozen) ends at a lower domain_acc than on a random one (random_frozen)" in ends


@pytest.mark.parametrize(
    "protocols",
    [
        {"full": EARLY},  # nothing to compare with
        {"full": EARLY, "random_frozen": LATE},  # nor here
        {"full": EARLY[:1], "scratch": LATE[:1]},  # one seed
        {"full": NEVER, "scratch": NEVER},  # ties, and nobody gets there
    ],
)
def test_what_the_runs_do_not_support_is_not_told(protocols: dict[str, Curves]) -> None:
    assert protocol_findings(finetuned(**protocols)) == []


def test_runs_of_other_lengths_are_not_compared_at_their_ends() -> None:
    told = protocol_findings(finetuned(full=EARLY, scratch=SHORT))
    assert len(told) == 1
    assert "earlier" in told[0]


def test_models_and_versions_are_told_apart() -> None:
    runs = {(2, "full"): EARLY, (2, "scratch"): LATE, (4, "full"): LATE, (4, "scratch"): EARLY}
    second = frame("finetune", runs, data=3).assign(domain=2)
    metrics = pd.concat([frame("finetune", runs), second])
    told = [text for text in protocol_findings(metrics) if "domain_acc of 0.9 " in text]
    assert [text.partition(", finetuning")[0] for text in told] == [
        *["On domain 1, data 1"] * 2,
        *["On domain 2, data 3"] * 2,
    ]
    assert told[0].endswith(
        "earlier than from random weights (scratch): model 2 by 60 [50, 70] steps."
    )
    assert told[1].endswith(
        "later than from random weights (scratch): model 4 by 60 [50, 70] steps."
    )


def test_findings_are_those_that_hold_among_all_comparisons() -> None:
    """Three models of which one differs at p = 0.03: alone a finding, among ten it is none."""
    close = [[0.1, 0.5], [0.1, 0.52], [0.1, 0.51]]
    apart = [[0.1, 0.56], [0.1, 0.55], [0.1, 0.57]]
    alone = pretrained(close, apart)
    assert pretraining_findings(alone) != []
    noise = [[[0.1, 0.4 + d], [0.1, 0.42 - d], [0.1, 0.41 + d]] for d in (0.001, 0.011, 0.019)]
    among = pretrained(close, apart, *noise)
    gap = difference(pd.Series([0.56, 0.55, 0.57]), pd.Series([0.5, 0.52, 0.51]))
    assert 0.01 < gap.p < 0.05
    assert not any("above model 2" in told for told in pretraining_findings(among))


def test_the_verdict_says_in_plain_words_that_pretraining_helps_and_names_the_baseline() -> None:
    verdict = found(finetuned(full=EARLY, scratch=LATE)).verdict
    assert verdict == [
        "Pretraining helps here.",
        "Finetuning all weights reaches a domain_acc of 0.9 after about 15 steps from a pretrained "
        "start (full) and after about 75 steps from random weights (scratch); it ends at 0.980 and "
        "0.950, where always telling a label as most training equations have it gets 0.550.",
        "A pretrained start saves 60 steps; 1 of 2 differences stands out from 3 seeds.",
    ]


def test_the_verdict_says_when_nothing_stands_out_and_how_many_seeds_would_tell() -> None:
    shaken = [LATE[0], EARLY[1], LATE[2]]
    verdict = found(finetuned(full=[EARLY[0], LATE[1], EARLY[2]], scratch=shaken)).verdict
    assert verdict[0] == "This study does not show that pretraining helps."
    assert verdict[2] == (
        "A pretrained start saves 20 steps; none of 2 differences stands out from 3 "
        "seeds; to tell whether such differences in steps are real takes 97 "
        "seeds."
    )


def test_a_pretrained_start_that_holds_back_is_called_so() -> None:
    verdict = found(finetuned(full=LATE, scratch=EARLY)).verdict
    assert verdict[0] == "Pretraining holds finetuning back here."
    assert verdict[2].startswith("A pretrained start takes 60 more steps; ")


def test_what_a_head_alone_reads_is_told_for_both_backbones() -> None:
    starts = {"full": EARLY, "scratch": LATE, "frozen": NEVER, "random_frozen": EARLY}
    *_, told = found(finetuned(**starts)).verdict
    assert told == (
        "With the head alone trained, a pretrained backbone ends at a domain_acc of 0.510 "
        "(frozen), a random one at 0.980 (random_frozen); 1 of 1 differences stands out."
    )


def test_heads_alone_are_compared_first_where_nothing_else_was_trained() -> None:
    verdict = found(finetuned(frozen=NEVER, random_frozen=EARLY)).verdict
    assert verdict == [
        "Pretraining holds finetuning back here.",
        "Training the head alone does not reach a domain_acc of 0.9 within 100 steps on a "
        "pretrained backbone (frozen) and reaches it after about 15 steps on a random backbone "
        "(random_frozen); it ends at 0.510 and 0.980, where always telling a label as most "
        "training equations have it gets 0.550.",
        "2 of 2 differences stand out from 3 seeds.",
    ]


@pytest.mark.parametrize(
    ("full", "scratch", "told"),
    [
        (EARLY, NEVER, "reaches it after about 15 steps {} and does not reach it within 100 steps"),
        (NEVER, LATE, "does not reach it within 100 steps {} and reaches it after about 75 steps"),
        (NEVER, NEVER, "does not reach it within 100 steps {} or"),
        (NEVER[:1], NEVER[:1], "does not reach it within 100 steps {} or"),
        (NEVER, SHORT, "does not reach it within 100 steps {} or within 90 steps"),
        (
            [EARLY[0], *NEVER],
            [*LATE, NEVER[0]],
            "reaches it in 1 of 4 seeds within 100 steps {} and in 3 of 4 seeds within 100 steps",
        ),
        (EARLY, EARLY, "reaches it after about 15 steps {} and"),
    ],
)
def test_starts_from_which_seeds_do_not_get_there_are_told(
    full: Curves, scratch: Curves, told: str
) -> None:
    first = told.replace("it", "a domain_acc of 0.9", 1)
    expected = f"{first.format('from a pretrained start (full)')} from random weights (scratch);"
    assert expected in found(finetuned(full=full, scratch=scratch)).verdict[1]


def test_where_some_runs_get_there_with_all_seeds_the_others_are_counted() -> None:
    runs = {(2, "full"): EARLY[:2], (4, "full"): [EARLY[0], NEVER[0]], (6, "full"): LATE[:2]}
    told = "It reaches 0.9 after about 15 to 75 steps in all seeds of 2 of 3 runs, and ends at "
    assert found(frame("finetune", runs)).verdict[1].startswith(told)
    one_seed = {run: curves[-1:] for run, curves in runs.items()}
    told = "It reaches 0.9 after about 15 to 75 steps in 2 of 3 runs, and ends at "
    assert found(frame("finetune", one_seed)).verdict[1].startswith(told)


def test_the_verdict_of_one_seed_tells_what_was_observed_and_concludes_nothing() -> None:
    verdict = found(finetuned(full=EARLY[:1], scratch=LATE[:1])).verdict
    assert verdict == [
        "One seed cannot tell whether pretraining helps; here is what was observed.",
        "Finetuning all weights reaches a domain_acc of 0.9 after about 15 steps from a pretrained "
        "start (full) and after about 75 steps from random weights (scratch); it ends at 0.990 and "
        "0.990, where always telling a label as most training equations have it gets 0.550.",
        "A pretrained start saves 60 steps; a second seed would tell how far seeds differ, and so "
        "how many it takes.",
    ]


FULL = "inetuning all weights from a pretrained start (full)"
SECOND_SEED = "a second seed would tell how far seeds differ, and so how many it takes."


@pytest.mark.parametrize(
    ("runs", "first"),
    [
        (
            finetuned(full=EARLY),
            f"F{FULL} ends above the baseline, with 3 seeds: the difference in domain_acc is "
            "0.430 [0.405, 0.450].",
        ),
        (
            finetuned(full=EARLY[:1]),
            f"F{FULL} ends above the baseline, with one seed: the difference in domain_acc is "
            f"0.440; {SECOND_SEED}",
        ),
        (
            finetuned(full=[[0.1, 0.55]]),
            f"F{FULL} ends at the baseline, with one seed: the difference in domain_acc is "
            f"0.000; {SECOND_SEED}",
        ),
        (
            finetuned(full=[[0.1, 0.5], [0.1, 0.7]]),
            f"This study does not show that f{FULL} ends above the baseline, with 2 seeds: the "
            "difference in domain_acc is 0.050 [-0.550, 0.450]; to tell whether such a difference "
            "is real takes 65 seeds.",
        ),
        (
            finetuned(full=[[0.1, 0.9]] * 2),
            f"F{FULL} ends above the baseline, with 2 seeds: the difference in domain_acc is "
            "0.350.",
        ),
        (
            finetuned(frozen=NEVER),
            "Training the head alone on a pretrained backbone (frozen) ends below the baseline, "
            "with 3 seeds: the difference in domain_acc is -0.040 [-0.065, -0.015].",
        ),
        (
            finetuned(random_frozen=NEVER),
            "Training the head alone on a random backbone (random_frozen) ends below the baseline, "
            "with 3 seeds: the difference in domain_acc is -0.040 [-0.065, -0.015].",
        ),
        (
            finetuned(scratch=NEVER),
            "Finetuning all weights from random weights (scratch) ends below the baseline, with 3 "
            "seeds: the difference in domain_acc is -0.040 [-0.065, -0.015].",
        ),
        (
            frame("finetune", {(2, "full"): EARLY, (4, "full"): LATE}),
            f"F{FULL} ends above the baseline in all 2 runs, with 3 seeds: the differences in "
            "domain_acc are 0.400 [0.286, 0.450] to 0.430 [0.405, 0.450].",
        ),
        (
            pretrained([[0.1, 0.25]], [[0.1, 0.41]], [[0.1, 0.2]]),
            "Pretraining ends above the baseline in 1 of 3 runs, at it in 1 of 3 runs and below it "
            "in 1 of 3 runs, with one seed: the differences in math_acc are -0.050 to 0.160; "
            f"{SECOND_SEED}",
        ),
        (
            pretrained([[0.1, 0.4], [0.1, 0.5]], [[0.1, 0.4], [0.1, 0.41]]),
            "Pretraining ends above the baseline in 1 of 2 runs, with 2 seeds: the differences in "
            "math_acc are 0.155 [0.091, 0.219] to 0.200 [-0.250, 0.750]; to tell whether such a "
            "difference is real takes 4 seeds.",
        ),
    ],
)
def test_a_study_of_one_start_first_says_whether_it_ends_above_the_baseline_and_how_sure(
    runs: pd.DataFrame, first: str
) -> None:
    assert found(runs).verdict[0] == first


def test_a_study_of_one_start_then_tells_its_numbers_and_compares_nothing() -> None:
    curves = [EARLY[0], NEVER[0]]
    told = found(pretrained([[0.1, 0.4], [0.1, 0.5]]), finetuned(full=curves))
    assert told.verdict[1::2] == [
        "It reaches 0.9 in 1 of 2 seeds within 100 steps, and ends at a domain_acc of 0.745 "
        "against 0.550 on data 1; the second number is what always telling a label as most "
        "training equations have it gets.",
        "It does not reach 0.9 within 20 steps, and ends at a math_acc of 0.450 against 0.250 on "
        "data 1; the second number is what always giving the most frequent answer of an operation "
        "and modulus gets.",
    ]
    assert told.verdict[2].startswith("This study does not show that pretraining ends above the ")
    assert told.comparisons == []


def test_overfitting_is_told_with_both_accuracies_and_the_turn_of_the_loss() -> None:
    metrics = pretrained([[0.1, 0.3, 0.4], [0.1, 0.3, 0.4]])
    metrics["train_math_acc"] = 0.75
    metrics["eval_loss"] = metrics["step"].map({10: 2.0, 20: 1.0, 30: 1.5})
    assert found(metrics).overfitting == [
        "On data 1, models end at 0.750 of the training equations right and at 0.400 of the "
        "validation equations; the validation loss of model 2 is lowest at step 20, 1.00, and "
        "rises to 1.50."
    ]


def test_the_table_shows_every_comparison_told_or_not() -> None:
    runs = {(2, "full"): EARLY, (2, "scratch"): NEVER, (4, "full"): LATE, (4, "scratch"): LATE}
    first, second = found(frame("finetune", runs)).comparisons
    assert (first["model"], first["pretrained"], first["random"]) == (2, "full", "scratch")
    assert first["steps saved to 0.9"] == "≥ 78"
    assert first["final difference"].startswith("0.470 [")
    assert second["steps saved to 0.9"] == "0 [-10, 10]"
    assert second["final difference"] == "0.000"


def test_a_study_without_finished_runs_says_nothing() -> None:
    pretrain, finetune = (empty_table(columns(phase)) for phase in ("pretrain", "finetune"))
    assert find(pretrain, finetune, summarize([pretrain, finetune])) == Findings(
        [], [], [], [], [], 0
    )
