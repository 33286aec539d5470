"""What a recipe fills in: frozen pydantic models. Unknown or impossible values are refused by the field's name.

A recipe says only what differs from these defaults. `None` means "chosen by the program", and the choice is
printed and kept in the run folder's `recipe.toml`.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr_adapt.errors import InputError
from asr_adapt.files import write_whole

Format = Literal[
    "manifest", "common_voice", "table", "text_files", "kaldi", "librispeech", "elan", "praat", "hugging_face"
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Source(_Section):
    """A corpus: where it is and how it is read."""

    root: Path | None = None
    """folder, archive or table of the corpus; a data set's name on the Hub"""
    licence: str = "unknown"
    """licence of the corpus, as its makers state it"""
    format: Format | None = None
    """layout of the corpus; None: the one that it shows"""
    subset: str | None = None
    """configuration of a data set on the Hub, such as FLEURS's mi_nz"""
    revision: str | None = None
    """Hub revision of the data set; FLEURS's Parquet files are at refs/convert/parquet"""
    columns: dict[str, str] = {}
    """columns of a table or data set that have names of their own, as {"text": "Satz"}"""
    tiers: tuple[str, ...] = ()
    """tiers of ELAN and Praat files that hold the transcript, by name or by type"""


class Corpus(Source):
    """Where the speech is, and which of it can be used."""

    min_duration_s: float = Field(default=0.1, ge=0.025)
    """shorter clips are left out of training"""
    max_duration_s: float = Field(default=30.0, gt=0)
    """longer clips are left out of training"""
    max_train_hours: float | None = Field(default=None, gt=0)
    """train on a random part of this size only, for learning curves"""
    workers: int | None = Field(default=None, ge=1)
    """threads that decode audio; None: one for each core"""

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        if self.min_duration_s >= self.max_duration_s:
            raise ValueError(f"min_duration_s must be less than max_duration_s ({self.max_duration_s:g})")
        return self


class Text(_Section):
    """How transcripts are normalised, and what the model can write."""

    lower: bool = True
    """fold case (Turkish and Azerbaijani i are told by the language)"""
    keep: str = ""
    """punctuation that is orthography in this language, beside apostrophes between letters"""
    replace: dict[str, str] = {}
    """replacement table, applied to the folded text, longest key first"""
    alphabet: tuple[str, ...] = ()
    """units that the model shall know beside those of the training text"""
    units: Literal["graphemes", "code_points"] = "graphemes"
    """what one label of the head is: a letter with its marks, or one code point"""


class Model(_Section):
    """What is adapted."""

    base: str = "facebook/wav2vec2-xls-r-300m"
    """a Hub name, a folder, `embedded` for the small one that comes with the package, or `none` for it untrained"""
    revision: str | None = None
    """Hub revision of the base model"""
    freeze: Literal["feature_encoder", "all_but_head", "nothing"] | None = None
    """what stays as it is; None: the feature encoder, and nothing where the base is `none`"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """dropout inside the transformer"""
    pickled_weights: bool = False
    """load pickled weights, which can run code of whoever made them"""
    hidden_size: int = Field(default=256, ge=64, multiple_of=64)
    """width of the small model from nothing; attention heads are 64 wide"""
    layers: int = Field(default=8, ge=1)
    """transformer layers of the small model from nothing"""


class Train(_Section):
    """How long and how hard."""

    steps: int = Field(default=2000, ge=1)
    """optimiser steps"""
    seed: int = Field(default=1, ge=0)
    """seed of batches, masks, dropout and the new head"""
    batch_s: float = Field(default=80.0, gt=0)
    """seconds of audio in a batch, over all processes"""
    accumulate: int = Field(default=1, ge=1)
    """batches whose gradients make one step"""
    learning_rate: float | None = Field(default=None, gt=0)
    """peak rate; None: 2e-4 for a base model, 5e-4 for the small embedded one, 1e-3 from nothing"""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """peak rate of the new head; None: 1e-3, or the peak rate where that is higher"""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """share of the steps in which the rate rises (tri-stage: rise, hold, decay to 5 %)"""
    hold: float = Field(default=0.4, ge=0, le=1)
    """share of the steps at the peak rate"""
    head_steps: int | None = Field(default=None, ge=0)
    """first steps, in which the head alone is trained; None: 10 % of the steps, at most 500; 0 from nothing"""
    speed: float = Field(default=0.0, ge=0, le=0.3)
    """clips are played faster or slower at random, by at most this share (0.1: from 0.9 to 1.1 times)"""
    cached_copies: int | None = Field(default=None, ge=0)
    """how often the output of frozen layers is kept on disk, each copy at speeds of its own; 0: computed anew at
    every step; None: once where clips are not changed, else 0"""
    mask_time: float = Field(default=0.3, ge=0, le=0.9)
    """share of the frames that SpecAugment hides, after the warm-up"""
    mask_span_s: float = Field(default=0.2, gt=0)
    """seconds in one hidden span; shorter on short clips"""
    mask_features: float = Field(default=0.1, ge=0, le=0.9)
    """share of the features that SpecAugment hides"""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay; not on biases and norms"""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """gradients are scaled down to this norm"""
    precision: Literal["fp32", "bf16"] | None = None
    """None: bf16 where the processor has it, else fp32"""
    eval_steps: int | None = Field(default=None, ge=1)
    """steps between two looks at dev; None: a twentieth of the steps, at least 25"""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """minutes between two checkpoints"""
    patience: int = Field(default=10, ge=1)
    """looks at dev without a better model that end the run early"""
    tensorboard: bool = False
    """write TensorBoard events too (needs the extra `tensorboard`)"""

    @model_validator(mode="after")
    def _the_stages_fit(self) -> Self:
        if self.warmup + self.hold > 1:
            raise ValueError(f"warmup + hold must be at most 1, but is {self.warmup + self.hold:g}")
        return self


