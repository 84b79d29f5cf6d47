"""Questions: equations as people type them, with or without blanks, with or without an answer."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from operator import contains

import numpy as np

from gpt_math_domains.data.equations import ANSWERS
from gpt_math_domains.data.vocabulary import OPERATIONS, Vocabulary
from gpt_math_domains.data.written import encode

FORM = "`a op b =` or `a op b =(m) m`, then perhaps an answer"
_SYMBOL = re.compile(r"=\s*\(m\)|=|[-+*/]|[0-9]+|\S")


@dataclass(frozen=True)
class Question:
    """An equation up to its answer, and what it was given as one.

    Attributes:
        prompt: token ids of all before the answer, 4 or 5.
        given: token ids of the answer that was typed, none where there was none.
        truth: the right answer, which may have no symbol.
    """

    prompt: tuple[int, ...]
    given: tuple[int, ...]
    truth: int

    def answer(self, vocabulary: Vocabulary) -> tuple[int, ...] | None:
        """Return the token ids of the right answer; None where there is no such symbol."""
        if abs(self.truth) >= vocabulary.digits:
            return None
        return (vocabulary.negative, -self.truth) if self.truth < 0 else (self.truth,)


def parse_question(text: str, vocabulary: Vocabulary) -> Question:
    """Return the question that a text asks.

    A `-` after `=` is the negative sign. Without blanks, digits that stand together are one number.

    Raises:
        ValueError: the text has a symbol that the vocabulary lacks, or is no such equation; one
            line that names both.
    """
    symbols = [re.sub(r"=\s+", "=", symbol) for symbol in _SYMBOL.findall(text)]
    try:
        tokens = encode(symbols, vocabulary)
    except ValueError as error:
        raise ValueError(f"equation {text!r}: {error}") from None
    modular = tokens[3:4] == [vocabulary.equal_mod]
    start = 5 if modular else 4
    prompt, given = tokens[:start], tokens[start:]
    if not (_is_prompt(prompt, vocabulary) and _is_answer(given, vocabulary)):
        raise ValueError(f"equation {text!r}: is not of the form {FORM}")
    first, sign, second, _, *moduli = prompt
    operation = next(name for name in OPERATIONS if getattr(vocabulary, name) == sign)
    if operation == "divide" and second == 0:
        raise ValueError(f"equation {text!r}: divides by 0; allowed are 1 and above")
    if moduli == [0]:
        raise ValueError(f"equation {text!r}: has the modulus 0; allowed are 1 and above")
    truth = int(ANSWERS[operation](np.array(first), np.array(second)))
    if modular:
        truth %= vocabulary.digits if moduli == [vocabulary.modulus] else moduli[0]
    return Question(tuple(prompt), tuple(given), truth)


def _is_prompt(tokens: list[int], vocabulary: Vocabulary) -> bool:
    """Tell whether tokens are `a op b =` or `a op b =(m) m`."""
    digits, signs = range(vocabulary.digits), [getattr(vocabulary, name) for name in OPERATIONS]
    allowed: list[Collection[int]] = [digits, signs, digits, [vocabulary.equal]]
    if len(tokens) == 5:
        allowed[3:] = [[vocabulary.equal_mod], [*digits, vocabulary.modulus]]
    return len(tokens) == len(allowed) and all(map(contains, allowed, tokens))


def _is_answer(tokens: list[int], vocabulary: Vocabulary) -> bool:
    """Tell whether tokens are an answer, or none."""
    number = tokens[1:] if tokens[:1] == [vocabulary.negative] else tokens
    return tokens == [] or (len(number) == 1 and number[0] < vocabulary.digits)
