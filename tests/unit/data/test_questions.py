from pathlib import Path

import pytest

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import parts_of
from gpt_math_domains.data.questions import parse_question
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import Vocabulary

TEN = Vocabulary(10)


@pytest.mark.parametrize(
    "settings", [DataSettings(12, 5), DataSettings(5, None, moduli=[5, 3])], ids=str
)
def test_every_equation_is_asked_as_it_is_written_and_its_answer_known(
    tmp_path: Path, settings: DataSettings
) -> None:
    names = ("train", "valid", "vocabulary", "manifest")
    generate_equations(settings, **{name: tmp_path / name for name in names})
    equations = read_equations(tmp_path / "train")
    parts = parts_of(equations, settings.vocabulary)
    lines = (tmp_path / "train").read_text().splitlines()[1:]
    for place, line in enumerate(lines):
        text, start = line.partition(",")[0], equations.answer_starts[place]
        tokens = [token for token in equations.tokens[place].tolist() if token >= 0]
        question = parse_question(text, settings.vocabulary)
        assert [*question.prompt, *question.given] == tokens
        assert question.truth == parts.answer[place]
        assert question.answer(settings.vocabulary) == question.given
        prompt = "".join(text.split()[:start])
        assert parse_question(prompt, settings.vocabulary).prompt == question.prompt


def test_an_answer_may_be_wrong_and_a_right_one_may_have_no_symbol() -> None:
    assert parse_question("3 + 4 = 8", TEN).given == (8,)
    assert parse_question("9 + 9 =", TEN).answer(TEN) is None
    assert parse_question("2-5=-4", TEN).given == (TEN.negative, 4)
    assert parse_question("3+4 = (m) 5", TEN) == parse_question("3 + 4 =(m) 5", TEN)
    assert parse_question("2-5=", TEN).answer(TEN) == (TEN.negative, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "3 ? 4 =",
            "has the symbol '?'; must have those of its data version: 0 to 9, - and = =(m)",
        ),
        ("3 + 4 =(m) 52", "has the symbol '52'; must have those of its data version"),
        ("01 + 1 =", "has the symbol '01'; must have those of its data version"),
        ("three + 1 =", "has the symbol 't'; must have those of its data version"),
        ("3 [neg] 4 =", "has the symbol '['; must have those of its data version"),
        ("3 + ٤ =", "has the symbol '٤'; must have those of its data version"),
        ("3 + 4 ) 5", "has the symbol ')'; must have those of its data version"),
        ("", "is not of the form `a op b =` or `a op b =(m) m`, then perhaps an answer"),
        ("3 + 4", "is not of the form"),
        ("- 3 + 4 =", "is not of the form"),
        ("3 + 4 =(m)", "is not of the form"),
        ("3 + 4 = 5 2", "is not of the form"),
        ("3 + 4 =(m) 5 - 2", "is not of the form"),
        ("3 + 4 = -", "is not of the form"),
        ("3 = 4 + 7", "is not of the form"),
        ("8 / 0 =", "divides by 0; allowed are 1 and above"),
        ("3 + 4 =(m) 0", "has the modulus 0; allowed are 1 and above"),
    ],
)
def test_what_is_no_question_is_told_in_one_line_that_names_it(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_question(text, TEN)
    assert str(error.value).startswith(f"equation {text!r}: {said}")
    assert "\n" not in str(error.value)
