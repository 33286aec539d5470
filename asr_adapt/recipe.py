"""Recipes: frozen pydantic models. Unknown fields and impossible values are refused with the field's name.

A recipe contains only what differs from the defaults. `None` means "chosen automatically" (`presets`); the choice is
printed with its reason and stored in the run folder's `recipe.toml`. The fields' docstrings are the help of the
command line.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomlkit
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from asr_adapt import languages, remote
from asr_adapt.errors import InputError
from asr_adapt.storage import MAX_JSON_BYTES, decode_text, read_bounded, write_text

Format = Literal[
    "manifest",
    "common_voice",
    "common_voice_spontaneous",
    "table",
    "xlsx",
    "audio_folder",
    "ljspeech",
    "fleurs",
    "text_files",
    "parallel_folders",
    "subtitles",
    "audacity",
    "transcriber",
    "chat",
    "kaldi",
    "lhotse",
    "nemo",
    "librispeech",
    "elan",
    "praat",
    "hugging_face",
    "data_collective",
]


Splits = Literal["own", "made"] | dict[Literal["train", "dev", "test"], tuple[str, ...]]


AUTO = "auto"
"""freezing policy: the depth that probes find best, measured before training"""


def _freezing_policy(policy: str) -> str:
    if not re.fullmatch(rf"feature_encoder|below:[1-9]\d{{0,3}}|all_but_head|nothing|{AUTO}", policy):
        raise ValueError("must be feature_encoder, below:K (as below:4), all_but_head, nothing or auto")
    return policy


Freeze = Annotated[str, AfterValidator(_freezing_policy)]


def _root(root: Any) -> Any:
    return Path(root) if isinstance(root, str) and not remote.is_url(root) else root


Root = Annotated[Path | str, BeforeValidator(_root)]
"""where a corpus is; a `str` is a URL"""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Source(_Section):
    """A corpus: where it is and how to read it."""

    root: Root | None = None
    """folder, archive or table of the corpus; a folder's or table's URL elsewhere (`s3://`, `gs://`, `hf://`); or a
    Hub data set's name, or a Data Collective ID"""
    licence: str = "unknown"
    """licence of the corpus, as its publisher states it"""
    format: Format | None = None
    """corpus format; None: detected"""
    subset: str | None = None
    """configuration of a Hub data set, such as FLEURS's mi_nz"""
    revision: str | None = None
    """Hub revision of the data set; FLEURS's Parquet files are at refs/convert/parquet"""
    columns: dict[str, str] = {}
    """names of the columns in a table or data set where they are not standard, as {"text": "Satz"}"""
    tiers: tuple[str, ...] = ()
    """tiers of ELAN and Praat files that hold the transcript, by name or by type"""
    splits: Splits = Field(default="own", json_schema_extra={"since": 2})
    """`own`: those of the corpus, a missing dev or test taken from train; `made`: all anew, from everything in the
    corpus; or the names of tables, folders or values of each, as {"train": ["train_nodev"], "test": ["eval2000"]}"""
    split: Literal["train"] | None = Field(default=None, json_schema_extra={"since": 2})
    """`train`: every utterance of this corpus is trained on and none is scored; None: see `splits`"""
    split_seed: int = Field(default=0, ge=0, json_schema_extra={"since": 2})
    """seed of splits that are made; recordings that have a split keep it"""
    trust_drafts: bool = Field(default=False, json_schema_extra={"since": 2})
    """train on and score against transcripts that a model wrote and nobody corrected"""
    max_clip_mb: float = Field(default=1000.0, gt=0, json_schema_extra={"since": 2})
    """largest file in an archive or clip in a data set, in MB (10^6 bytes); a corpus with a larger one is refused"""
    weight: float = Field(default=1.0, gt=0, json_schema_extra={"since": 2})
    """how often this corpus is trained on, relative to others with as many hours; see train.sampling_temperature"""

    @model_validator(mode="after")
    def _one_split_or_several(self) -> Self:
        if self.split is not None and self.splits != "own":
            raise ValueError("split and splits exclude each other: with split='train' the corpus has no other splits")
        return self


