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

from gpt_math_domains.__main__ import main
from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.files import sha256, write_json
from gpt_math_domains.run import DIRECTORIES, ModelSize
from gpt_math_domains.training.ask import ask
from gpt_math_domains.training.checkpoint import write_checkpoints
from gpt_math_domains.training.model import initialize

SETTINGS = DataSettings(5, 3)
VOCABULARY = SETTINGS.vocabulary
LABELS = ["first_odd", "has_zero", "answer_zero"]
SEEDS = (3, 8)
RUN = {"data": 5, "model": 2, "domain": 1, "protocol": "full"}
PRETRAINED, FINETUNED = (directory.format(point="", **RUN) for directory in DIRECTORIES.values())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a study with one pretrained and one finetuned model, of random weights."""
    root = tmp_path_factory.mktemp("results")
    names = ("train", "valid", "vocabulary", "manifest")
    files = {
        name: root / "data" / "5" / f"{name}.{'csv' if name in names[:2] else 'json'}"
        for name in names
    }
    generate_equations(SETTINGS, **files)
    domain = root / "domains" / "1" / "data_5"
    labelled = {f"labelled_{name}": domain / f"{name}.csv" for name in names[:2]}
    labelled["labelled_manifest"] = domain / "manifest.json"
    label_domains(LABELS, **files, **labelled)
    size = ModelSize(2, 2, 16, VOCABULARY.size, 7)
    inputs = {str(path): sha256(path) for path in files.values()}
    for phase, place, labels in (("pretrain", PRETRAINED, None), ("finetune", FINETUNED, LABELS)):
        generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
        parameters = initialize(size, generators, len(LABELS) if labels else None)
        for value in parameters.values():
            value += 0.3 * torch.randn(value.shape, generator=generators[0])
        directories = [root / place / f"seed_{seed}" for seed in SEEDS]
        write_checkpoints(directories, parameters, size, VOCABULARY, labels)
        told = {"run": {"phase": phase, **RUN}, "seeds": SEEDS, "inputs": inputs}
        write_json(root / place / "run.json", told)
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
    valid = results / "data" / "5" / "valid.csv"
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
    content = valid.read_text()
    try:
        valid.write_text(content + "1 + 1 = 3,1 7 1 5 3,add,,4\n")
        assert main(["ask", str(results / PRETRAINED), "2 + 1 ="]) == 2
        assert f"{valid}: was changed after it was written" in capsys.readouterr().err
        write_json(tmp_path / "run.json", {"run": {"phase": "pretrain", **RUN}})
        assert main(["ask", str(tmp_path), "2 + 1 ="]) == 2
        assert "run.json: is no record of a run" in capsys.readouterr().err
    finally:
        valid.write_text(content)
