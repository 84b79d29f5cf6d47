"""What pretrained models answer, and how probable they hold each answer to be.

An answer is one token, or the negative sign and one token. Both kinds together are every way in
which a model can go on, so their probabilities sum to 1. Each has a number: its token id, or V
more where the negative sign stands before it; V is the size of the vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.run import EMBEDDING, ModelSize
from gpt_math_domains.training.model import Parameters, forward, keep, token_scores
from gpt_math_domains.training.stack import EVALUATION_ROWS


def answer_number(tokens: Sequence[int], vocabulary: Vocabulary) -> int:
    """Return the number of an answer of these tokens."""
    if tokens[0] == vocabulary.negative and len(tokens) > 1:
        return vocabulary.size + tokens[1]
    return tokens[0]


def written_answers(vocabulary: Vocabulary) -> list[str]:
    """Return every answer by number as people read it, such as `- 2`."""
    return [*vocabulary.written, *(f"- {symbol}" for symbol in vocabulary.written)]


@torch.no_grad()
def answer_prompts(
    parameters: Parameters, size: ModelSize, prompts: Tensor, vocabulary: Vocabulary
) -> tuple[Tensor, Tensor]:
    """Return what each of R seeds answers to n prompts, and how probable it holds each answer.

    Dropout is off. An answer is taken token by token, each the most probable one, as in the
    evaluations of training; another answer can be more probable than one of two tokens.

    Args:
        parameters: of all seeds.
        size: of each model.
        prompts: `[n, LONGEST]` token ids of all before the answer, padded on the right with -1.
        vocabulary: of the models.

    Returns:
        The numbers of the answers `[R, n]`, and the probabilities of all `[R, n, 2 V]`; that
        of the negative sign alone is 0.
    """
    rows = max(1, EVALUATION_ROWS["cpu"] // len(parameters[EMBEDDING]))
    both = [_answer(parameters, size, part, vocabulary) for part in prompts.split(rows)]
    given, probabilities = zip(*both, strict=True)
    return torch.cat(given, dim=1), torch.cat(probabilities, dim=1)


def _answer(
    parameters: Parameters, size: ModelSize, prompts: Tensor, vocabulary: Vocabulary
) -> tuple[Tensor, Tensor]:
    """Return what `answer_prompts` does, of few prompts."""
    ends = (prompts >= 0).sum(dim=1)
    every = torch.arange(len(prompts))
    tokens = prompts.where(prompts >= 0, vocabulary.eos)
    negated = tokens.clone()
    negated[every, ends] = vocabulary.negative

    def next_tokens(parameters: Parameters, tokens: Tensor, last: Tensor) -> Tensor:
        states = forward(parameters, size, tokens, keep)[every, last]
        return token_scores(parameters, states).softmax(dim=-1)

    ask = torch.vmap(next_tokens, in_dims=(0, None, None))
    first, second = ask(parameters, tokens, ends - 1), ask(parameters, negated, ends)
    probabilities = torch.cat([first, first[..., vocabulary.negative, None] * second], dim=-1)
    probabilities[..., vocabulary.negative] = 0
    given = first.argmax(dim=-1)
    negative = given == vocabulary.negative
    return given.where(~negative, vocabulary.size + second.argmax(dim=-1)), probabilities
