import csv
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.files import sha256, write_json
from gpt_math_domains.run import EMBEDDING, HEAD, ModelSize
from gpt_math_domains.training.checkpoint import read_checkpoints, write_checkpoints
from gpt_math_domains.training.judge import read_models
from gpt_math_domains.training.model import (
    Parameters,
    forward,
    initialize,
    keep,
    token_scores,
)
from little import VOCABULARY

SIZE = ModelSize(2, 4, 16, VOCABULARY.size, 7)
SIZES = {
    "model 2": ModelSize(1, 8, 128, VOCABULARY.size, 7),
    "deep": SIZE,
    "untied": ModelSize(1, 4, 16, VOCABULARY.size, 7, dropout=0.25, tie_word_embeddings=False),
}
SEEDS = 2
LABELS = ["first_odd", "both_even", "has_zero"]
FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
# Of 5 and 6 tokens, with and without a modulus.
EQUATIONS = ["3 - 5 = - 2", "3 + 4 = 7", "9 * 9 =(m) 5 1", "8 / 3 = 2", "0 - 0 = 0"]


class Saved(NamedTuple):
    directories: list[Path]
    parameters: Parameters
    size: ModelSize


def directories(root: Path) -> list[Path]:
    return [root / f"seed_{seed}" for seed in range(SEEDS)]


