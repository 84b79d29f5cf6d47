"""Checkpoints that plain `transformers` loads: config, weights and tokenizer of each seed.

The files are written without `transformers`, which takes seconds to import.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.files import atomic_write, read_json, write_json, write_text
from gpt_math_domains.jobs.record import require_outputs
from gpt_math_domains.run import (
    CONFIG,
    EMBEDDING,
    GENERATION_CONFIG,
    HEAD,
    RECORD,
    STEP,
    TOKENIZER,
    TOKENIZER_CONFIG,
    UNEMBEDDING,
    WEIGHTS,
    ModelSize,
    require_place,
)
from gpt_math_domains.training.device import PRECISIONS
from gpt_math_domains.training.model import INITIAL_STD, LAYER_NORM_EPSILON, Parameters

# In the order of ModelSize's fields; after them, dropout and whether embeddings are tied.
SIZE_KEYS = ("n_layer", "n_head", "n_embd", "vocab_size", "n_positions")
DROPOUT_KEYS = ("attn_pdrop", "embd_pdrop", "resid_pdrop")
FIXED = {  # the same in all models here
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": LAYER_NORM_EPSILON,
}
TYPES = sorted({dtype for dtype, _ in PRECISIONS.values()}, key=str)  # of weights
UNKNOWN = "[unk]"


def write_checkpoints(
    directories: Sequence[Path],
    parameters: Parameters,
    size: ModelSize,
    vocabulary: Vocabulary,
    labels: Sequence[str] | None = None,
) -> None:
    """Write one checkpoint directory for each seed of parameters `[R, ...]`.

    Args:
        directories: one for each seed, in stack order.
        parameters: of all seeds.
        size: of each model.
        vocabulary: of the data version.
        labels: names of the labels that the head tells; None for a language model.
    """
    config = _config(size, vocabulary, labels)
    for seed, directory in enumerate(directories):
        write_json(directory / CONFIG, config)
        weights = {name: value[seed].detach().cpu() for name, value in parameters.items()}
        with atomic_write(directory / WEIGHTS, "wb") as handle:
            handle.write(save(weights, metadata={"format": "pt"}))
        write_text(directory / TOKENIZER, tokenizer(vocabulary).to_str(pretty=True) + "\n")
        write_json(directory / TOKENIZER_CONFIG, _tokenizer_config(size, labels))
        if labels is None:
            write_json(directory / GENERATION_CONFIG, _generation_config(size, vocabulary))


def read_checkpoints(directories: Sequence[Path]) -> tuple[Parameters, ModelSize]:
    """Return the stacked parameters `[R, ...]`, without a classification head, and their size.

    Raises:
        ValueError: a directory is no checkpoint of this project, or they differ in size or in the
            type of their numbers.
    """
    sizes, stacks = zip(*map(_read_checkpoint, directories), strict=True)
    first, names = directories[0], stacks[0].keys()
    types = [_name(weights[EMBEDDING].dtype) for weights in stacks]
    for directory, size, kind in zip(directories, sizes, types, strict=True):
        if size != sizes[0]:
            raise ValueError(f"{directory / CONFIG}: holds {size}, but {first} holds {sizes[0]}")
        if kind != types[0]:
            raise ValueError(f"{directory / WEIGHTS}: holds {kind}, but {first} holds {types[0]}")
    return {name: torch.stack([weights[name] for weights in stacks]) for name in names}, sizes[0]


def read_classifiers(directories: Sequence[Path]) -> tuple[Parameters, ModelSize, list[str]]:
    """Return the stacked parameters `[R, ...]` with the head, their size and their labels' names.

    Raises:
        ValueError: a directory is no checkpoint of a classifier of this project, or two differ.
    """
    parameters, size = read_checkpoints(directories)
    heads, names = [], []
    for directory in directories:
        head = load((directory / WEIGHTS).read_bytes()).get(HEAD)
        labels = read_json(directory / CONFIG).get("id2label")
        if head is None or not isinstance(labels, dict) or len(labels) != len(head):
            raise ValueError(f"{directory}: has no head with as many rows as {CONFIG} has labels")
        heads.append(head)
        names.append(list(labels.values()))
    if any(other != names[0] for other in names):
        raise ValueError(f"{directories[0].parent}: its checkpoints differ in their labels")
    return parameters | {HEAD: torch.stack(heads)}, size, names[0]


def _read_checkpoint(directory: Path) -> tuple[ModelSize, Parameters]:
    """Return the size and the parameters of one seed, without a classification head."""
    _require_written(directory)
    path = directory / CONFIG
    config = read_json(path)
    if not isinstance(config, dict):
        config = {}
    numbers: list[Any] = [config.get(key) for key in SIZE_KEYS]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError(f"{path}: {', '.join(SIZE_KEYS)} must stand there, integers above 0")
    dropout, tied = {config.get(key) for key in DROPOUT_KEYS}, config.get("tie_word_embeddings")
    if len(dropout) > 1 or not all(isinstance(rate, float) and 0 <= rate < 1 for rate in dropout):
        raise ValueError(f"{path}: {', '.join(DROPOUT_KEYS)} must be one number, 0 to below 1")
    if not isinstance(tied, bool):
        raise ValueError(f"{path}: tie_word_embeddings is {tied!r}, but it is true or false")
    size = ModelSize(*(*numbers, *dropout, tied))
    for key, value in FIXED.items():
        if config.get(key) != value:
            raise ValueError(f"{path}: {key} is {config.get(key)!r}, but it is {value!r} here")
    path = directory / WEIGHTS
    try:
        weights = load(path.read_bytes())
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error!r})") from None
    # Asked first, so that an absurd number of layers builds no absurd list of shapes.
    if size.num_layers > len(weights):
        raise ValueError(f"{path}: {len(weights)} tensors, too few for {size.num_layers} layers")
    found = {name: tuple(value.shape) for name, value in weights.items() if name != HEAD}
    wanted = size.shapes()
    if HEAD in weights:
        wanted.pop(UNEMBEDDING, None)
    if found != wanted:
        wrong = min(wanted.items() ^ found.items())[0]
        raise ValueError(
            f"{path}: {wrong!r} is {found.get(wrong, 'missing')}, "
            f"but {CONFIG} asks for {wanted.get(wrong, 'no such tensor')}"
        )
    if size.d_model % size.num_heads:
        raise ValueError(f"{directory / CONFIG}: n_embd = {size.d_model} is no multiple of n_head")
    for name, value in weights.items():
        if value.dtype not in TYPES or value.dtype != weights[EMBEDDING].dtype:
            raise ValueError(
                f"{path}: {name!r} holds {_name(value.dtype)}, but all tensors hold "
                f"{' or all hold '.join(map(_name, TYPES))}"
            )
        if not bool(value.isfinite().all()):
            raise ValueError(f"{path}: {name!r} holds what is no finite number")
    return size, {name: weights[name] for name in wanted}


def _require_written(directory: Path) -> None:
    """Refuse files that are others than the run whose directory they lie in recorded."""
    for run in list(directory.parents)[:2]:  # of a seed, or of a step of it
        record = run / RECORD
        if not record.is_file():
            continue
        told = read_json(record)
        try:
            require_place(record, told["run"] | {"point": told.get("point", "")})
        except (KeyError, TypeError):
            raise ValueError(f"{record}: is no record of a run") from None
        require_outputs(record, told, directory / CONFIG, directory / WEIGHTS)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def kept_checkpoints(record: Path, seeds: Sequence[int]) -> dict[int, list[Path]]:
    """Return the checkpoints along a run's training: by step, a directory for each seed.

    Args:
        record: of the run, which names them; they are beside it. Their checksums are for who reads
            them.
        seeds: of the run.

    Raises:
        ValueError: this is no record of a run, or one is missing.
    """
    told = read_json(record)
    sums = told.get("checkpoints") if isinstance(told, dict) else None
    if not isinstance(sums, dict):
        raise ValueError(f"{record}: names no checkpoints along training")
    steps, files = set(), "|".join(map(re.escape, (CONFIG, WEIGHTS)))
    for name in sums:
        known = re.fullmatch(rf"seed_\d+/step_(\d+)/({files})", name)
        path = record.parent / name
        if known is None or not path.is_file():
            raise ValueError(f"{path}: is not the checkpoint that {record.name} names")
        steps.add(int(known[1]))
    return {
        step: [record.parent / f"seed_{seed}" / STEP.format(step=step) for seed in seeds]
        for step in sorted(steps)
    }


def tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Return a tokenizer from equations as they are written, `3 - 5 = - 2`, to ids and back.

    A `-` is the negative sign where it follows an equality sign, and the operation elsewhere.
    Any other symbol becomes `[unk]`, the first id for which a model has no embedding.
    So tools may encode whatever text they try a tokenizer with, and a model still refuses it.
    """
    ids = {symbol: number for number, symbol in enumerate([*vocabulary.symbols, UNKNOWN])}
    negative = vocabulary.symbols[vocabulary.negative]
    made = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    made.normalizer = normalizers.Replace(Regex(r"=\s+-"), f"= {negative}")
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="##", cleanup=False), decoders.Replace(negative, "-")]
    )
    made.add_special_tokens([vocabulary.symbols[vocabulary.eos], UNKNOWN])
    return made


