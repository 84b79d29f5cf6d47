"""Equations as people write them, such as `3 - 5 = - 2`: from text to token ids and back."""

import re
from collections.abc import Iterable, Sequence

from gpt_math_domains.data.vocabulary import LONGEST, Vocabulary

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


def tokens_of(written: str, vocabulary: Vocabulary) -> list[int]:
    """Return the token ids of an equation, or of its beginning.

    A `-` right after `=` is the negative sign, and the operation elsewhere.

    Raises:
        ValueError: a symbol is not of the vocabulary, or there are none or too many of them.
    """
    symbols = written.split()
    if not 1 <= len(symbols) <= LONGEST:
        raise ValueError(
            f"has {len(symbols)} symbols between spaces; must have 1 to {LONGEST}, "
            "as `3 + 4 =(m) 5 2` has 6"
        )
    return encode(symbols, vocabulary)


def encode(symbols: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    """Return the token ids of symbols in their order; see `tokens_of`.

    Raises:
        ValueError: a symbol is not of the vocabulary.
    """
    return [
        _token(symbol, before, vocabulary)
        for before, symbol in zip(["", *symbols], symbols, strict=False)
    ]


def written_of(tokens: Iterable[int], vocabulary: Vocabulary) -> list[str]:
    """Return the symbols of token ids as people read them."""
    names = vocabulary.written
    return [names[token] for token in tokens]


def _token(symbol: str, before: str, vocabulary: Vocabulary) -> int:
    """Return the token id of a symbol that stands after another, or after none."""
    if symbol == "-":
        return vocabulary.negative if before == "=" else vocabulary.subtract
    signs = {
        "=": vocabulary.equal,
        "=(m)": vocabulary.equal_mod,
        "+": vocabulary.add,
        "*": vocabulary.multiply,
        "/": vocabulary.divide,
    }
    if symbol in signs:
        return signs[symbol]
    if _NUMBER.fullmatch(symbol):
        if int(symbol) < vocabulary.digits:
            return int(symbol)
        if vocabulary.has_modulus and int(symbol) == vocabulary.digits:
            return vocabulary.modulus
    largest = vocabulary.digits if vocabulary.has_modulus else vocabulary.digits - 1
    raise ValueError(
        f"has the symbol {symbol!r}; must have those of its data version: 0 to {largest}, "
        f"- and {' '.join(signs)}"
    )