def save(
    root: Path,
    size: ModelSize = SIZE,
    labels: list[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Saved:
    """Write checkpoints of random parameters, none of them 0 or 1."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(SEEDS)]
    parameters = initialize(size, generators, len(labels) if labels else None, dtype)
    for value in parameters.values():
        value += 0.1 * torch.randn(value.shape, generator=generators[0])
    write_checkpoints(directories(root), parameters, size, VOCABULARY, labels)
    return Saved(directories(root), parameters, size)


@pytest.fixture
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that `transformers` warns of nothing, in its log or by Python's warnings."""
    transformers.logging.enable_propagation()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
    transformers.logging.disable_propagation()
    assert [str(warning.message) for warning in warned] == []
    logged = caplog.get_records("call")
    assert [record.message for record in logged if record.levelno >= logging.WARNING] == []


def load_model(kind: Any, directory: Path) -> Any:
    """Load a model with plain `transformers`, and see that every weight found its place."""
    model, info = kind.from_pretrained(directory, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def states_of(saved: Saved, tokens: torch.Tensor) -> torch.Tensor:
    """Return final states `[R, B, T, D]` of tokens `[B, T]`, as the project computes them."""
    states: torch.Tensor = torch.vmap(lambda one: forward(one, saved.size, tokens, keep))(
        saved.parameters
    )
    return states


# What is written


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("labels", [None, LABELS], ids=["pretrain", "finetune"])
def test_a_checkpoint_gives_back_the_same_bits(
    tmp_path: Path, labels: list[str] | None, dtype: torch.dtype
) -> None:
    saved = save(tmp_path, labels=labels, dtype=dtype)
    parameters, size = read_checkpoints(saved.directories)
    assert size == saved.size
    assert parameters.keys() == saved.parameters.keys() - {HEAD}
    for name, value in parameters.items():
        assert value.dtype == dtype
        assert torch.equal(value, saved.parameters[name])


def test_the_order_of_the_directories_is_that_of_the_seeds(tmp_path: Path) -> None:
    saved = save(tmp_path)
    parameters, _ = read_checkpoints(saved.directories[::-1])
    assert torch.equal(parameters[EMBEDDING], saved.parameters[EMBEDDING].flip(0))


@pytest.mark.parametrize(
    ("labels", "files"), [(None, {*FILES, "generation_config.json"}), (LABELS, FILES)]
)
def test_a_checkpoint_is_a_few_files_and_the_same_parameters_give_the_same_bytes(
    tmp_path: Path, labels: list[str] | None, files: set[str]
) -> None:
    first = save(tmp_path / "first", labels=labels)
    again = save(tmp_path / "again", labels=labels)
    for one, other in zip(first.directories, again.directories, strict=True):
        assert {path.name for path in one.iterdir()} == files
        for name in files:
            assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_head_is_written_beside_the_other_weights(tmp_path: Path) -> None:
    saved = save(tmp_path, labels=LABELS)
    for seed, directory in enumerate(saved.directories):
        head = load_file(directory / "model.safetensors")[HEAD]
        assert torch.equal(head, saved.parameters[HEAD][seed])


# What plain transformers makes of it


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.usefixtures("no_complaints")
def test_transformers_gives_the_same_next_tokens(tmp_path: Path, size: ModelSize) -> None:
    saved = save(tmp_path, size)
    tokens = AutoTokenizer.from_pretrained(saved.directories[0])(
        EQUATIONS, padding=True, padding_side="right", return_tensors="pt"
    )
    written = tokens["attention_mask"].flatten().bool()
    states = states_of(saved, tokens["input_ids"]).flatten(1, 2)
    logits = torch.vmap(token_scores)(saved.parameters, states)
    for seed, directory in enumerate(saved.directories):
        model = load_model(AutoModelForCausalLM, directory)
        theirs = model(**tokens).logits.flatten(0, 1)
        assert torch.allclose(logits[seed][written], theirs[written], atol=1e-5)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("masked", [True, False])
def test_transformers_gives_the_same_labels_to_padded_equations(
    tmp_path: Path, size: ModelSize, masked: bool
) -> None:
    saved = save(tmp_path, size, LABELS)
    tokens = AutoTokenizer.from_pretrained(saved.directories[0])(
        EQUATIONS, padding=True, return_tensors="pt"
    )
    last = tokens["attention_mask"].sum(dim=1) - 1
    assert set(last.tolist()) == {4, 5}
    states = states_of(saved, tokens["input_ids"])
    logits = states[:, torch.arange(len(EQUATIONS)), last] @ saved.parameters[HEAD].mT
    for seed, directory in enumerate(saved.directories):
        model = load_model(AutoModelForSequenceClassification, directory)
        theirs = model(**tokens if masked else {"input_ids": tokens["input_ids"]}).logits
        assert torch.allclose(logits[seed], theirs, atol=1e-5)


@pytest.mark.usefixtures("no_complaints")
def test_transformers_knows_the_names_of_the_labels(tmp_path: Path) -> None:
    saved = save(tmp_path, labels=LABELS)
    config = load_model(AutoModelForSequenceClassification, saved.directories[0]).config
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: number for number, label in enumerate(LABELS)}
    assert config.problem_type == "multi_label_classification"


@pytest.mark.usefixtures("no_complaints")
def test_transformers_continues_an_equation_to_its_end(tmp_path: Path) -> None:
    saved = save(tmp_path)
    model = load_model(AutoModelForCausalLM, saved.directories[0])
    tokenizer = AutoTokenizer.from_pretrained(saved.directories[0])
    prompt = tokenizer(["3 - 5 =", "3 - 5 =(m) 4"], padding=True, return_tensors="pt")
    continued = model.generate(**prompt)
    assert continued[:, :5].tolist() == prompt["input_ids"].tolist()
    assert continued.shape[1] <= 7
    assert continued[0, 5:].tolist() == go_on(saved, [3, VOCABULARY.subtract, 5, VOCABULARY.equal])
    assert tokenizer.pad_token == tokenizer.eos_token == "[eos]"
    assert model.config.eos_token_id == tokenizer.eos_token_id == VOCABULARY.eos


def go_on(saved: Saved, tokens: list[int]) -> list[int]:
    """Return the two tokens that seed 0 adds to these, by this project alone."""
    first = {name: value[0] for name, value in saved.parameters.items()}
    told = list(tokens)
    for _ in range(2):
        states = forward(first, saved.size, torch.tensor([told]), keep)
        told.append(int(token_scores(first, states)[0, -1].argmax()))
    return told[len(tokens) :]


# The tokenizer


def load_tokenizer(
    directory: Path, vocabulary: Vocabulary = VOCABULARY, labels: list[str] | None = None
) -> Any:
    size = ModelSize(1, 1, 4, vocabulary.size, 7)
    parameters = initialize(size, [torch.Generator()], len(labels) if labels else None)
    write_checkpoints([directory], parameters, size, vocabulary, labels)
    return AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize(("digits", "count"), [(10, 1847), (20, 7409), (5, 457)])
def test_every_equation_is_encoded_as_in_its_table_and_decoded_as_it_was_written(
    tmp_path: Path, digits: int, count: int
) -> None:
    tables = [tmp_path / "train.csv", tmp_path / "valid.csv"]
    settings = DataSettings(digits, 5)
    generate_equations(
        settings,
        train=tables[0],
        valid=tables[1],
        vocabulary=tmp_path / "vocabulary.json",
        manifest=tmp_path / "manifest.json",
    )
    rows = [row for table in tables for row in csv.DictReader(table.open(newline=""))]
    equations = [row["equation"] for row in rows]
    tokenizer = load_tokenizer(tmp_path / "checkpoint", settings.vocabulary)
    encoded = tokenizer(equations)["input_ids"]
    assert len(encoded) == count
    assert [" ".join(map(str, ids)) for ids in encoded] == [row["tokens"] for row in rows]
    assert tokenizer.batch_decode(encoded) == equations


def test_a_sign_is_negative_after_the_equality_sign_and_an_operation_elsewhere(
    tmp_path: Path,
) -> None:
    tokenizer = load_tokenizer(tmp_path)
    minus, negative = VOCABULARY.subtract, VOCABULARY.negative
    assert tokenizer("3 - 5 = - 2")["input_ids"] == [3, minus, 5, VOCABULARY.equal, negative, 2]
    assert tokenizer("3 - 5 = -")["input_ids"] == [3, minus, 5, VOCABULARY.equal, negative]
    assert tokenizer("3 -  5  =  -  2")["input_ids"] == tokenizer("3 - 5 = - 2")["input_ids"]
    assert tokenizer("3 -")["input_ids"] == [3, minus]
    modulo = tokenizer("3 - 5 =(m) 4 2")["input_ids"]
    assert modulo == [3, minus, 5, VOCABULARY.equal_mod, 4, 2]


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        *(("3 ? 5", 1), ("10 + 1", 1), ("3-5", 1), ("3 - 5 = -2", 1), ("01 + 1", 1)),
        *(("[unk]", 1), ("three and four", 3)),
    ],
)
def test_an_unknown_symbol_is_told_and_refused_by_every_model(
    tmp_path: Path, text: str, unknown: int
) -> None:
    tokenizer = load_tokenizer(tmp_path)
    tokens = tokenizer(text, return_tensors="pt")
    assert tokenizer.unk_token_id == VOCABULARY.size
    assert tokens["input_ids"][0].tolist().count(tokenizer.unk_token_id) == unknown
    assert tokenizer.decode(tokens["input_ids"][0]).count("[unk]") == unknown
    with pytest.raises(IndexError):
        load_model(AutoModelForCausalLM, tmp_path)(**tokens)


