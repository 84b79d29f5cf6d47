"""`snakemake interpretability`: what is inside the models of a study, and when it is looked at."""

import pandas as pd
import pytest

from gpt_math_domains.data.labels import LABELS
from gpt_math_domains.figures.drawing import read_drawing
from study import Repository, listed_jobs

STUDY = {
    "run": {"data": [5], "models": [2], "domains": [1], "protocols": ["full"]},
    "pretrain": {"checkpoints": "log"},
}
RUN = "pretrain/data_5/model_2"
EQUATIONS = {"interpretability": {"equations": {5: ["3 + 4 =(m) 3 1", "1 - 3 = - 2"]}}}
PAGES = {
    "pretrain_5_model_2_attention",
    "pretrain_5_embedding",
    "pretrain_5_lens",
    "finetune_1_pretrain_5_probes",
    "finetune_1_pretrain_5_probe_steps",
}


@pytest.fixture(scope="module")
def looked_into(
    untouched: Repository, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Repository, str]:
    """A repository in which a study was looked into, and what Snakemake said. Not to be changed."""
    repository = untouched.copy_to(tmp_path_factory.mktemp("inside") / "repository")
    ran = repository.snakemake("interpretability", "--cores", "1", config=STUDY)
    assert ran.returncode == 0, ran.stdout
    return repository, ran.stdout


def test_tables_and_pages_of_the_inside_of_models_are_made_once(
    looked_into: tuple[Repository, str],
) -> None:
    repository, _ = looked_into
    assert {page.stem for page in repository.results.glob("plots/*.html")} == PAGES
    for page in PAGES:
        drawing = read_drawing(repository.results / "plots" / f"{page}.html")
        assert drawing.data and drawing.description
    assert repository.jobs_to_run("interpretability", config=STUDY) == set()


def test_the_validation_equation_in_the_middle_of_each_family_is_shown(
    looked_into: tuple[Repository, str],
) -> None:
    repository, _ = looked_into
    valid = pd.read_csv(repository.results / "data" / "5" / "valid.csv")
    families = valid.groupby(["operation", "modulo"], dropna=False, sort=False)["equation"]
    attention = pd.read_csv(repository.results / RUN / "inside" / "attention.csv")
    shown = attention["equation"].drop_duplicates().tolist()
    assert shown == [own.iloc[len(own) // 2] for _, own in families]


def test_the_last_layer_answers_as_the_evaluation_of_training_says(
    looked_into: tuple[Repository, str],
) -> None:
    repository, _ = looked_into
    keys = ["seed", "operation", "modulo"]
    lens = pd.read_csv(repository.results / RUN / "inside" / "lens.csv")
    last = lens.query("split == 'valid' and layer == 1").sort_values(keys)
    families = pd.read_csv(repository.results / RUN / "families.csv")
    end = families[families["step"] == families["step"].max()].sort_values(keys)
    assert last["accuracy"].tolist() == pytest.approx(end["accuracy"].tolist())
    assert last["equations"].tolist() == end["equations"].tolist()


def test_every_label_is_probed_by_layer_at_every_checkpoint(
    looked_into: tuple[Repository, str],
) -> None:
    repository, _ = looked_into
    probes = pd.read_csv(repository.results / RUN / "inside" / "probes_1.csv")
    metrics = pd.read_csv(repository.results / RUN / "metrics.csv")
    kept = {int(path.name[5:]) for path in (repository.results / RUN / "seed_0").glob("step_*")}
    assert set(probes["step"]) == kept | {metrics["step"].max()}
    sizes = probes.groupby(["seed", "step", "layer"])["label"].apply(list)
    assert len(sizes) == 2 * len(set(probes["step"])) * 2
    assert all(labels == list(LABELS)[:6] for labels in sizes)
    finetuned = pd.read_csv(repository.results / "finetune/domain_1/data_5/model_2/full/probes.csv")
    assert set(finetuned["protocol"]) == {"full"}


def test_what_follows_from_a_change_is_looked_at_again_and_nothing_else(
    looked_into: tuple[Repository, str],
) -> None:
    repository, _ = looked_into

    def jobs(**changes: object) -> set[str]:
        return repository.jobs_to_run("interpretability", config={**STUDY, **changes})

    assert jobs(**EQUATIONS) == {"inspect_model data=5 model=2"} | {
        "plot_attention data=5 model=2",
        "plot_embedding data=5",
        "plot_lens data=5",
        "interpretability",
    }
    labels = {"domains": {1: {"labels": ["both_even", "first_odd"]}}}
    assert jobs(**labels) == {"interpretability", "label_domains data=5 domain=1"} | {
        "probe_pretrained data=5 domain=1 model=2",
        "finetune_model data=5 domain=1 model=2 protocol=full",
        "probe_finetuned data=5 domain=1 model=2 protocol=full",
        "plot_probes data=5 domain=1",
    }
    longer = jobs(pretrain={"checkpoints": "log", "num_train_epochs": 13})
    assert longer >= {"inspect_model data=5 model=2", "probe_pretrained data=5 domain=1 model=2"}


def test_chosen_equations_are_shown(
    untouched: Repository,
    looked_into: tuple[Repository, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    repository = looked_into[0].copy_to(tmp_path_factory.mktemp("chosen") / "repository")
    target = "results/smoke/plots/pretrain_5_model_2_attention.html"
    ran = repository.snakemake(target, "--cores", "1", config={**STUDY, **EQUATIONS})
    assert ran.returncode == 0, ran.stdout
    assert listed_jobs(ran.stdout) == {
        "inspect_model data=5 model=2",
        "plot_attention data=5 model=2",
    }
    attention = pd.read_csv(repository.results / RUN / "inside" / "attention.csv")
    chosen = EQUATIONS["interpretability"]["equations"][5]
    assert attention["equation"].drop_duplicates().tolist() == chosen


def test_an_equation_with_foreign_symbols_is_refused_before_any_job(untouched: Repository) -> None:
    config = {**STUDY, "interpretability": {"equations": {5: ["3 + 9 = 2"]}}}
    ran = untouched.snakemake("interpretability", "--cores", "1", config=config)
    assert ran.returncode != 0
    assert ran.stdout.count("config: ") == 1
    said = "config: interpretability.equations.5 = '3 + 9 = 2': has the symbol '9'; must have those"
    assert f"{said} of its data version: 0 to 4, - and = =(m) + * /\n" in ran.stdout


def test_nothing_of_it_belongs_to_a_study_that_does_not_ask(untouched: Repository) -> None:
    rules = {job.split()[0] for job in untouched.jobs_to_run()}
    assert not rules & {"inspect_model", "probe_pretrained", "probe_finetuned", "plot_lens"}