def _tokenizer_config(size: ModelSize, labels: Sequence[str] | None) -> dict[str, Any]:
    """Return how tools shall use the tokenizer; with their own defaults, answers would differ.

    A language model goes on where its prompt ends, so that is where a batch must be flush. A
    classifier reads the last token that is no padding, at the position that it was trained on.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "[eos]",
        "pad_token": "[eos]",
        "unk_token": UNKNOWN,
        "padding_side": "left" if labels is None else "right",
        "truncation_side": "right",
        # With `token_type_ids`, GPT-2 would add the embedding of symbol 0 to each position.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": size.num_positions,
        "clean_up_tokenization_spaces": False,
    }


def _generation_config(size: ModelSize, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return how a language model goes on: greedily, and no further than it has positions.

    Pipelines of transformers 4 take `do_sample: false` for not set, and sample at random. So here
    the most probable token alone is sampled from.
    """
    return {
        "bos_token_id": vocabulary.eos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.eos,
        "do_sample": True,
        "top_k": 1,
        "max_length": size.num_positions,
    }


def _config(
    size: ModelSize, vocabulary: Vocabulary, labels: Sequence[str] | None
) -> dict[str, Any]:
    kind = "GPT2LMHeadModel" if labels is None else "GPT2ForSequenceClassification"
    config: dict[str, Any] = {
        "architectures": [kind],
        "model_type": FIXED["model_type"],
        "vocab_size": size.vocabulary_size,
        "n_positions": size.num_positions,
        "n_embd": size.d_model,
        "n_layer": size.num_layers,
        "n_head": size.num_heads,
        "activation_function": FIXED["activation_function"],
        "layer_norm_epsilon": FIXED["layer_norm_epsilon"],
        "initializer_range": INITIAL_STD,
        **dict.fromkeys(DROPOUT_KEYS, size.dropout),
        "tie_word_embeddings": size.tie_word_embeddings,
        "bos_token_id": vocabulary.eos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.eos,
    }
    if labels is not None:
        config |= {
            "problem_type": "multi_label_classification",
            "id2label": {str(number): label for number, label in enumerate(labels)},
            "label2id": {label: number for number, label in enumerate(labels)},
        }
    return config