@pytest.mark.parametrize(("labels", "side"), [(None, "left"), (LABELS, "right")])
def test_short_equations_are_padded_with_the_end_token_where_the_model_needs_it(
    tmp_path: Path, labels: list[str] | None, side: str
) -> None:
    tokenizer = load_tokenizer(tmp_path, labels=labels)
    batch = tokenizer(["3 - 5 = - 2", "1 + 1 = 2"], padding=True)
    equation, end = [1, 12, 1, 10, 2], [VOCABULARY.eos]
    padded = end + equation if side == "left" else equation + end
    assert batch["input_ids"][1] == padded
    assert batch["attention_mask"] == [[1] * 6, [int(id != end[0]) for id in padded]]
    assert set(batch) == {"input_ids", "attention_mask"}
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == [
        "3 - 5 = - 2",
        "1 + 1 = 2",
    ]
    assert tokenizer("1 + 1 = 2 [eos]")["input_ids"] == equation + end
    assert (len(tokenizer), tokenizer.model_max_length) == (VOCABULARY.size + 1, 7)


def test_the_tokenizers_library_alone_reads_it_too(tmp_path: Path) -> None:
    load_tokenizer(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = tokenizer.encode("3 - 5 = - 2 [eos]").ids
    assert ids == [3, 14, 5, 10, 16, 2, VOCABULARY.eos]
    assert tokenizer.decode(ids) == "3 - 5 = - 2"


# Damage


def refusal(directories: list[Path]) -> str:
    with pytest.raises(ValueError) as error:
        read_checkpoints(directories)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def test_checkpoints_of_another_model_than_the_run_asks_for_are_refused(tmp_path: Path) -> None:
    saved = save(tmp_path)
    size = {key: getattr(SIZE, key) for key in ("num_layers", "num_heads", "d_model")}
    read_models(saved.directories, size, VOCABULARY)
    with pytest.raises(ValueError, match=r"seed_0: holds .*, but the run asks for .*num_heads=1,"):
        read_models(saved.directories, size | {"num_heads": 1}, VOCABULARY)


def test_files_that_another_run_wrote_are_refused_by_its_record(tmp_path: Path) -> None:
    run = tmp_path / "pretrain" / "data_1" / "model_2"
    saved = save(run).directories
    record = {
        "run": {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None},
        "point": "",
        "weights": {
            str(path.relative_to(run)): sha256(path)
            for directory in saved
            for path in (directory / "config.json", directory / "model.safetensors")
        },
        "checkpoints": {},
    }
    write_json(run / "run.json", record)
    read_checkpoints(saved)

    other = tmp_path / "pretrain" / "data_3" / "model_2"
    shutil.copytree(run, other)
    assert refusal(directories(other)) == (
        f"{other / 'run.json'}: is of data 1, but lies where 3 belongs"
    )
    for name in ("model.safetensors", "config.json"):
        shutil.copy(saved[0] / name, tmp_path / name)
        (saved[0] / name).write_bytes((saved[1] / name).read_bytes() + b" ")
        assert refusal(saved) == (
            f"{saved[0] / name}: is not what {run / 'run.json'} was written with"
        )
        shutil.copy(tmp_path / name, saved[0] / name)
    write_json(run / "run.json", [])
    assert refusal(saved) == f"{run / 'run.json'}: is no record of a run"


def change_config(directory: Path, **other: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | other))