class Corpus(Source):
    """The speech corpus, and which clips to train on."""

    min_duration_s: float = Field(default=0.1, ge=0.025)
    """exclude shorter clips from training"""
    max_duration_s: float = Field(default=30.0, gt=0)
    """exclude longer clips from training"""
    max_train_hours: float | None = Field(default=None, gt=0)
    """train on a random subset of this size, for learning curves"""
    subset_seed: int = Field(default=0, ge=0, json_schema_extra={"since": 2})
    """seed of that subset; with one seed, a larger subset contains a smaller one"""
    workers: int | None = Field(default=None, ge=1)
    """audio decoding threads, or with ray, processes; None: one per core, of a corpus elsewhere 16 threads or more"""
    ray: str | None = Field(default=None, json_schema_extra={"since": 2})
    """prepare on a Ray cluster: `local`, this machine's cores; or the address of one that runs, such as `auto`"""
    copy_audio: bool = Field(default=True, json_schema_extra={"since": 2})
    """keep a decoded copy of the audio in the run folder, 230 MB an hour; false: decode each clip from the corpus's
    own files whenever it is needed, which must then stay as they are"""
    allow_trained: bool = Field(default=False, json_schema_extra={"since": 2})
    """keep clips of dev and test that the model or its base was trained on; else they are left out and counted"""

    @model_validator(mode="after")
    def _durations_are_ordered(self) -> Self:
        if self.min_duration_s >= self.max_duration_s:
            raise ValueError(f"min_duration_s must be less than max_duration_s ({self.max_duration_s:g})")
        return self


class Text(_Section):
    """Text normalisation and the units that the model writes."""

    lower: bool = True
    """lower-case the text, by the rules of the language (Turkish and Azerbaijani i)"""
    keep: str = ""
    """punctuation to keep because it is part of the orthography; apostrophes between letters are always kept"""
    replace: dict[str, str] = {}
    """replacements, applied after lower-casing, longest key first"""
    alphabet: tuple[str, ...] = ()
    """extra units for the alphabet, beside those of the training text"""
    units: Literal["graphemes", "code_points"] = "graphemes"
    """unit of one CTC label: a grapheme cluster (a letter with its marks) or a code point"""
    drop: tuple[str, ...] = Field(default=(), json_schema_extra={"since": 2})
    """markup to remove: bracket pairs with what they enclose (`[]`), texts (`(laughs)`), `/regular expressions/`"""
    unclear: tuple[str, ...] = Field(default=(), json_schema_extra={"since": 2})
    """marks of speech that nobody understood (`xxx`, `[unclear]`), as in `drop`: such utterances are excluded"""


class Model(_Section):
    """The base model, and which of its weights are trained."""

    base: str = "facebook/wav2vec2-xls-r-300m"
    """Hub name or folder of the base model; `embedded`, `embedded-small`: in this package; `none`: from nothing"""
    revision: str | None = None
    """Hub revision of the base model"""
    freeze: Freeze | None = None
    """weights that are not trained: feature_encoder; below:K, everything up to the output of transformer layer K;
    all_but_head; nothing; or auto, below the depth whose features probes transcribe best, measured before training.
    None: feature_encoder, or nothing if base is `none`"""
    adapter: Literal["none", "lora", "mms"] = "none"
    """train an adapter instead of the transformer: LoRA on its matrices (merged when training ends), or an MMS
    adapter in each layer (XLS-R, MMS and similar models)"""
    adapter_size: int = Field(default=16, ge=1)
    """rank of LoRA, or width of the MMS adapter"""
    adapter_language: str | None = None
    """adapter and head of an MMS checkpoint to start from, by its language code there (`mri`, `azj-script_latin`);
    `none`: new ones; None: the recipe's language, an error if the checkpoint lacks it"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """dropout in the transformer"""
    pickled_weights: bool = False
    """allow pickled weights, which can execute their author's code when loaded"""
    hidden_size: int = Field(default=256, ge=64, multiple_of=64)
    """width of a model trained from scratch; attention heads are 64 wide"""
    layers: int = Field(default=8, ge=1)
    """transformer layers of a model trained from scratch"""

    @model_validator(mode="after")
    def _what_is_frozen_exists(self) -> Self:
        if self.adapter != "none" and (self.base == "none" or self.freeze not in (None, "feature_encoder")):
            raise ValueError("model.adapter requires a base model and cannot be combined with model.freeze")
        if self.base == "none" and (self.freeze or "").startswith(("below:", AUTO)):
            raise ValueError(
                "model.freeze below:K and auto require a base model; layers from scratch must be trained"
            )
        return self


