import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_math_domains.data.equations import enumerate_family
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary
from gpt_math_domains.data.written import tokens_of, written_of
from gpt_math_domains.training.checkpoint import tokenizer

SMALL, LARGE = Vocabulary(5), DataSettings(12, moduli=(7, 12)).vocabulary


@pytest.mark.parametrize(
    ("vocabulary", "moduli"), [(SMALL, (None, 3)), (LARGE, (None, 7, 12))], ids=["small", "large"]
)
def test_every_equation_is_read_as_the_tokenizer_reads_it(
    vocabulary: Vocabulary, moduli: tuple[int | None, ...]
) -> None:
    encoder = tokenizer(vocabulary)
    for operation in OPERATIONS:
        for modulo in moduli:
            for tokens in enumerate_family(vocabulary, operation, modulo).tolist():
                own = [token for token in tokens if token >= 0]
                text = " ".join(written_of(own, vocabulary))
                assert tokens_of(text, vocabulary) == encoder.encode(text).ids == own


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("3 + x", "has the symbol 'x'; must have those of its data version: 0 to 4, - and ="),
        ("3 + 5", "has the symbol '5'"),
        ("03 + 1", "has the symbol '03'"),
        ("3 + ٣", "has the symbol '٣'"),
        ("3 + [eos]", r"has the symbol '\[eos\]'"),
        ("1 - 2 = [neg] 1", r"has the symbol '\[neg\]'"),
        (f"3 + {'9' * 5000}", "has the symbol '999"),
        ("", "has 0 symbols between spaces; must have 1 to 6"),
        ("3+4=7 1 1 1 1 1 1", "has 7 symbols"),
    ],
)
def test_what_is_no_equation_is_told(written: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tokens_of(written, SMALL)


def test_a_modulus_of_its_own_is_told() -> None:
    with pytest.raises(ValueError, match="'13'; must have those of its data version: 0 to 12, -"):
        tokens_of("3 + 13", LARGE)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        tokens = tokens_of(text, LARGE)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert all(0 <= token < LARGE.size for token in tokens)