NUMBERS = "n_layer, n_head, n_embd, vocab_size, n_positions must stand there, integers above 0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"attn_pdrop": 0.2},
            "attn_pdrop, embd_pdrop, resid_pdrop must be one number, 0 to below 1",
        ),
        (dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 1.0), "must be one number"),
        ({"resid_pdrop": None}, "must be one number"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is None, but it is true or false"),
        ({"tie_word_embeddings": False}, "'lm_head.weight' is missing"),
    ],
)
def test_what_else_a_configuration_must_tell_is_refused_where_it_does_not(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    broken, sound = save(tmp_path).directories
    change_config(broken, **change)
    assert said in refusal([sound, broken])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"n_layer": 2'])
def test_a_configuration_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    broken, sound = save(tmp_path).directories
    (broken / "config.json").write_bytes(content)
    assert refusal([sound, broken]).startswith(f"{broken / 'config.json'}: not a JSON file (")


@pytest.mark.parametrize("content", ["null", "[]", "3", '"gpt2"', "{}", '{"n_layer": 2}'])
def test_a_configuration_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    broken, sound = save(tmp_path).directories
    (broken / "config.json").write_text(content)
    assert refusal([broken, sound]) == f"{broken / 'config.json'}: {NUMBERS}"


@pytest.mark.parametrize("value", [None, "2", 2.0, 0, -1, True, [2]])
@pytest.mark.parametrize("key", ["n_layer", "n_embd", "n_positions"])
def test_a_size_that_is_no_count_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    broken, sound = save(tmp_path).directories
    change_config(broken, **{key: value})
    assert refusal([broken, sound]) == f"{broken / 'config.json'}: {NUMBERS}"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"n_layer": 10**15}, f"28 tensors, too few for {10**15} layers"),
        ({"n_layer": 3}, "'transformer.h.2.attn.c_attn.bias' is missing, but config.json asks for"),
        ({"n_layer": 1}, "but config.json asks for no such tensor"),
        ({"n_embd": 17}, "(48,), but config.json asks for (51,)"),
        ({"vocab_size": 19}, "is (18, 16), but config.json asks for (19, 16)"),
        ({"n_positions": 10**15}, f"is (7, 16), but config.json asks for ({10**15}, 16)"),
    ],
)
def test_weights_of_another_size_than_configured_are_refused(
    tmp_path: Path, other: dict[str, int], expected: str
) -> None:
    broken, sound = save(tmp_path).directories
    change_config(broken, **other)
    message = refusal([broken, sound])
    assert message.startswith(f"{broken / 'model.safetensors'}: ")
    assert expected in message