class Train(_Section):
    """Optimisation. What is not set is chosen by the hours of speech."""

    steps: int | None = Field(default=None, ge=1)
    """optimiser steps; None: chosen by the hours"""
    seed: int = Field(default=1, ge=0)
    """seed of batches, augmentation, masks, dropout and the new head"""
    hours: float | None = Field(default=None, gt=0)
    """hours of labelled speech that the defaults are chosen by; None: measured on the train split"""
    batch_s: float | None = Field(default=None, gt=0)
    """seconds of audio per batch, over all processes; None: chosen by the hours"""
    sampling_temperature: float = Field(default=1.0, ge=1, json_schema_extra={"since": 2})
    """with several corpora, the share of each is proportional to weight × hours^(1/T): 1, as the hours are; 2 to 5
    favours small ones; a large value makes them equal"""
    accumulate: int = Field(default=1, ge=1)
    """batches per optimiser step (gradient accumulation)"""
    learning_rate: float | None = Field(default=None, gt=0)
    """peak learning rate; None: chosen by the base model's size and the hours"""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """peak learning rate of the new head; None: the greater of 1e-3 and learning_rate"""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """factor on the learning rate from each transformer layer to the one below it; 1: equal for all"""
    warmup: float | None = Field(default=None, ge=0, le=1)
    """fraction of the steps for learning-rate warm-up (tri-stage: warm-up, hold, decay to 5 %); None: 0.1"""
    hold: float | None = Field(default=None, ge=0, le=1)
    """fraction of the steps at the peak learning rate; None: 0.4"""
    head_steps: int | None = Field(default=None, ge=0)
    """initial steps that train the head only; None: chosen, at most 500; 0 from scratch"""
    unfreeze_steps: int = Field(default=0, ge=0, json_schema_extra={"since": 2})
    """gradual unfreezing: after head_steps, steps from the training of one transformer layer to that of the next one
    below it, from the top; 0: all that model.freeze leaves is trained at once"""
    cached_copies: int | None = Field(default=None, ge=0)
    """copies of the frozen layers' output to cache on disk, each augmented differently; 0: no cache; None: 1 without
    augmentation, else 0"""
    mask_time: float | None = Field(default=None, ge=0, le=0.9)
    """fraction of the frames masked by SpecAugment, after the warm-up; spans may overlap; None: chosen"""
    mask_span_s: float = Field(default=0.2, gt=0)
    """length of a time mask in seconds; less for short clips"""
    mask_features: float | None = Field(default=None, ge=0, le=0.9)
    """fraction of the features masked by SpecAugment; None: chosen"""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay; not applied to biases and norms"""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """clip gradients to this norm"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, a third more computation"""
    precision: Literal["fp32", "bf16"] | None = None
    """None: bf16 if the device supports it and, on a CPU, it was measured to be clearly faster; else fp32"""
    eval_steps: int | None = Field(default=None, ge=1)
    """steps between validations; None: a twentieth of the steps, at least 25; up to a fifth if dev is long"""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """minutes between checkpoints"""
    patience: int = Field(default=10, ge=1)
    """stop early after this many validations without improvement; a long dev may have fewer than that"""
    unlabelled: Path | None = Field(default=None, json_schema_extra={"since": 2})
    """self-training: recordings of the language without transcripts (folder, file or manifest). The trained model
    transcribes them, and training begins anew with what it is surest of, in rounds, as long as dev improves"""
    unlabelled_rounds: int = Field(default=3, ge=0, json_schema_extra={"since": 2})
    """most rounds of self-training"""
    unlabelled_steps: int | None = Field(default=None, ge=1, json_schema_extra={"since": 2})
    """steps of each round; None: chosen by all hours, or, if `steps` is given, that number times the ratio of the
    presets' steps for all hours and for the labelled hours (a ratio of at least 1)"""
    pretrain_steps: int = Field(default=0, ge=0, json_schema_extra={"since": 2})
    """continued pre-training before fine-tuning: steps with wav2vec 2.0's own loss, which needs no transcripts, on
    train.unlabelled and the train split; for large base models and hours of recordings"""
    pretrain_learning_rate: float = Field(default=5e-5, gt=0, json_schema_extra={"since": 2})
    """peak learning rate of pre-training"""
    pretrain_anchor: float = Field(default=10.0, ge=0, json_schema_extra={"since": 2})
    """how strongly pre-training is drawn back to the base model's weights (L2-SP), relative to the learning rate"""
    tensorboard: bool = False
    """also write TensorBoard events (requires the extra `tensorboard`)"""

    @model_validator(mode="before")
    @classmethod
    def _augmentation_has_moved(cls, fields: Any) -> Any:
        for name in fields if isinstance(fields, dict) else ():
            if name in Augment.model_fields:
                raise PydanticCustomError("moved", f"'train.{name}' is now 'augment.{name}'")
        return fields

    @model_validator(mode="after")
    def _the_stages_fit(self) -> Self:
        decay_from = (self.warmup or 0) + (self.hold or 0)
        if decay_from > 1:
            raise ValueError(f"warmup + hold must be at most 1, but is {decay_from:g}")
        return self


