"""Labels of one's own: each function answers yes or no to one equation."""


def answer_large(equation):
    """Tell whether the answer is 5 or more."""
    return equation.answer >= 5


def same_parity(equation):
    """Tell whether both operands are odd, or both even."""
    return equation.first % 2 == equation.second % 2