def test_weights_that_are_foreign_missing_or_misshapen_are_refused(tmp_path: Path) -> None:
    broken, sound = save(tmp_path).directories
    path = broken / "model.safetensors"
    whole = load_file(path)
    bias = "transformer.ln_f.bias"
    for tensors, expected in (
        ({"linear.weight": torch.ones(2, 2)}, "1 tensors, too few for 2 layers"),
        ({}, "0 tensors, too few for 2 layers"),
        (
            {name: value for name, value in whole.items() if name != bias},
            f"'{bias}' is missing, but config.json asks for (16,)",
        ),
        (
            whole | {bias: torch.ones(4, 4)},
            f"'{bias}' is (4, 4), but config.json asks for (16,)",
        ),
        (
            whole | {"more\nweights": torch.ones(3)},
            r"'more\nweights' is (3,), but config.json asks for no such tensor",
        ),
    ):
        save_file(tensors, path)
        assert refusal([sound, broken]) == f"{path}: {expected}"


def test_weights_of_a_type_that_torch_does_not_have_are_refused(tmp_path: Path) -> None:
    broken, sound = save(tmp_path).directories
    path = broken / "model.safetensors"
    header = b'{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    assert refusal([sound, broken]) == f"{path}: not a safetensors file (KeyError('F4'))"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_weights_that_are_no_finite_numbers_are_refused(tmp_path: Path, value: float) -> None:
    broken, sound = save(tmp_path).directories
    path = broken / "model.safetensors"
    weights = load_file(path)
    weights["transformer.h.1.mlp.c_fc.bias"][3] = value
    save_file(weights, path)
    assert refusal([sound, broken]) == (
        f"{path}: 'transformer.h.1.mlp.c_fc.bias' holds what is no finite number"
    )


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64],
    ids=str,
)
@pytest.mark.parametrize("names", [None, ["transformer.wpe.weight"]], ids=["all", "one"])
def test_weights_of_a_type_that_no_training_leaves_are_refused(
    tmp_path: Path, dtype: torch.dtype, names: list[str] | None
) -> None:
    broken, sound = save(tmp_path).directories
    path = broken / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {name: weights[name].to(dtype) for name in names or weights}, path)
    message = refusal([sound, broken])
    assert message.startswith(f"{path}: '")
    assert message.endswith(
        f" holds {str(dtype).removeprefix('torch.')}, but all tensors hold float32 or all hold "
        "float64"
    )


