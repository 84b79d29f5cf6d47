"""The study's configuration: one source for validation, `config/schema.json` and the reference.

Nothing here imports torch, so that building the job graph stays fast.
"""

import difflib
import os
import re
import typing
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from math import prod
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gpt_math_domains.data.labels import LABELS, own_labels
from gpt_math_domains.data.settings import SPLIT_SEEDS, DataSettings
from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.data.written import tokens_of
from gpt_math_domains.jobs.logs import shorten
from gpt_math_domains.run import (
    ACCURACY,
    LR_SCHEDULERS,
    PROTOCOLS,
    RUN,
    WEIGHT_DECAY_ON,
    ModelSize,
    Settings,
)
from gpt_math_domains.study.grid import (
    LONGEST_VALUE,
    MOST_POINTS,
    SECTIONS,
    GridRun,
    Point,
    changed,
    of_sections,
    point_name,
    settings_of,
    spelled,
    told,
)

if TYPE_CHECKING:
    Phase = str
    Protocol = str
    Scheduler = str
    Decayed = str
    Operation = str
    SplitSeeds = str
else:
    Phase, Protocol, Scheduler, Decayed, Operation, SplitSeeds = (
        Literal[tuple(names)]
        for names in (
            ACCURACY,
            PROTOCOLS,
            LR_SCHEDULERS,
            WEIGHT_DECAY_ON,
            OPERATIONS,
            SPLIT_SEEDS,
        )
    )


def _exponent(value: object) -> object:
    """Return the number that `5e-4` means; YAML takes it for text, as it wants `5.0e-4`."""
    if isinstance(value, str) and re.fullmatch(r"\d+\.?\d*[eE][-+]?\d+", value):
        return float(value)
    return value


LIMIT = 10**18  # above any number that makes sense, and within 64 bits
DIGITS_LIMIT = 10**10  # far above what fits in memory; their products are counted in no time
MOST_THREADS = 64

Version = Annotated[StrictInt, Field(ge=0, lt=LIMIT)]
Positive = Annotated[StrictInt, Field(ge=1, lt=LIMIT)]
Natural = Annotated[StrictInt, Field(ge=0, lt=LIMIT)]
Rate = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False), BeforeValidator(_exponent)]
Decay = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False), BeforeValidator(_exponent)]
Modulus = Annotated[StrictInt, Field(ge=2, lt=LIMIT)]
Share = Annotated[StrictFloat, Field(ge=0, lt=1), BeforeValidator(_exponent)]


def _checkpoints(value: object) -> object:
    """Return what `checkpoints` may be."""
    every = value.get("every") if isinstance(value, dict) and len(value) == 1 else None
    if value in ("none", "log") or (type(every) is int and 1 <= every < LIMIT):
        return value
    raise PydanticCustomError(
        "checkpoints", "must be none, log or {every: N}, with a number of steps N from 1"
    )


def _threads(value: object) -> object:
    """Return what `threads` may be."""
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_THREADS):
        return value
    raise PydanticCustomError("threads", f"must be auto or an integer from 1 to {MOST_THREADS}")


def _path(text: str) -> str:
    """Return a path, with `~` as the home directory that it means."""
    path = os.path.expanduser(text)
    if not path.isprintable() or path.startswith("~") or set(path) & set("{}<>"):
        raise PydanticCustomError(
            "path", "must be a path of printable characters without {, }, < and >; ~ is a home"
        )
    return path


PathText = Annotated[str, Field(min_length=1), AfterValidator(_path)]

Checkpoints = Annotated[
    Any,
    PlainValidator(
        _checkpoints, json_schema_input_type=Literal["none", "log"] | dict[Literal["every"], int]
    ),
]
_ThreadsText = Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_THREADS)]
Threads = Annotated[_ThreadsText, PlainValidator(_threads, json_schema_input_type=_ThreadsText)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Figure = Annotated[str, Field(pattern=r"^(finetune_\d+_)?pretrain_\d+$")]
Color = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]


