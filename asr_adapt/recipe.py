"""What a recipe fills in: frozen pydantic models. Unknown or impossible values are refused by the field's name.

A recipe says only what differs from these defaults. `None` means "chosen by the program" (`presets`), and the choice
is printed with its reason and kept in the run folder's `recipe.toml`.
"""

import hashlib
import json
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr_adapt.errors import InputError
from asr_adapt.storage import write_whole

Format = Literal[
    "manifest",
    "common_voice",
    "table",
    "text_files",
    "kaldi",
    "librispeech",
    "elan",
    "praat",
    "hugging_face",
    "data_collective",
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Source(_Section):
    """A corpus: where it is and how it is read."""

    root: Path | None = None
    """folder, archive or table of the corpus; a data set's name on the Hub or ID at the Data Collective"""
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
    adapter: Literal["none", "lora", "mms"] = "none"
    """what is trained instead of the transformer: low-rank additions to its matrices (merged into the model when
    training ends), or MMS's small layer in each of its layers (XLS-R, MMS and their like)"""
    adapter_size: int = Field(default=16, ge=1)
    """rank of LoRA, or width of MMS's layers"""
    adapter_language: str | None = None
    """whose adapter and head to start from in an MMS checkpoint that has one for each language, by its name there
    (`mri`, `azj-script_latin`); `none`: begin without; None: the recipe's, and an error where it is not there"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """dropout inside the transformer"""
    pickled_weights: bool = False
    """load pickled weights, which can run code of whoever made them"""
    hidden_size: int = Field(default=256, ge=64, multiple_of=64)
    """width of the small model from nothing; attention heads are 64 wide"""
    layers: int = Field(default=8, ge=1)
    """transformer layers of the small model from nothing"""

    @model_validator(mode="after")
    def _an_adapter_has_what_it_adapts(self) -> Self:
        if self.adapter != "none" and (self.base == "none" or self.freeze not in (None, "feature_encoder")):
            raise ValueError(f"adapter '{self.adapter}' wants a base model, and leaves nothing to say about freeze")
        return self


class Train(_Section):
    """How long and how hard. What is None is chosen by hours of labelled speech and the base model (`presets`)."""

    steps: int | None = Field(default=None, ge=1)
    """optimiser steps; None: chosen by the hours"""
    seed: int = Field(default=1, ge=0)
    """seed of batches, masks, dropout and the new head"""
    hours: float | None = Field(default=None, gt=0)
    """hours of labelled speech by which the rest is chosen; None: measured in the train split"""
    batch_s: float | None = Field(default=None, gt=0)
    """seconds of audio in a batch, over all processes; None: chosen by the hours"""
    accumulate: int = Field(default=1, ge=1)
    """batches whose gradients make one step"""
    learning_rate: float | None = Field(default=None, gt=0)
    """peak rate; None: chosen by the base model's size and the hours"""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """peak rate of the new head; None: 1e-3, or the peak rate where that is higher"""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """each transformer layer learns at this share of the rate of the one above it; 1: all alike"""
    warmup: float | None = Field(default=None, ge=0, le=1)
    """share of the steps in which the rate rises (tri-stage: rise, hold, decay to 5 %); None: 0.1"""
    hold: float | None = Field(default=None, ge=0, le=1)
    """share of the steps at the peak rate; None: 0.4"""
    head_steps: int | None = Field(default=None, ge=0)
    """first steps, in which the head alone is trained; None: chosen, at most 500; 0 from nothing"""
    speed: float | None = Field(default=None, ge=0, le=0.3)
    """clips are played faster or slower at random, by at most this share (0.1: 0.9 to 1.1 times); None: chosen"""
    noise: Path | None = None
    """folder of recordings without speech, mixed into clips; the first minute of each is used"""
    noise_share: float = Field(default=0.0, ge=0, le=1)
    """share of the clips that noise is mixed into"""
    noise_snr_db: tuple[float, float] = (5.0, 25.0)
    """least and greatest level of the speech above the noise"""
    rooms: Path | None = None
    """folder of room impulse responses; None: noise that decays exponentially, made up for each clip"""
    room_share: float = Field(default=0.0, ge=0, le=1)
    """share of the clips that are heard in a room"""
    gain_share: float = Field(default=0.0, ge=0, le=1)
    """share of the clips that are recorded too loud or too quiet; what is above full scale is clipped"""
    gain_db: float = Field(default=20.0, ge=0, le=60)
    """greatest change of level, up or down"""
    codec_share: float = Field(default=0.0, ge=0, le=1)
    """share of the clips that go through a telephone or a codec of low bit rate (mu-law at 8 kHz, GSM, MP3, Opus)"""
    cached_copies: int | None = Field(default=None, ge=0)
    """how often the output of frozen layers is kept on disk, each copy at speeds and with noises of its own;
    0: computed anew at every step; None: once where clips are not changed, else 0"""
    mask_time: float | None = Field(default=None, ge=0, le=0.9)
    """share of the frames that SpecAugment hides, after the warm-up; spans may overlap; None: chosen"""
    mask_span_s: float = Field(default=0.2, gt=0)
    """seconds in one hidden span; shorter on short clips"""
    mask_features: float | None = Field(default=None, ge=0, le=0.9)
    """share of the features that SpecAugment hides; None: chosen"""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay; not on biases and norms"""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """gradients are scaled down to this norm"""
    gradient_checkpointing: bool = False
    """compute each layer again in the backward pass: less memory, a third more work"""
    precision: Literal["fp32", "bf16"] | None = None
    """None: bf16 where the device has it and, on a processor, was measured to be clearly faster; else fp32"""
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
        decay_from = (self.warmup or 0) + (self.hold or 0)
        if decay_from > 1:
            raise ValueError(f"warmup + hold must be at most 1, but is {decay_from:g}")
        return self

    @model_validator(mode="after")
    def _the_noise_is_there(self) -> Self:
        if self.noise_share and self.noise is None:
            raise ValueError("noise_share wants a folder: give it as train.noise")
        low, high = self.noise_snr_db
        if low > high:
            raise ValueError(f"noise_snr_db goes from the least to the greatest, but is {low:g} to {high:g}")
        return self

    @property
    def changes_clips(self) -> bool:
        """Whether a clip is another one whenever it is heard."""
        return any((self.speed, self.noise_share, self.room_share, self.gain_share, self.codec_share))


class Report(_Section):
    """What `report.html` shows."""

    audio: bool = True
    """put the recordings of the utterances with the most errors into it"""
    names: bool = False
    """call speakers and clips by their names; else they are numbered"""


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
    report: Report = Report()


class ResolvedModel(Model):
    """What is adapted, with nothing left open."""

    freeze: Literal["feature_encoder", "all_but_head", "nothing"]


class ResolvedTrain(Train):
    """How long and how hard, with nothing left open that training asks for."""

    steps: int
    batch_s: float
    learning_rate: float
    head_learning_rate: float
    warmup: float
    hold: float
    head_steps: int
    speed: float
    mask_time: float
    mask_features: float
    eval_steps: int


class Resolved(Recipe):
    """A recipe of which every choice is made (`presets.resolve`)."""

    model: ResolvedModel
    train: ResolvedTrain


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
    sections = {section.__name__: section for section in (Corpus, Text, Model, Train, Report)}
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


def fingerprint_fields(model: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return a model's fields as plain values, as fingerprints of run folders take them.

    A field that was added after format 1 must not change the fingerprint of a recipe that leaves it at its default,
    or older runs would start over. Declare such a field with `json_schema_extra={"since": 2}`: it is left out while
    it has its default.
    """
    plain = model.model_dump(mode="json", exclude={*exclude})
    for name, info in type(model).model_fields.items():
        added = isinstance(info.json_schema_extra, dict) and "since" in info.json_schema_extra
        if name in plain and added and getattr(model, name) == info.get_default(call_default_factory=True):
            del plain[name]
        elif name in plain and isinstance(value := getattr(model, name), BaseModel):
            plain[name] = fingerprint_fields(value)
    return plain


def fingerprint(*parts: Any) -> str:
    """Return a SHA-256 of models and plain values: equal where, and only where, they are equal."""
    plain = [fingerprint_fields(part) if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
