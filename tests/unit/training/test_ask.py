import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from finished_study import (
    FINETUNED,
    LABELS,
    POINT,
    PRETRAINED,
    RUN,
    SEEDS,
    VOCABULARY,
    change,
    write_study,
)
from gpt_math_domains.__main__ import main
from gpt_math_domains.files import write_json
from gpt_math_domains.training.ask import ask


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a study with one pretrained and one finetuned model, of random weights."""
    root = tmp_path_factory.mktemp("results")
    write_study(root)
    return root


def split_of(results: Path, equation: str) -> str | None:
    """Return in which table an equation stands."""
    for split in ("train", "valid"):
        lines = (results / "data" / "5" / f"{split}.csv").read_text().splitlines()
        if any(line.startswith(f"{equation},") for line in lines):
            return split
    return None


@torch.no_grad()
def test_answers_have_the_probabilities_that_transformers_gives_them(results: Path) -> None:
    [told] = ask(results / PRETRAINED, ["2 - 4 ="])
    assert (told["equation"], told["truth"]) == ("2 - 4 =", "- 2")
    assert told["split"] == split_of(results, "2 - 4 = - 2")
    shares = []
    for seed, own in zip(SEEDS, told["seeds"], strict=True):
        directory = results / PRETRAINED / f"seed_{seed}"
        model = AutoModelForCausalLM.from_pretrained(directory).eval()
        tokenizer = AutoTokenizer.from_pretrained(directory)

        def after(text: str, tokenizer: Any = tokenizer, model: Any = model) -> torch.Tensor:
            shown = tokenizer(text, return_tensors="pt")
            probabilities: torch.Tensor = model(**shown).logits[0, -1].softmax(dim=-1)
            return probabilities

        first, second = after("2 - 4 ="), after("2 - 4 = -")
        # Of both `-`, which are written alike, the operation counts but is not named.
        names = [name.replace("[neg]", "-") for name in VOCABULARY.symbols]
        negative = float(first[VOCABULARY.negative])
        known = dict(zip(names, first.tolist(), strict=True))
        known["-"] = float(first[VOCABULARY.subtract])
        known |= {f"- {n}": negative * p for n, p in zip(names, second.tolist(), strict=True)}
        every = [*known.values(), negative * float(second[VOCABULARY.subtract])]
        assert sum(every) == pytest.approx(1, abs=1e-5)
        shares.append(known)
        assert own["seed"] == seed
        assert own["probability"] == pytest.approx(known[own["answer"]], abs=1e-6)
        assert own["right"] == (own["answer"] == "- 2")
        every.remove(known[own["answer"]])
        most = sorted(every)[:-4:-1]
        assert [share for _, share in own["others"]] == pytest.approx(most, abs=1e-6)
        for name, other in own["others"]:
            assert other == pytest.approx(known[name], abs=1e-6)
    mean = {name: (shares[0][name] + shares[1][name]) / 2 for name in shares[0]}
    best = max(mean, key=lambda name: mean[name])
    assert told["mean"]["answer"] == best
    assert told["mean"]["probability"] == pytest.approx(mean[best], abs=1e-6)


def test_every_equation_is_found_where_it_stood(results: Path) -> None:
    written = {
        split: [
            line.partition(",")[0]
            for line in (results / "data" / "5" / f"{split}.csv").read_text().splitlines()[1:]
        ]
        for split in ("train", "valid")
    }
    told = ask(results / PRETRAINED, [text for texts in written.values() for text in texts])
    assert [one["split"] for one in told] == [s for s, texts in written.items() for _ in texts]
    assert ask(results / PRETRAINED, ["4 + 4 ="])[0] | {"seeds": [], "mean": {}} == {
        "equation": "4 + 4 =", "truth": "8", "split": None, "seeds": [], "mean": {},
    }  # fmt: skip


@torch.no_grad()
def test_labels_have_the_probabilities_that_transformers_gives_them(results: Path) -> None:
    [told, other] = ask(results / FINETUNED, ["3-4=", "3 - 4 = 2"])
    assert told["equation"] == "3 - 4 = - 1"
    assert told["split"] == split_of(results, "3 - 4 = - 1")
    assert list(told["labels"]) == LABELS
    for place, seed in enumerate(SEEDS):
        directory = results / FINETUNED / f"seed_{seed}"
        model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
        shown = AutoTokenizer.from_pretrained(directory)("3 - 4 = - 1", return_tensors="pt")
        expected = model(**shown).logits[0].sigmoid().tolist()
        own = [told["labels"][label]["seeds"][place] for label in LABELS]
        assert own == pytest.approx(expected, abs=1e-6)
    assert [told["labels"][label]["truth"] for label in LABELS] == [True, False, False]
    # Nobody has labelled an equation that is wrong.
    assert other["split"] is None
    assert {label["truth"] for label in other["labels"].values()} == {None}


def test_the_command_tells_the_same_in_words_and_as_json_from_arguments_or_lines(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(results / PRETRAINED)
    assert main(["ask", run, "2 + 1 =(m) 3", "2-4=", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == ask(run, ["2+1=(m)3", "2 - 4 ="])
    monkeypatch.setattr("sys.stdin", io.StringIO("2 + 1 =(m) 3\n\n2-4=\n"))
    assert main(["ask", run]) == 0
    words = capsys.readouterr().out
    for one in told:
        assert f"{one['equation']}   truth {one['truth']}, " in words
        for seed in one["seeds"]:
            verdict = "right" if seed["right"] else "wrong"
            assert f"{seed['answer']}  {seed['probability']:.4f}  {verdict}" in words
    assert main(["ask", str(results / FINETUNED), "3-4="]) == 0
    assert re.search(r"has_zero +no +0\.", capsys.readouterr().out)


def test_what_cannot_be_asked_is_told_in_one_line(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        (
            [str(results / PRETRAINED), "2 + 1 =", "2 ^ 1 ="],
            "equation '2 ^ 1 =': has the symbol '^'",
        ),
        ([str(results / FINETUNED), "4 + 4 ="], "its answer 8 has no symbol; add one that has"),
        ([str(tmp_path), "2 + 1 ="], f"{tmp_path}: is no finished run, which has a run.json"),
    ):
        assert main(["ask", *arguments]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("error: ") and said in told.err
        assert len(told.err.splitlines()) == 1
    write_json(tmp_path / "run.json", {"run": {"phase": "pretrain", **RUN}})
    assert main(["ask", str(tmp_path), "2 + 1 ="]) == 2
    assert "run.json: is no record of a run" in capsys.readouterr().err


DATA, DOMAIN = "data/5", "domains/1/data_5"


@pytest.mark.parametrize(
    ("run", "file"),
    [
        *((run, f"{DATA}/{name}") for run in (PRETRAINED, FINETUNED) for name in
          ("train.csv", "valid.csv", "vocabulary.json")),
        (FINETUNED, f"{DOMAIN}/train.csv"),
        (FINETUNED, f"{DOMAIN}/valid.csv"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("point", ["", POINT], ids=["own", "point"])
def test_a_run_is_not_asked_beside_data_or_labels_that_it_was_not_made_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], point: str, run: str, file: str
) -> None:
    write_study(tmp_path, point)
    directory = tmp_path / point / run
    assert main(["ask", str(directory), "2 + 1 ="]) == 0
    capsys.readouterr()
    [path] = tmp_path.rglob(file)
    change(path)
    assert main(["ask", str(directory), "2 + 1 ="]) == 2
    assert capsys.readouterr() == (
        "",
        f"error: {path}: is not what the run was made with: its SHA-256 is not the one in "
        f"{directory / 'run.json'}\n",
    )


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("run", [PRETRAINED, FINETUNED], ids=["pretrain", "finetune"])
def test_weights_that_are_not_the_runs_are_not_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: str, file: str
) -> None:
    write_study(tmp_path)
    path = tmp_path / run / "seed_8" / file
    change(path)
    assert main(["ask", str(tmp_path / run), "2 + 1 ="]) == 2
    record = tmp_path / run / "run.json"
    assert capsys.readouterr() == ("", f"error: {path}: is not what {record} was written with\n")


@pytest.mark.parametrize("given", ["", "\n \n"])
def test_no_equation_is_told_in_one_line(
    results: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert main(["ask", str(results / PRETRAINED)]) == 2
    assert capsys.readouterr() == (
        "",
        "error: no equation: give some, as arguments or as lines of standard input\n",
    )


@pytest.mark.parametrize("equation", ["-3+4=", "- 3 + 4 =", "--3+4=", "-(3+4)="])
def test_an_equation_that_begins_with_a_minus_is_refused_as_any_other(
    results: Path, capsys: pytest.CaptureFixture[str], equation: str
) -> None:
    for arguments in ([equation, "--json"], ["--", equation]):
        assert main(["ask", str(results / PRETRAINED), *arguments]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith(f"error: equation {equation!r}: ")
        assert len(told.err.splitlines()) == 1
