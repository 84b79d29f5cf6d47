"""What each figure shows and what to see in it, in the words that all pages and reports use."""

import re

from gpt_math_domains.run import ACCURACY

_SEEDS = "Lines are means over seeds, bands reach from the lowest to the highest seed."
_BASELINE = "The dotted line is the baseline: an answer without a look at the operands."
_LEGEND = "A click in the legend switches a whole protocol, or a model in all of them."
# By the end of a figure's name, and the phase where both have it; the first that fits.
_CAPTIONS = {
    "_eval_math_acc": "Pretraining: share of validation equations whose whole answer is right, "
    f"against optimizer steps. {_SEEDS} {_BASELINE}",
    "_eval_domain_acc": "Finetuning: share of (validation equation, label) pairs told right, "
    "against optimizer steps. Where a pretrained start (full, frozen) lies above the random one "
    "that trains the same (scratch, random_frozen), pretraining helps. "
    f"{_SEEDS} {_BASELINE} {_LEGEND}",
    "_eval_loss": f"Mean cross-entropy on the validation equations, in nats, against optimizer "
    f"steps. {_SEEDS}",
    "_generalization": "On top, accuracy on validation equations (solid) and on training equations "
    "(dashed): where dashed lines lie above, training equations were learned by heart. In the "
    "middle, validation equations whose operands stood in training the other way round (solid) and "
    "the others (dashed). Below, the losses: the validation loss (solid) can rise while its "
    "accuracy does too, since in pretraining it counts the operands as well, which cannot be "
    f"known. Dropout is off. {_SEEDS} {_BASELINE}",
    "_norms": "Norm of the gradient before clipping, mean over the steps since the evaluation "
    f"before, on a logarithmic axis; and of all trained weights (L2). {_SEEDS}",
    "_families": "When each operation under each modulus is learned: share of its validation "
    "equations whose whole answer is right, against optimizer steps. Thin dotted lines of the same "
    "colour are baselines: what lies on its own has learned no more than the most frequent answer. "
    f"{_SEEDS}",
    "_operations": "What models answer right at the end of pretraining, by operation and modulus: "
    "the share over all seeds. Left: equations that they were trained on; right: validation "
    "equations. A bright cell may be an easy one, so a menu chooses the accuracy minus the "
    "baseline, that of the most frequent training answer. Where there are no equations, "
    "it is grey.",
    "_operands": "What models answer right at the end of pretraining, by first and second operand, "
    "over all operations, moduli and seeds. Left: equations that they were trained on; right: "
    "validation equations. Rows and columns of 0 and 1 are easy, as their answers are few; an even "
    "picture elsewhere says that no operand is special. A menu chooses one operation, and the "
    "accuracy minus the baseline, that of the most frequent training answer; pairs without an "
    "equation are grey.",
    "_labels": "How well each label is told: share of validation equations against optimizer "
    "steps, means over seeds; their mean is domain_acc. Thin dotted lines of the same colour are "
    "baselines: the label that most training equations have. A menu chooses the protocol.",
    "_transfer": "When finetuning first has a domain_acc of at least 0.9, and of at least 0.99: "
    "further left is faster. A small point is a seed, in a bar between the two evaluations between "
    "which it gets there. Where all seeds of a run do, the large point is their mean with its 95% "
    "interval. Open triangles are seeds that did not get there, at their last step.",
    "_scale": "Final accuracy, mean over seeds with its 95% interval (Student t), against what it "
    "took: parameters of the model, optimizer steps, and floating-point operations of the matrix "
    "products of training (pretraining not counted in finetuning). A plot stands where three "
    "models or more can be compared. Points are labelled with their model version. Colours tell "
    "protocols, and dashes data versions; of one protocol, colours tell data versions. Dotted "
    "lines are baselines.",
    "_grid": "Final accuracy, and the steps to each accuracy that a seed got to, against the keys "
    "of the grid: means over seeds. With one key, bars are 95% intervals (Student t), and small "
    "points are seeds, their steps halfway between the two evaluations between which they get "
    "there; open triangles are seeds that did not get there, at their last step, and the dotted "
    "line is the baseline. With more, light cells are good, and one without a colour tells how "
    "many seeds got there; a menu chooses the protocol, the values of further keys, and the "
    "accuracy minus the baseline. Points that change the data have no baseline.",
    "_attention": "How much each symbol of an equation (rows) attends to itself and to those "
    "before it (columns), a square for each layer and head; a row of a square sums to 1. Look for "
    "heads that put nearly all of it on one place, such as an operand or the modulus. Menus "
    "choose the equation and the seed; heads of different seeds have nothing to do with each "
    "other.",
    "_embedding": "Left: the digit symbols along the first two principal components of their rows "
    "in a matrix, joined in their order, of the seed that a menu chooses. Digits in order along "
    "a curve tell of a number line. Right: the share of their variance at each frequency, mean "
    "over seeds with its 95% interval (Student t), beside that of random rows: a few high bars "
    "tell of digits around circles.",
    "_lens": "What each layer would answer, were it the last: the share of right answers, and the "
    "probability of the right one, by layer; where a line rises, that layer's block does the "
    "work. Validation equations are solid, training equations dashed, means over seeds with 95% "
    "intervals (Student t). Dotted lines of the same colour are baselines of the validation "
    "equations: an answer without a look at the operands. A menu chooses a modulus.",
    "_probes": "How well a linear probe reads each label from the states of each layer, on "
    "validation equations: means over seeds with 95% intervals (Student t). What training adds is "
    "what lies above the same probe on random weights; to lie above the majority, the answer "
    "that most training equations have, is not enough.",
    "_probe_steps": "How well a linear probe reads each label from each layer along training, on "
    "validation equations: means over seeds with 95% intervals (Student t). Step 0 are random "
    "weights, so what rises from there was learned; the majority is the answer that most training "
    "equations have. A menu chooses finetuning that kept checkpoints.",
    "rules": "The rules of the workflow; an arrow leads from each to those that use its files. "
    "Arrows that follow from others are left out.",
    "timeline": "When each job ran and how long it took, as Snakemake measured it.",
    "": f"Accuracy on the validation equations and both losses, against optimizer steps. {_SEEDS} "
    f"{_BASELINE}",
}
_MENU = " A menu chooses the protocol."
_INSIDE = ("_attention", "_embedding", "_lens", "_probes", "_probe_steps")


def caption_of(name: str) -> str:
    """Return the caption of a figure by its name, that of its page in `plots/`; else nothing."""
    ending = next(ending for ending in _CAPTIONS if name.endswith(ending))
    if not ending and not re.fullmatch(r"(finetune_\d+_)?pretrain_\d+", name):
        return ""
    menu = name.startswith("finetune") and ending == "_generalization"
    return _CAPTIONS[ending] + (_MENU if menu else "")


def page_of(name: str) -> str:
    """Return the page of the study that shows a figure."""
    return "made.html" if name in ("rules", "timeline") else "index.html"


def anchor_of(name: str) -> str:
    """Return where that page has a figure: losses and overviews are with the accuracy.

    What is inside models is not on it: that leads to the learning curves of their pretraining.
    """
    if name.endswith(_INSIDE):
        name = re.sub(r".*(pretrain_\d+)_.*", r"\1", name)
    for ending in (*(f"_eval_{accuracy}" for accuracy in ACCURACY.values()), "_eval_loss"):
        name = name.removesuffix(ending)
    return f"figure-{name}"