def _canonical(operations: list[str]) -> list[str]:
    """Return operations in the order of their families."""
    return sorted(operations, key=OPERATIONS.index)


class ConfigError(ValueError):
    """A configuration that cannot run; the message has one line for each fault."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are faults, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _refuse_repetition(section: Section, may_repeat: Collection[str] = ()) -> None:
    """Raise ValueError if one of a section's lists has a value twice."""
    for key, values in section:
        repeats = isinstance(values, list) and len(set(values)) < len(values)
        if repeats and key not in may_repeat:
            raise ValueError(f"{key} = {values}: each value may stand there once")


class PathVars(Section):
    """Where the outputs go."""

    results: PathText = Field(
        description="directory of all outputs, relative to the working directory"
    )


class Selection(Section):
    """What this study runs, out of what is defined below."""

    data: list[Version] = Field(min_length=1, description="data versions")
    models: list[Version] = Field(min_length=1, description="model versions")
    domains: list[Version] = Field(description="domain versions; empty: pretraining only")
    protocols: list[Protocol] = Field(
        min_length=1, description="how finetuning starts and what may change"
    )
    seeds: list[Natural] = Field(
        min_length=1, description="independent repetitions, trained side by side in one job"
    )
    pretrain_seeds: list[Natural] | None = Field(
        default=None,
        description="seeds of pretraining, where they are others than `seeds`: one for each of "
        "these, whose finetuning starts from it; may repeat; null: `seeds`",
    )

    @model_validator(mode="after")
    def _seeds_are_paired(self) -> Self:
        _refuse_repetition(self, may_repeat=["pretrain_seeds"])
        if self.pretrain_seeds is not None and len(self.pretrain_seeds) != len(self.seeds):
            raise ValueError(
                f"pretrain_seeds = {self.pretrain_seeds}: must have one seed for each of seeds = "
                f"{self.seeds}"
            )
        return self

    def sources(self) -> list[int]:
        """Return the seed of pretraining that each seed of finetuning starts from."""
        return self.seeds if self.pretrain_seeds is None else self.pretrain_seeds

    def seeds_of(self, phase: Phase) -> list[int]:
        """Return the seeds that a phase trains."""
        return list(dict.fromkeys(self.sources())) if phase == "pretrain" else self.seeds


class Holdout(Section):
    """Which families are for validation alone: those that one of these values names; null: none."""

    operation: list[Operation] = Field(default=[], description="held out under every modulus")
    modulo: list[Modulus] = Field(default=[], description="held out with every operation")

    @model_validator(mode="after")
    def _no_repetition(self) -> Self:
        _refuse_repetition(self)
        return self


class DataVersion(Section):
    """Which equations there are, and which of them are trained on."""

    digits: Annotated[StrictInt, Field(ge=2, lt=DIGITS_LIMIT)] = Field(
        description="number of digit symbols, written 0 .. digits - 1"
    )
    modulo: Modulus | None = Field(
        default=DataSettings.modulo,
        description="largest modulus, at most `digits`: families for 2 .. modulo; null: none",
    )
    split_seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = Field(
        default=DataSettings.split_seed, description="seed of the split into train and validation"
    )
    operations: Annotated[list[Operation], AfterValidator(_canonical)] = Field(
        default=list(DataSettings.operations),
        min_length=1,
        description="operations, each with and without the moduli; their order changes nothing",
    )
    moduli: Annotated[list[Modulus], Field(min_length=1), AfterValidator(sorted)] | None = Field(
        default=None,
        description="in place of `modulo`: just these moduli, each at most `digits`",
    )
    without_modulus: StrictBool = Field(
        default=DataSettings.without_modulus,
        description="whether there are families without a modulus",
    )
    train_share: Annotated[StrictFloat, Field(gt=0, lt=1), BeforeValidator(_exponent)] = Field(
        default=DataSettings.train_share,
        description="share of each family's equations to train on, rounded down",
    )
    split: SplitSeeds = Field(
        default=DataSettings.split,
        description="shared: families of equal size hold out the same operand pairs; "
        "independent: each family draws from a seed of its own",
    )
    holdout: Holdout | None = None

    @model_validator(mode="after")
    def _equations_can_be_written(self) -> Self:
        _refuse_repetition(self)
        DataSettings(**self.model_dump())
        return self