class Augment(_Section):
    """Random augmentation of training clips. SpecAugment is in `train`."""

    speed: float | None = Field(default=None, ge=0, le=0.3)
    """maximum speed perturbation, faster or slower (0.1: 0.9 to 1.1 times); None: chosen by the hours"""
    noise: Path | None = None
    """folder of noise recordings without speech; the first minute of each is used"""
    noise_share: float = Field(default=0.0, ge=0, le=1)
    """fraction of clips with added noise"""
    noise_snr_db: tuple[float, float] = (5.0, 25.0)
    """minimum and maximum signal-to-noise ratio in dB"""
    rooms: Path | None = None
    """folder of room impulse responses; None: simulated, exponentially decaying noise"""
    room_share: float = Field(default=0.0, ge=0, le=1)
    """fraction of clips with reverberation"""
    gain_share: float = Field(default=0.0, ge=0, le=1)
    """fraction of clips with a changed level; samples above full scale are clipped"""
    gain_db: float = Field(default=20.0, ge=0, le=60)
    """maximum gain or attenuation in dB"""
    codec_share: float = Field(default=0.0, ge=0, le=1)
    """fraction of clips through a telephone or low-bit-rate codec (mu-law at 8 kHz, GSM, MP3, Opus)"""

    @model_validator(mode="after")
    def _noise_has_recordings_and_a_range(self) -> Self:
        if self.noise_share and self.noise is None:
            raise ValueError("noise_share requires augment.noise, a folder of recordings")
        low, high = self.noise_snr_db
        if low > high:
            raise ValueError(f"noise_snr_db must be (minimum, maximum), but is ({low:g}, {high:g})")
        return self

    @property
    def changes_clips(self) -> bool:
        """Whether a clip differs each time it is used."""
        return any((self.speed, self.noise_share, self.room_share, self.gain_share, self.codec_share))


class Report(_Section):
    """Contents of `report.html`."""

    audio: bool = True
    """embed the recordings of the utterances with the most errors"""
    names: bool = False
    """show the names of speakers and clips instead of numbers"""


class Recipe(_Section):
    """A language, its corpus, a base model, and how to adapt it."""

    language: str
    """BCP-47 tag of the language"""
    corpus: Corpus = Corpus()
    corpora: tuple[Source, ...] = ()
    """additional corpora, read together with `corpus`"""
    text: Text = Text()
    model: Model = Model()
    train: Train = Train()
    augment: Augment = Augment()
    report: Report = Report()

    @model_validator(mode="after")
    def _layers_can_be_unfrozen(self) -> Self:
        if self.train.unfreeze_steps and (self.model.freeze == "all_but_head" or self.model.adapter != "none"):
            raise ValueError("train.unfreeze_steps unfreezes layers: no model.adapter, and no all_but_head")
        return self

    @field_validator("language")
    @classmethod
    def _language_is_a_tag(cls, language: str) -> str:
        # The shape only: tags of recipes and runs made before stay valid, whatever the registry says of them.
        if not languages.is_well_formed(language):
            near = languages.nearest_in_words(language)
            raise ValueError(f"must be a BCP-47 tag ({near[0].lower()}{near[1:-1]})")
        return language


class ResolvedModel(Model):
    """A `Model` without open fields."""

    freeze: Freeze

    @field_validator("freeze")
    @classmethod
    def _depth_is_measured(cls, policy: str) -> str:
        if policy == AUTO:
            raise ValueError("auto is to be replaced by what was measured")
        return policy