def test_weights_of_two_types_are_refused(tmp_path: Path) -> None:
    broken, sound = save(tmp_path).directories
    path = broken / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {EMBEDDING: weights[EMBEDDING].double()}, path)
    assert "but all tensors hold float32 or all hold float64" in refusal([sound, broken])
    save_file({name: value.double() for name, value in weights.items()}, path)
    assert refusal([sound, broken]) == f"{path}: holds float64, but {sound} holds float32"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gpt_neo"}, "model_type is 'gpt_neo', but it is 'gpt2' here"),
        (
            {"activation_function": "relu"},
            "activation_function is 'relu', but it is 'gelu_new' here",
        ),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06, but it is 1e-05 here"),
        ({"layer_norm_epsilon": None}, "layer_norm_epsilon is None, but it is 1e-05 here"),
        ({"n_head": 3}, "n_embd = 16 is no multiple of n_head"),
        ({"n_head": 8}, "config.json: holds ModelSize(num_layers=2, num_heads=8"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    broken, sound = save(tmp_path).directories
    change_config(broken, **change)
    assert said in refusal([sound, broken])


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_cut_off_weights_are_refused(tmp_path: Path, kept: int) -> None:
    broken, sound = save(tmp_path).directories
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal([sound, broken]).startswith(f"{path}: not a safetensors file (")


def test_seeds_of_different_sizes_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "other", ModelSize(1, 4, 16, VOCABULARY.size, 7))
    mixed = [save(tmp_path).directories[0], tmp_path / "other" / "seed_1"]
    message = refusal(mixed)
    assert message.startswith(f"{mixed[1] / 'config.json'}: holds ModelSize(")
    assert "num_layers=2" in message
    assert "num_layers=1" in message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    saved = save(tmp_path)
    (saved.directories[1] / name).unlink()
    with pytest.raises(OSError, match=f"seed_1/{name}"):
        read_checkpoints(saved.directories)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a whole checkpoint."""
    root = tmp_path_factory.mktemp("whole")
    save(root)
    return root / "seed_0"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for files to damage."""
    return tmp_path_factory.mktemp("damaged")


def read_or_refuse(directory: Path) -> None:
    """Read a checkpoint: whole, or one line that names the file."""
    try:
        parameters, size = read_checkpoints([directory])
    except ValueError as error:
        assert str(error).startswith(f"{directory}/")
        assert len(str(error).splitlines()) == 1
    else:
        assert {name: tuple(value.shape[1:]) for name, value in parameters.items()} == size.shapes()


CHANGES = st.lists(
    st.tuples(st.integers(0, 4_000), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["config.json", "model.safetensors"]),
    changes=CHANGES,
    length=st.none() | st.integers(0, 8_000),
)
def test_a_file_with_changed_bytes_is_read_or_refused(
    whole: Path, damaged: Path, name: str, changes: list[tuple[int, bytes]], length: int | None
) -> None:
    for file in ("config.json", "model.safetensors"):
        (damaged / file).write_bytes((whole / file).read_bytes())
    content = bytearray((whole / name).read_bytes())
    for place, piece in changes:
        place %= len(content)
        content[place : place + len(piece)] = piece
    (damaged / name).write_bytes(content[:length])
    read_or_refuse(damaged)


HEADERS = st.dictionaries(
    st.sampled_from(["transformer.wte.weight", "__metadata__"]) | st.text(max_size=5),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "BOOL", "I64", "F4", "F8_E8M0", "C64", "X"]),
            "shape": st.lists(st.integers(0, 3) | st.just(2**62), max_size=3),
            "data_offsets": st.lists(st.integers(0, 16), min_size=2, max_size=2),
        }
    )
    | st.none()
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(header=HEADERS, data=st.binary(max_size=40))
def test_any_safetensors_header_is_read_or_refused(
    whole: Path, damaged: Path, header: dict[str, Any], data: bytes
) -> None:
    (damaged / "config.json").write_bytes((whole / "config.json").read_bytes())
    text = json.dumps(header).encode()
    (damaged / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    read_or_refuse(damaged)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(whole: Path, damaged: Path, content: bytes) -> None:
    for name, other in (("config.json", "model.safetensors"), ("model.safetensors", "config.json")):
        (damaged / name).write_bytes(content)
        (damaged / other).write_bytes((whole / other).read_bytes())
        read_or_refuse(damaged)