class ModelVersion(Section):
    """A GPT-2 size; everything else is GPT-2's default."""

    num_layers: Positive = Field(description="transformer blocks")
    num_heads: Positive = Field(description="attention heads; must divide d_model")
    d_model: Positive = Field(description="width of the hidden state")
    dropout: Share = Field(
        default=ModelSize.dropout,
        description="share of embeddings, attention weights and outputs dropped in training",
    )
    tie_word_embeddings: StrictBool = Field(
        default=ModelSize.tie_word_embeddings,
        description="the embedding also tells next tokens; false: a matrix of its own does",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads = {self.num_heads}: must divide d_model = {self.d_model}")
        return self


class DomainVersion(Section):
    """Which yes/no labels an equation gets."""

    labels: list[Label] = Field(
        min_length=1, description=f"names, in column order: {', '.join(LABELS)}, or of `file`"
    )
    file: PathText | None = Field(
        default=None, description="a Python file with labels of one's own; null: none"
    )

    @model_validator(mode="after")
    def _labels_are_there(self) -> Self:
        _refuse_repetition(self)
        try:
            own = [] if self.file is None else own_labels(self.file)
        except (OSError, ValueError) as error:
            raise ValueError(f"file = {self.file}: {' '.join(str(error).split())}") from None
        known = [*LABELS, *own]
        for label in self.labels:
            if label not in known:
                near = difflib.get_close_matches(label, known, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"labels = {shorten(label)}: no such label; did you mean {near}? There are "
                    f"{', '.join(known)}"
                )
        return self


def _refuse_warmup(lr_scheduler_type: str, num_warmup_steps: int, where: str = "") -> None:
    """Raise ValueError where a schedule without a warmup gets one."""
    if lr_scheduler_type == "constant" and num_warmup_steps:
        raise ValueError(
            f"num_warmup_steps = {num_warmup_steps}{where}: must be 0 with lr_scheduler_type = "
            "'constant', or use 'constant_with_warmup'"
        )


class Training(Section):
    """How a phase trains."""

    num_train_epochs: Positive = Field(description="passes over the training equations")
    eval_steps: Positive = Field(
        description="evaluate every so many optimizer steps "
        "(and always at 1, 2, 4, ... 512 and at the end)"
    )
    batch_size: Positive = Field(description="equations in a batch")
    learning_rate: Rate = Field(description="peak learning rate of AdamW")
    weight_decay: Decay = Field(description="weight decay of AdamW")
    gradient_accumulation_steps: Positive = Field(description="batches in an optimizer step")
    num_warmup_steps: Natural = Field(description="optimizer steps of linear warmup")
    shuffle: StrictBool = Field(
        description="a new order each epoch and seed; false: always in file order"
    )
    lr_scheduler_type: Scheduler = Field(
        default=Settings.lr_scheduler_type,
        description="the learning rate after the warmup: falls to 0 at the end in a line or as a "
        "cosine, or stays; `constant` has no warmup",
    )
    max_grad_norm: Rate | None = Field(
        default=Settings.max_grad_norm,
        description="longer gradients are clipped to this norm; null: none are",
    )
    adam_beta1: Share = Field(
        default=Settings.adam_beta1, description="AdamW's decay of the mean gradient"
    )
    adam_beta2: Share = Field(
        default=Settings.adam_beta2, description="AdamW's decay of the mean squared gradient"
    )
    adam_epsilon: Rate = Field(
        default=Settings.adam_epsilon, description="AdamW's addend to the root of that mean"
    )
    weight_decay_on: Decayed = Field(
        default=Settings.weight_decay_on,
        description="what decays: matrices and embeddings, or biases and LayerNorms too",
    )
    train_eval_rows: Positive | None = Field(
        default=Settings.train_eval_rows,
        description="training equations that an evaluation judges too, spread evenly over the "
        "file; null: all of them",
    )
    checkpoints: Checkpoints = Field(
        default=Settings.checkpoints,
        description="which weights to keep along training: `none`; `log`, at the start and after "
        "1, 2, 4, ... steps; or `{every: N}` steps",
    )
    finetune_from: Version | None = Field(
        default=Settings.finetune_from,
        description="of finetuning that starts from checkpoints: the data version that they were "
        "pretrained on; null: its own",
    )

    @model_validator(mode="after")
    def _constant_has_no_warmup(self) -> Self:
        _refuse_warmup(self.lr_scheduler_type, self.num_warmup_steps)
        return self


class Match(Section):
    """Training settings for the runs that match every given one of the first five keys."""

    phase: Phase | None = Field(default=None, description="which runs: phase")
    data: Version | None = Field(default=None, description="which runs: data version")
    model: Version | None = Field(default=None, description="which runs: model version")
    domain: Version | None = Field(default=None, description="which runs: domain version")
    protocol: Protocol | None = Field(default=None, description="which runs: protocol")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        for key in ("domain", "protocol"):
            if self.phase == "pretrain" and getattr(self, key) is not None:
                raise ValueError(f"{key} = {getattr(self, key)}: pretraining has none")
        if not self.settings():
            raise PydanticCustomError(
                "idle", "must set something, such as learning_rate, beside what it matches"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings given here."""
        given = self.model_fields_set & Training.model_fields.keys()
        return {key: getattr(self, key) for key in Training.model_fields if key in given}

    def matches(self, run: Mapping[str, Any]) -> bool:
        """Tell whether every match key given here has the run's value."""
        return all(getattr(self, key) in (None, run[key]) for key in RUN)


if TYPE_CHECKING:
    Override = Match
else:
    Override = create_model(
        "Override",
        __base__=Match,
        __doc__=Match.__doc__,
        **{
            name: (annotation | None, Field(default=None, description="as in the phase's section"))
            for name, annotation in typing.get_type_hints(Training, include_extras=True).items()
            if name in Training.model_fields
        },
    )


class GridKeys(Section):
    """Values to try, for keys of the sections above: runs for every combination."""

    def values(self) -> dict[str, list[Any]]:
        """Return the values of each key that is given, with the keys in alphabetical order."""
        given = self.model_dump(include=self.model_fields_set)
        return {key: given[key] for key in sorted(given)}

    @model_validator(mode="after")
    def _each_value_has_a_name_of_its_own(self) -> Self:
        for key, values in self.values().items():
            names = [spelled(value) for value in values]
            if len(set(names)) < len(names):
                raise ValueError(f"{key} = {shorten(values)}: each value may stand there once")
            for number, name in enumerate(names):
                if len(name) > LONGEST_VALUE:
                    raise ValueError(
                        f"{key}.{number} = {shorten(values[number])}: takes {len(name)} characters "
                        f"in the name of a directory; must take at most {LONGEST_VALUE}"
                    )
        return self


if TYPE_CHECKING:
    Grid = GridKeys
else:
    Grid = create_model(
        "Grid",
        __base__=GridKeys,
        __doc__=GridKeys.__doc__,
        **{
            f"{section}.{name}": (
                list[
                    Annotated[(field.annotation, *field.metadata)]
                    if field.metadata
                    else field.annotation
                ],
                Field(default=[], min_length=1, description=f"values of {section}.{name}"),
            )
            for section, model in zip(
                SECTIONS, (DataVersion, ModelVersion, Training, Training), strict=True
            )
            for name, field in model.model_fields.items()
        },
    )


class Figures(Section):
    """How the figures look."""

    colors: Literal["published", "accessible"] = Field(
        description="published: the two lists below, by model, and dashes tell protocols; "
        "accessible: told apart with any colour vision, colours tell protocols where there are "
        "several, and markers tell models"
    )
    pretrain_colors: list[Color] = Field(
        min_length=1, description="line colours in pretraining figures, by model"
    )
    finetune_colors: list[Color] = Field(
        min_length=1, description="line colours in finetuning figures, by model"
    )
    reference_curves: dict[Figure, PathText] = Field(
        description="CSV tables (`model`, `step` and the accuracy) of curves to set beside the "
        "study's own, such as published ones, by figure: `{pretrain_1: published.csv}`"
    )

    def line_colors(self, phase: Phase) -> list[str] | None:
        """Return the colours of a phase's lines by model; None for those that are accessible."""
        if self.colors == "accessible":
            return None
        return self.pretrain_colors if phase == "pretrain" else self.finetune_colors


class Interpretability(Section):
    """What `snakemake interpretability` looks at."""

    equations: dict[Version, Annotated[list[str], Field(min_length=1)]] = Field(
        description="equations whose attention is drawn, or beginnings of them, by data version: "
        '`{1: ["3 + 4 = 7"]}`; of the others, that in the middle of each family\'s validation '
        "equations",
    )


class Study(Section):
    """A whole study."""

    pathvars: PathVars
    run: Selection
    data: dict[Version, DataVersion] = Field(description="data versions, by number")
    models: dict[Version, ModelVersion] = Field(description="model versions, by number")
    domains: dict[Version, DomainVersion] = Field(description="domain versions, by number")
    pretrain: Training
    finetune: Training
    overrides: list[Override] = Field(
        description="exceptions to the two sections above; the last match wins"
    )
    grid: Grid = Field(
        default=Grid(),
        description="values to try, of keys of `data`, `models`, `pretrain` and `finetune` without "
        "a version: runs for every combination, beside those of the study; default: none",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="where training runs; auto: CUDA where there is one, else the CPU"
    )
    gpu_slots: Positive = Field(
        description="trainings that may share one GPU; results do not depend on it"
    )
    threads: Threads = Field(
        description="of the CPU that a training has; auto: what is worth it for the model's size; "
        "last bits depend on it"
    )
    precision: Literal["fp32", "tf32", "bf16", "fp64"] = Field(
        description="floating-point format of training; bf16: of the blocks' matrix products, with "
        "fp32 weights and sums; tf32: the same on GPUs, with 10-bit factors"
    )
    execution: Literal["auto", "eager", "compiled", "cuda_graph", "compiled_cuda_graph"] = Field(
        description="how training steps are carried out; auto: what is fastest for the run"
    )
    figures: Figures
    interpretability: Interpretability

    @model_validator(mode="after")
    def _chosen_equations_can_be_read(self) -> Self:
        for version, texts in self.interpretability.equations.items():
            if version not in self.data:
                raise ValueError(
                    f"interpretability.equations = {version}: not defined under data, which has "
                    f"{sorted(self.data)}"
                )
            key = f"interpretability.equations.{version}"
            symbols = DataSettings(**self.data[version].model_dump()).vocabulary
            seen: list[list[int]] = []
            for text in texts:
                try:
                    tokens = tokens_of(text, symbols)
                except ValueError as error:
                    raise ValueError(f"{key} = {shorten(text)}: {error}") from None
                if tokens in seen:
                    raise ValueError(f"{key} = {shorten(text)}: each equation may stand there once")
                seen.append(tokens)
        return self

    @model_validator(mode="after")
    def _selected_is_defined(self) -> Self:
        for key in ("data", "models", "domains"):
            defined = sorted(getattr(self, key))
            for version in getattr(self.run, key):
                if version not in defined:
                    raise ValueError(
                        f"run.{key} = {version}: not defined under {key}, which has "
                        f"{shorten(defined)}"
                    )
        for number, override in enumerate(self.overrides):
            for key, section in (("data", "data"), ("model", "models"), ("domain", "domains")):
                version, defined = getattr(override, key), sorted(getattr(self, section))
                if version is not None and version not in defined:
                    raise ValueError(
                        f"overrides.{number}.{key} = {version}: not defined under {section}, "
                        f"which has {shorten(defined)}"
                    )
        return self

    @model_validator(mode="after")
    def _device_can(self) -> Self:
        of_gpus = {"precision": ["tf32"], "execution": ["cuda_graph", "compiled_cuda_graph"]}
        for key, values in of_gpus.items():
            if self.device == "cpu" and (value := getattr(self, key)) in values:
                raise ValueError(f"{key} = {value!r}: needs a GPU, but device = 'cpu'")
        return self

    @model_validator(mode="after")
    def _overrides_agree(self) -> Self:
        for run in self.runs():
            self._refuse_source(run)
            where = f", by the overrides for {_told_run(run)}"
            _refuse_warmup(run["lr_scheduler_type"], run["num_warmup_steps"], where)
        return self

    @model_validator(mode="after")
    def _grid_agrees(self) -> Self:
        values = self.grid.values()
        if (count := prod(map(len, values.values()))) > MOST_POINTS:
            raise ValueError(f"grid: has {count:,} points; must have at most {MOST_POINTS:,}")
        for source in values.get("finetune.finetune_from", []):
            self._refuse_source({"phase": "finetune", "finetune_from": source})
        known: set[object] = set()
        for found in self.grid_runs() if values else ():
            run, point = found.run, found.point
            settings = self.training(**run, point=point)
            self._refuse_source(run | settings)
            where = f", at {told(found.values)} of the grid, for {_told_run(run)}"
            _refuse_warmup(settings["lr_scheduler_type"], settings["num_warmup_steps"], where)
            source = settings["finetune_from"]
            versions = [("data", run["data"]), ("models", run["model"])]
            for section, version in versions + [("data", source)] * (source is not None):
                part = of_sections(point, [section])
                if (section, version, point_name(part)) not in known:
                    self._refuse_version(section, version, part)
                    known.add((section, version, point_name(part)))
        return self

    def _refuse_version(self, section: str, version: int, point: Point) -> None:
        """Raise ValueError where a data or model version is none at a point of the grid."""
        kind = DataVersion if section == "data" else ModelVersion
        try:
            kind.model_validate(self.version(section, version, point))
        except ValidationError as error:
            said = _describe(error.errors()[0]).removeprefix("config: ")
            raise ValueError(f"grid: {told(point)} for {section}.{version}: {said}") from None

    def _refuse_source(self, run: Mapping[str, Any]) -> None:
        """Raise ValueError where a run cannot start from the data version it names."""
        source = run["finetune_from"]
        if source is None:
            return
        if run["phase"] == "pretrain":
            raise ValueError(f"pretrain.finetune_from = {source}: must be null")
        if source not in self.data:
            raise ValueError(
                f"finetune.finetune_from = {source}: not defined under data, which has "
                f"{shorten(sorted(self.data))}"
            )

    def training(
        self,
        phase: Phase,
        data: int,
        model: int,
        domain: int | None = None,
        protocol: Protocol | None = None,
        point: Point | None = None,
    ) -> dict[str, Any]:
        """Return the training settings of one run, overrides and a point of the grid applied."""
        run = dict(phase=phase, data=data, model=model, domain=domain, protocol=protocol)
        settings = getattr(self, phase).model_dump()
        for override in self.overrides:
            if override.matches(run):
                settings.update(override.settings())
        return typing.cast(dict[str, Any], settings | settings_of(point or {}, phase))

    def version(self, section: str, number: int, point: Point | None = None) -> dict[str, Any]:
        """Return the settings of a version of `data`, `models` or `domains` at a point."""
        settings = getattr(self, section)[number].model_dump(mode="json")
        return typing.cast(dict[str, Any], settings | settings_of(point or {}, section))

    def part(
        self,
        point: Point,
        data: int,
        model: int | None = None,
        domain: int | None = None,
        protocol: Protocol | None = None,
    ) -> dict[str, Any]:
        """Return the part of a point that makes files others than the study's own.

        These are a data version and its labels; with a model version, a pretraining; with a domain
        version and a protocol too, a finetuning, of which what it starts from is a part.
        """
        found = changed(point, "data", self.version("data", data))
        if model is None:
            return found
        found |= changed(point, "models", self.version("models", model))
        if domain is None or protocol is None:
            return found | changed(point, "pretrain", self.training("pretrain", data, model))
        found |= changed(
            point, "finetune", self.training("finetune", data, model, domain, protocol)
        )
        if PROTOCOLS[protocol].pretrained:
            settings = self.training("finetune", data, model, domain, protocol, point)
            source = settings["finetune_from"]
            found |= self.part(point, data if source is None else source, model)
        return found

    def parts(self, *versions: Any) -> dict[str, Point]:
        """Return the different parts of the grid's points that `part` has for versions, by name."""
        found = [self.part(point, *versions) for point in self._all_points()]
        return {point_name(part): part for part in found}

    def _all_points(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of the grid's values; of none, the one without keys."""
        values = self.grid.values()
        for chosen in product(*values.values()):
            yield dict(zip(values, chosen, strict=True))

    def grid_runs(self) -> Iterator[GridRun]:
        """Yield every selected run at every point of the grid, each once.

        A point that leaves a run as it is in the study is that run.
        """
        for run in self.runs():
            keys = {key: run[key] for key in RUN}
            seen = set()
            versions = [run[key] for key in RUN[1:]]
            for point in self._all_points():
                part = self.part(point, *versions)
                if (name := point_name(part)) not in seen:
                    seen.add(name)
                    yield GridRun(keys, part, of_sections(point, _concerning(run)))

    def runs(self) -> Iterator[dict[str, Any]]:
        """Yield every selected run as phase, data, model, domain, protocol and its settings."""
        for data in self.run.data:
            for model in self.run.models:
                run = dict(phase="pretrain", data=data, model=model, domain=None, protocol=None)
                yield run | self.training("pretrain", data, model)
        for domain in self.run.domains:
            for data in self.run.data:
                for model in self.run.models:
                    for protocol in self.run.protocols:
                        run = dict(
                            phase="finetune",
                            data=data,
                            model=model,
                            domain=domain,
                            protocol=protocol,
                        )
                        yield run | self.training("finetune", data, model, domain, protocol)

    def own_runs(self) -> Iterator[GridRun]:
        """Yield the study's own runs with the values that they have for the keys of the grid."""
        for run in self.runs():
            own = {
                **self._keys("data", self.version("data", run["data"])),
                **self._keys("models", self.version("models", run["model"])),
                **self._keys(run["phase"], run),
            }
            if "pretrain" in _concerning(run) and run["phase"] == "finetune":
                source = run["data"] if run["finetune_from"] is None else run["finetune_from"]
                own |= self._keys("pretrain", self.training("pretrain", source, run["model"]))
            yield GridRun({key: run[key] for key in RUN}, {}, own)

    def data_of_each_kind(self) -> list[int]:
        """Return the first data versions that together train on every kind of equation.

        A kind is an operation, with or without a modulus.
        """
        chosen, shown = [], set[tuple[str, bool]]()
        for version in self.run.data:
            families = DataSettings(**self.version("data", version)).families()
            kinds = {(own.operation, own.modulo is None) for own in families if not own.holdout}
            if kinds - shown:
                chosen.append(version)
                shown |= kinds
        return chosen

    def _keys(self, section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that settings of a section have for the keys of the grid."""
        found = settings_of(self.grid.values(), section)
        return {f"{section}.{key}": settings[key] for key in found}

    def used(self) -> dict[str, Any]:
        """Return the part of this configuration that its runs use; it is a configuration too."""
        runs, overrides = list(self.runs()), self.overrides
        for override in self.overrides:
            others = [other for other in overrides if other is not override]
            if list(self.model_copy(update={"overrides": others}).runs()) == runs:
                overrides = others
        used = self.model_dump()
        for key in ("data", "models", "domains"):
            used[key] = {version: used[key][version] for version in getattr(self.run, key)}
        used |= {"overrides": [item.model_dump(exclude_unset=True) for item in overrides]}
        del used["grid"]  # whose keys are not all given
        grid = self.grid.values()
        return used | ({"grid": grid} if grid else {})

    def tables(self) -> dict[str, Any]:
        """Return what a page tells about the study: the selected versions and runs."""

        def selected(key: str) -> dict[int, dict[str, Any]]:
            defined = getattr(self, key)
            return {version: defined[version].model_dump() for version in getattr(self.run, key)}

        name = PurePath(self.pathvars.results).name
        tables = {
            "name": "" if name == "results" else name,
            "models": selected("models"),
            "data": selected("data"),
            "domains": selected("domains"),
            "protocols": self.run.protocols,
            "seeds": self.run.seeds,
            "pretrain_seeds": self.run.pretrain_seeds,
            "training": list(self.runs()),
            "figures": self.figures.model_dump(),
        }
        grid = self.grid.values()
        return tables | ({"grid": grid} if grid else {})

    def costs(self, phase: Phase) -> dict[str, Any]:
        """Return what the cost of a phase's runs depends on; see `scale.plot_scale`."""
        return {
            "data": self.run.data,
            "models": {model: self.models[model].model_dump() for model in self.run.models},
            "labels": {domain: len(self.domains[domain].labels) for domain in self.run.domains},
            "epochs": [
                {key: run[key] for key in (*RUN, "num_train_epochs")}
                for run in self.runs()
                if run["phase"] == phase
            ],
        }


def _concerning(run: Mapping[str, Any]) -> list[str]:
    """Return the sections whose keys concern a run."""
    if run["phase"] == "pretrain":
        return ["data", "models", "pretrain"]
    starts_pretrained = PROTOCOLS[run["protocol"]].pretrained
    return ["data", "models", *(["pretrain"] if starts_pretrained else []), "finetune"]


def _told_run(run: Mapping[str, Any]) -> str:
    """Return the keys of a run for a message."""
    return " ".join(f"{key} {run[key]}" for key in RUN if run[key] is not None)


def load_study(config: Mapping[str, Any]) -> Study:
    """Validate a merged configuration.

    Raises:
        ConfigError: with one line for each fault: key, value, what is allowed.
    """
    try:
        return Study.model_validate(config)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(fault) for fault in error.errors())) from None


PLAIN = {  # where pydantic speaks of Python
    "model_type": "must be a section with keys of its own",
    "dict_type": "must be a section with keys of its own",
    "too_short": "must have at least one item",
}


def _describe(fault: Any) -> str:
    """Turn one of pydantic's faults into `config: key = value: what is allowed`."""
    location, kind = fault["loc"], fault["type"]
    key = printable(".".join(str(part) for part in location if part != "[key]"))
    if kind == "extra_forbidden":
        known = list(_section(location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
        return f"config: {key}: unknown key; did you mean {near[0]}? Known keys: {', '.join(known)}"
    if kind == "missing":
        return f"config: {key}: this key is missing"
    if kind == "value_error":
        own = str(fault["ctx"]["error"])
        return f"config: {key}.{own}" if key else f"config: {own}"
    message = PLAIN.get(kind, fault["msg"][:1].lower() + fault["msg"][1:])
    return f"config: {key} = {shorten(fault['input'])}: {message}"


def printable(key: str) -> str:
    """Return a key in a form that keeps a message in one line."""
    return key if key.isprintable() else ascii(key)


def _section(location: tuple[int | str, ...]) -> type[Section]:
    """Return the section class that stands at a location of the configuration."""
    found: Any = Study
    for part in location:
        if isinstance(found, type) and issubclass(found, Section):
            found = found.model_fields[str(part)].annotation
        else:  # dict[Version, Section] or list[Section]
            found = typing.get_args(found)[-1]
        if type(None) in typing.get_args(found):  # Section | None
            found = typing.get_args(found)[0]
    return typing.cast(type[Section], found)