class ResolvedTrain(Train):
    """A `Train` without open fields, except those that training may choose itself."""

    steps: int
    batch_s: float
    learning_rate: float
    head_learning_rate: float
    warmup: float
    hold: float
    head_steps: int
    mask_time: float
    mask_features: float
    eval_steps: int


class ResolvedAugment(Augment):
    """An `Augment` without open fields."""

    speed: float


class Resolved(Recipe):
    """A recipe with every choice made (`presets.resolve`)."""

    model: ResolvedModel
    train: ResolvedTrain
    augment: ResolvedAugment


def recipe_from(fields: dict[str, Any], place: object) -> Recipe:
    """Return the recipe with these fields.

    Raises:
        InputError: a field is unknown or its value is impossible; the error names the field and the value.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise field_error(error, place) from error


def field_error(error: ValidationError, place: object) -> InputError:
    """Return pydantic's first complaint as one line: the field, the rule and the value."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "moved":
        return InputError(first["msg"], place=place)
    if first["type"] == "extra_forbidden":
        known = _known_fields(error.title, first["loc"])
        return InputError(f"'{field}' is not a recipe field", place=place, remedy=known)
    if first["type"] == "missing":
        return InputError(f"'{field}' is missing", place=place, remedy=f"Give it as --{field} or in the recipe.")
    rule = first["msg"].removeprefix("Value error, ")
    value = "" if isinstance(first["input"], dict) else f", but is {first['input']!r}"  # of a whole section
    return InputError(f"{field}: {rule}{value}", place=place)


def refuse_moved_options(arguments: Iterable[str]) -> None:
    """Refuse a command-line option whose field has moved to another section.

    Raises:
        InputError: the error names the new option.
    """
    for argument in arguments:
        option, _, name = argument.partition("=")[0].partition(".")
        if option == "--train" and name in Augment.model_fields:
            raise InputError(f"'--train.{name}' is now '--augment.{name}'", place="command line")


def section_names() -> tuple[str, ...]:
    """Return the class names of a recipe's sections."""
    return tuple(section.__name__ for section in (Source, Corpus, Text, Model, Train, Augment, Report))


def _known_fields(section_name: str, location: tuple[int | str, ...]) -> str:
    sections = {section.__name__: section for section in (Corpus, Text, Model, Train, Augment, Report)}
    section: Any = sections.get(section_name, Recipe)
    for part in location[:-1]:
        section = Source if isinstance(part, int) else section.model_fields[part].annotation
    prefix = "".join(f"{part}." for part in location[:-1])
    return "Known fields: " + ", ".join(prefix + name for name in section.model_fields) + "."


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe as TOML; a field that is None is left out."""
    write_text(path, tomlkit.dumps(recipe.model_dump(mode="json", exclude_none=True)))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a run folder; fields of older versions are migrated.

    Raises:
        InputError: the file cannot be read, is not TOML, or is not a recipe.
    """
    try:
        fields = tomllib.loads(decode_text(read_bounded(path, MAX_JSON_BYTES), path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"not TOML ({error})", place=path) from error
    return recipe_from(_migrated(fields), path)


def _migrated(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe of any version as today's: augmentation was once part of `train`."""
    train = fields.get("train")
    if not isinstance(train, dict) or "augment" in fields:
        return fields
    moved = {name: value for name, value in train.items() if name in Augment.model_fields}
    kept = {name: value for name, value in train.items() if name not in moved}
    return fields | {"train": kept, "augment": moved}


def fingerprint_fields(model: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return a model's fields as plain values, for the fingerprints in run folders.

    A field that was added after format 1 must not change the fingerprint of a recipe that leaves it at its default,
    or older runs would start over. Declare such a field with `json_schema_extra={"since": 2}`: it is omitted while
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


_NOT_OF_TRAINING = {
    "hours",
    "checkpoint_minutes",
    "tensorboard",
    "unlabelled",
    "unlabelled_rounds",
    "unlabelled_steps",
}


def training_fields(recipe: Recipe) -> dict[str, Any]:
    """Return the fields that decide what training does, for its fingerprint.

    Format 1 had augmentation's fields among those of `train`, and their fingerprint is still taken that way.
    """
    train = fingerprint_fields(recipe.train, exclude=_NOT_OF_TRAINING)
    return train | fingerprint_fields(recipe.augment)


def fingerprint(*parts: Any) -> str:
    """Return a SHA-256 of models and plain values: equal if, and only if, they are equal."""
    plain = [fingerprint_fields(part) if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
