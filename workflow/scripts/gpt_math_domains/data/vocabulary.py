"""The token ids of a data version: its digit symbols, then eight signs, then perhaps a modulus."""

from dataclasses import dataclass
from pathlib import Path

from gpt_math_domains.files import read_json, write_json

OPERATIONS = ("add", "subtract", "multiply", "divide")
"""The operations, in the order of their families; each is a sign of the vocabulary."""

LONGEST = 6
"""Tokens of the longest equation, such as `a op b =(m) m r` and `a - b = - r`."""

POSITIONS = LONGEST + 1
"""Of a model: those of the longest equation, and of its end."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a data version; a symbol's token id is its place in `symbols`.

    A digit symbol stands for one number and is one token, also above 9, so its id is its value.

    Attributes:
        digits: how many digit symbols there are (0 to `digits` - 1), at least 2.
        has_modulus: whether `digits` is a modulus, written as a symbol of its own.

    Raises:
        ValueError: there are fewer than 2 digit symbols.
    """

    digits: int
    has_modulus: bool = False

    def __post_init__(self) -> None:
        """Refuse a vocabulary too small to split any family into two non-empty parts."""
        if self.digits < 2:
            raise ValueError(f"digits is {self.digits}, but at least 2 digit symbols are needed")

    @property
    def equal(self) -> int:
        """The equality sign of an equation without a modulus."""
        return self.digits

    @property
    def equal_mod(self) -> int:
        """The equality sign that a modulus follows."""
        return self.digits + 1

    @property
    def add(self) -> int:
        """The operation `+`."""
        return self.digits + 2

    @property
    def multiply(self) -> int:
        """The operation `*`."""
        return self.digits + 3

    @property
    def subtract(self) -> int:
        """The operation `-`."""
        return self.digits + 4

    @property
    def divide(self) -> int:
        """The operation `/`, floor division."""
        return self.digits + 5

    @property
    def negative(self) -> int:
        """The negative sign of an answer, another token than the operation `-`."""
        return self.digits + 6

    @property
    def eos(self) -> int:
        """The end of a training sequence; it also pads."""
        return self.digits + 7

    @property
    def modulus(self) -> int:
        """The modulus `digits`, where it `has_modulus`; a smaller one is a digit symbol."""
        return self.digits + 8

    @property
    def size(self) -> int:
        """How many token ids there are."""
        return self.digits + 8 + self.has_modulus

    @property
    def symbols(self) -> list[str]:
        """Every token's string by id, all distinct."""
        signs = ["=", "=(m)", "+", "*", "-", "/", "[neg]", "[eos]"]
        modulus = [str(self.digits)] if self.has_modulus else []
        return [*map(str, range(self.digits)), *signs, *modulus]

    @property
    def written(self) -> list[str]:
        """Every token by id as people read it: `symbols` with the negative sign as `-`."""
        return ["-" if symbol == "[neg]" else symbol for symbol in self.symbols]


def write_vocabulary(vocabulary: Vocabulary, path: str | Path) -> None:
    """Write `vocabulary` as JSON: its digits, size and symbols by id."""
    write_json(path, _as_json(vocabulary))


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read what `write_vocabulary` wrote.

    Raises:
        ValueError: the file is no JSON, or not exactly a vocabulary's digits, size and symbols.
    """
    value = read_json(path)
    # The length is compared first so that an absurd `digits` builds no absurd list of symbols.
    if (
        isinstance(value, dict)
        and type(digits := value.get("digits")) is int
        and digits >= 2
        and isinstance(symbols := value.get("symbols"), list)
        and 8 <= len(symbols) - digits <= 9
        and value == _as_json(vocabulary := Vocabulary(digits, len(symbols) == digits + 9))
    ):
        return vocabulary
    raise ValueError(
        f"{path}: expected 'digits' (2 or more), 'size' (digits + 8, or + 9) and 'symbols' "
        "(the digit symbols, then = =(m) + * - / [neg] [eos], then perhaps the number of digits)"
    )


def _as_json(vocabulary: Vocabulary) -> dict[str, object]:
    """Return the JSON object that stands for `vocabulary`."""
    return {
        "digits": vocabulary.digits,
        "size": vocabulary.size,
        "symbols": vocabulary.symbols,
    }
