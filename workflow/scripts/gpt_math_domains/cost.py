"""What a model costs: its parameters, and the floating-point operations of training it."""

from collections.abc import Mapping

POSITIONS = 7
"""Of every model: the longest equation and its end. Training runs over one less."""
HEAD_ONLY = ("frozen", "random_frozen")  # protocols without a backward pass through the blocks


def parameters(model: Mapping[str, int], vocabulary: int, labels: int = 0) -> int:
    """Return how many parameters a GPT-2 has, its embeddings among them.

    With D `d_model` and L `num_layers`, they are

        (vocabulary + POSITIONS + 2 + labels) D + L (12 D^2 + 13 D)

    Args:
        model: `num_layers` and `d_model`.
        vocabulary: its size.
        labels: of the classification head; 0 without one.
    """
    width = model["d_model"]
    return (vocabulary + POSITIONS + 2 + labels) * width + model["num_layers"] * (
        12 * width**2 + 13 * width
    )


def training_flops(
    model: Mapping[str, int], outputs: int, *, pretraining: bool, head_only: bool = False
) -> int:
    """Return the FLOPs of training on one equation once.

    Matrix products are counted, a multiplication and an addition as two, and the backward pass as
    twice the forward pass (Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section
    2.1; the attention's products as in Hoffmann et al. 2022, "Training Compute-Optimal Large
    Language Models", appendix F). With D `d_model`, L `num_layers` and T = POSITIONS - 1 tokens, a
    forward pass takes

        T L (24 D^2 + 4 T D) + 2 n D outputs

    in which n is T where each token predicts the next, and 1 where the last tells the labels. Our
    finetuning takes fewer: its last block computes little for the other tokens (`model.forward`).

    Args:
        model: `num_layers` and `d_model`.
        outputs: size of the vocabulary, or number of labels.
        pretraining: whether each token predicts the next.
        head_only: whether the classification head alone is trained.
    """
    width, tokens = model["d_model"], POSITIONS - 1
    blocks = tokens * model["num_layers"] * (24 * width**2 + 4 * tokens * width)
    head = 2 * (tokens if pretraining else 1) * width * outputs
    return (1 if head_only else 3) * blocks + 3 * head