class Recipe(_Section):
    """A language, its corpus, a base model, and how to adapt it."""

    language: str = Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")
    """BCP-47 tag of the language"""
    corpus: Corpus = Corpus()
    corpora: tuple[Source, ...] = ()
    """more corpora, which are read beside `corpus`"""
    text: Text = Text()
    model: Model = Model()
    train: Train = Train()

    def resolved(self) -> "Recipe":
        """Return the recipe with every `None` that depends on another field filled in."""
        scratch = self.model.base == "none"
        steps, train = self.train.steps, self.train
        rate = train.learning_rate or {"none": 1e-3, "embedded": 5e-4}.get(self.model.base, 2e-4)
        return self.model_copy(
            update={
                "model": self.model.model_copy(
                    update={"freeze": self.model.freeze or ("nothing" if scratch else "feature_encoder")}
                ),
                "train": train.model_copy(
                    update={
                        "learning_rate": rate,
                        "head_learning_rate": train.head_learning_rate or max(1e-3, rate),
                        "head_steps": train.head_steps
                        if train.head_steps is not None
                        else (0 if scratch else min(500, steps // 10)),
                        "eval_steps": train.eval_steps or max(25, steps // 20),
                    }
                ),
            }
        )


def recipe_from(fields: dict[str, Any], place: object) -> Recipe:
    """Return the recipe that `fields` describe.

    Raises:
        InputError: a field is unknown or its value impossible; the error names the field and the value.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise field_error(error, place) from error


def field_error(error: ValidationError, place: object) -> InputError:
    """Return pydantic's first complaint as one line: the field, the rule and the value."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_fields(error.title, first["loc"])
        return InputError(f"'{field}' is no field of a recipe", place=place, remedy=known)
    if first["type"] == "missing":
        return InputError(f"'{field}' is missing", place=place, remedy=f"Give it as --{field} or in the recipe.")
    return InputError(f"{field}: {first['msg']}, but is {first['input']!r}", place=place)


def _known_fields(section_name: str, location: tuple[int | str, ...]) -> str:
    sections = {section.__name__: section for section in (Corpus, Text, Model, Train)}
    section: Any = sections.get(section_name, Recipe)
    for part in location[:-1]:
        section = Source if isinstance(part, int) else section.model_fields[part].annotation
    prefix = "".join(f"{part}." for part in location[:-1])
    return "Known are: " + ", ".join(prefix + name for name in section.model_fields) + "."


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe as TOML; a field that is None is left out."""
    write_whole(path, tomlkit.dumps(recipe.model_dump(mode="json", exclude_none=True)))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe that a run folder keeps.

    Raises:
        InputError: the file is not TOML, or no recipe of this version.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML ({error})", place=path) from error
    return recipe_from(fields, path)


def fingerprint(*parts: Any) -> str:
    """Return a SHA-256 of models and plain values: equal where, and only where, they are equal."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
