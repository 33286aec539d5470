"""Every JSON file that the package writes beside a model or a run, as a pydantic model.

A file that does not fit its model raises an `InputError`: one line with the file, the field and the remedy. Unknown
keys are ignored, so that a file of a newer package still loads where its format allows it.
"""

import json
import math
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from asr_adapt import __version__
from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.folders import Folder, LocalFolder
from asr_adapt.recipe import Text
from asr_adapt.records import Exclusion, Leak, LeftOut, Split
from asr_adapt.storage import MAX_JSON_BYTES, decode_text, digest_of_folder, file_digest, read_bounded, write_text

MODEL_METADATA = "asr_adapt.json"
DIGESTS = "digests.json"
VERDICT = "verdict.json"
CONTAMINATION = "contamination.json"
FORMAT_VERSION = 1
"""of a model folder; a folder with a higher number needs a newer package"""
_LISTS_BYTES = 2**30  # of files with a line for each excluded clip or each recording
_RECORD_REMEDY = "Restore it: without it, drafts cannot be told from corrections."
_MAX_UNITS = 20_000  # of an alphabet; those of Chinese characters have some 5,000
_Unit = Annotated[str, Field(min_length=1, max_length=100)]
# Compiling 2,000 keys takes a quarter of a second where they are words, a minute where they are 1,000 letters long.
_MAX_REPLACEMENTS, _MAX_RULE_CHARACTERS = 2_000, 20_000
_LEAST_PROBABILITY, _MAX_LOGIT = 1e-4, 15.0


class Artifact(BaseModel):
    """A JSON file. Subclasses are its contents."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    max_bytes: ClassVar[int] = MAX_JSON_BYTES
    """a larger file is damaged"""

    def write_file(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_text(path, self.file_text())

    def file_text(self) -> str:
        """Return the content of the file."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def read_file(cls, path: Path, remedy: str) -> Self:
        """Return the contents of a file.

        Args:
            path: The file.
            remedy: What to do about a file that is damaged.

        Raises:
            InputError: the file is missing, is too large, is not UTF-8 or not JSON, or a field is missing or
                impossible.
        """
        try:
            return cls.model_validate_json(_bounded_text(path, remedy, cls.max_bytes))
        except ValidationError as error:
            raise InputError(f"damaged: {describe_validation_error(error)}", place=path, remedy=remedy) from error


def _bounded_text(path: Path, remedy: str, max_bytes: int) -> str:
    return decode_text(read_bounded(path, max_bytes, remedy), path, remedy=remedy)


class Digests(Artifact):
    """`digests.json` of a model folder, of an engine and of prepared data: SHA-256 of the files beside it.

    A folder without one (made before there were any, or by others) is not checked.
    """

    files: dict[str, str]

    @classmethod
    def of(cls, folder: Path, names: Iterable[str]) -> Self:
        """Compute the digests of files in a folder."""
        return cls(files={name: file_digest(folder / name) for name in sorted(names)})

    def write(self, folder: Path) -> None:
        """Write `digests.json` into a folder."""
        self.write_file(folder / DIGESTS)


def check_digests(folder: Path, remedy: str, names: Iterable[str] | None = None) -> bool:
    """Compare files with `digests.json` beside them.

    Args:
        folder: Where the files are.
        remedy: What to do about another file.
        names: Which to compare; None: all that have a digest.

    Returns:
        Whether the folder has digests.

    Raises:
        InputError: a file is missing, or is not the one that was written, or `digests.json` is damaged.
    """
    path = folder / DIGESTS
    if not path.exists():
        return False
    known = Digests.read_file(path, remedy).files
    for name in known if names is None else names:
        if name not in known or name != Path(name).name:
            raise InputError(f"'{name}' has no digest, or is outside the folder", place=path, remedy=remedy)
        try:
            found = file_digest(folder / name)
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", place=folder / name, remedy=remedy) from error
        if found != known[name]:
            raise InputError("is damaged or was edited: its digest has changed", place=folder / name, remedy=remedy)
    return True


def _model_remedy(folder: Path) -> str:
    return f"Copy the model again; after a deliberate edit: asr-adapt model seal {folder}."


def check_model(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Compare the files of a model folder with their digests; see `check_digests`."""
    return check_digests(folder, _model_remedy(folder), names)


def model_fingerprint(folder: Path, settings: str) -> str:
    """Return SHA-256 over what decides about the text that a model writes: settings, weights, n-gram."""
    return digest_of_folder(folder, (MODEL_METADATA, "*.safetensors", "*.arpa", "*.bin"), settings)


class Metrics(Artifact):
    """`metrics.json`: the result of an evaluation. Error rates are fractions and may exceed 1."""

    split: str
    utterances: int
    words: int
    audio_s: float
    wer: float
    wer_ci95: tuple[float, float]
    cer: float
    cer_ci95: tuple[float, float]
    substitutions: int
    deletions: int
    insertions: int
    excluded: dict[str, int]
    normaliser: str
    decoding: str
    transcribe_rtfx: float
    trained_on: int = 0
    """how many of the utterances the model was trained on; scored because that was allowed"""

    def describe_speed(self) -> str:
        """Return RTFx (seconds of audio per second of work) with at least two digits."""
        return f"{self.transcribe_rtfx:{'.0f' if self.transcribe_rtfx >= 10 else '.2g'}}"

    @property
    def headline(self) -> str:
        """What the error rates are of: `test`, or `test, of which 12 of 72 clips were trained on`."""
        trained = f", of which {self.trained_on:,} of {self.utterances:,} clips were trained on"
        return self.split + trained * bool(self.trained_on)

    def write(self, folder: Path) -> None:
        """Write `metrics.json` into a folder."""
        self.write_file(folder / "metrics.json")

    @classmethod
    def read(cls, folder: Path) -> "Metrics":
        """Return the metrics of a run folder, or of a folder that `asr-adapt evaluate` wrote.

        Raises:
            InputError: there is no evaluation, or the file is damaged.
        """
        path = folder / "metrics.json"
        if not path.is_file():
            raise InputError(
                "no evaluation here: metrics.json is missing",
                place=folder,
                remedy="Give a run folder, or one that `asr-adapt evaluate` wrote.",
            )
        return cls.read_file(path, "Evaluate again.")


class SampleRates(BaseModel):
    """Error rates on a sample of a split, as fractions."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    utterances: int
    wer: float
    cer: float


class ReliabilityBin(BaseModel):
    """Words of similar confidence: how many, their mean confidence, and the share that is right."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    words: int
    confidence: float
    right: float


class Reliability(BaseModel):
    """How right the confidences of words are (`scoring.confidence.reliability`)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    calibrated: bool
    words: int
    expected_calibration_error: float
    """mean difference between confidence and the share of right words"""
    bins: tuple[ReliabilityBin, ...]
    """those that have words, by confidence"""


class Assessment(Artifact):
    """`verdict.json` beside `metrics.json`: what an evaluation means, and what would help most."""

    level: str
    """`too little`, `writes nothing`, `no relation`, `not usable`, `draft` or `nearly human`"""
    verdict: str
    reason: str = ""
    """where the boundaries between the levels come from"""
    advice: tuple[str, ...] = ()
    """at most two, that which would help most first"""
    training: SampleRates | None = None
    """on a sample of the utterances that the model was trained on; None where they are not at hand"""
    confidence: Reliability | None = None
    """of the words that were written; None where none was, and in folders of older versions"""

    def write(self, folder: Path) -> None:
        """Write `verdict.json` into a folder."""
        self.write_file(folder / VERDICT)

    @classmethod
    def read(cls, folder: Path) -> "Assessment | None":
        """Return the assessment in a folder; None where there is none, as in folders of older versions.

        Raises:
            InputError: the file is damaged.
        """
        path = folder / VERDICT
        return cls.read_file(path, "Delete it: it is worked out anew.") if path.is_file() else None


class Contamination(Artifact):
    """`contamination.json` beside `metrics.json`: which utterances of the split the model was trained on.

    Utterances are named by their ids, each with how it is known.
    """

    max_bytes = _LISTS_BYTES

    known: bool
    """whether all that the model was trained on is recorded"""
    left_out: dict[str, str] = {}
    """trained on, and not scored"""
    scored: dict[str, str] = {}
    """trained on, and scored because that was allowed"""
    selected: tuple[str, ...] = ()
    """not trained on, but among the clips that chose the best step"""
    repeated_sentences: int = 0
    """how many of the utterances that are scored have a text of the training data"""

    def write(self, folder: Path) -> None:
        """Write `contamination.json` into a folder."""
        self.write_file(folder / CONTAMINATION)

    @classmethod
    def read(cls, folder: Path) -> "Contamination | None":
        """Return that of an evaluation; None where an earlier version wrote it.

        Raises:
            InputError: the file is damaged.
        """
        path = folder / CONTAMINATION
        return cls.read_file(path, "Evaluate again.") if path.is_file() else None


class NGramWeights(BaseModel):
    """Weights of an n-gram in beam search; tuned on dev by `asr-adapt lm`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: float = 0.5
    """weight of the n-gram's natural log probability beside the acoustic one"""
    beta: float = 1.5
    """bonus for each word, against the n-gram's preference for few words"""
    unknown: float = -10.0
    """added for each word that is not in the n-gram's vocabulary"""
    letters: float = 0.0
    """weight of the natural log probability that a letter n-gram gives such a word; 0: they are all alike"""
    letter_bonus: float = 0.0
    """nats for each letter of such a word, and its end, before that weight; against the preference for short ones"""

    def describe(self) -> str:
        """Return the weights on one line, as in `metrics.json`."""
        letters = f", letters {self.letters:g} with bonus {self.letter_bonus:g}" if self.letters else ""
        return (
            f"beam search with an n-gram: alpha {self.alpha:g}, beta {self.beta:g}, unknown {self.unknown:g}{letters}"
        )


class DecodingConfig(BaseModel):
    """How a model folder is decoded by default: greedily, or by beam search with the n-gram beside the model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    method: Literal["greedy", "beam search"] = "greedy"
    weights: NGramWeights | None = None

    @model_validator(mode="after")
    def _beam_search_has_weights(self) -> Self:
        if self.method == "beam search" and self.weights is None:
            raise ValueError("beam search needs weights")
        return self


class Calibration(BaseModel):
    """Turns the probability of a word's letters into the probability that the word is right, strictly monotone.

    Fitted on dev (`scoring.confidence.fit`): the logistic function of `slope` times the logit, plus `intercept`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    slope: float = Field(ge=0, le=1_000)
    intercept: float = Field(ge=-1_000, le=1_000)
    words: int = Field(ge=0)
    """of dev, on which it was fitted"""
    evidence: Literal["product", "mean"] = "product"
    """what it maps: the product or the mean of the letters' probabilities, whichever tells more on dev"""

    def of(self, probability: float) -> float:
        """Return the calibrated confidence of a word, in [0, 1]."""
        score = self.slope * self.logit(probability) + self.intercept
        return 1 / (1 + math.exp(-max(-_MAX_LOGIT, min(_MAX_LOGIT, score))))

    @staticmethod
    def logit(probability: float) -> float:
        """Return the logit of a probability in [0, 1], which is kept a little away from both ends.

        So engines and batches that differ in the sixth digit give the same confidence to three.
        """
        kept = min(max(probability, _LEAST_PROBABILITY), 1 - _LEAST_PROBABILITY)
        return math.log(kept / (1 - kept))


class Calibrations(BaseModel):
    """The calibrations of a model's ways to decode; None where confidence is not calibrated."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    greedy: Calibration | None = None
    with_ngram: Calibration | None = None


class ModelMetadata(Artifact):
    """`asr_adapt.json` of a model folder: what the package needs beside `save_pretrained`'s files."""

    format_version: int = FORMAT_VERSION
    asr_adapt: str = __version__
    """version of the package that wrote the folder"""
    language: str
    """BCP-47"""
    alphabet: tuple[_Unit, ...] = Field(min_length=2, max_length=_MAX_UNITS)
    normaliser: Text
    decoding: DecodingConfig = DecodingConfig()
    calibrations: Calibrations = Calibrations()

    @field_validator("normaliser")
    @classmethod
    def _rules_are_few(cls, rules: Text) -> Text:
        texts = [*rules.replace, *rules.replace.values(), *rules.drop, *rules.unclear, *rules.alphabet, rules.keep]
        if len(rules.replace) > _MAX_REPLACEMENTS or sum(map(len, texts)) > _MAX_RULE_CHARACTERS:
            raise ValueError(
                f"at most {_MAX_REPLACEMENTS:,} replacements and {_MAX_RULE_CHARACTERS:,} characters of rules"
            )
        return rules

    def write(self, folder: Path) -> None:
        """Write `asr_adapt.json` into a model folder."""
        self.write_file(folder / MODEL_METADATA)

    @classmethod
    def read(cls, folder: Path) -> "ModelMetadata":
        """Return the metadata of a model folder.

        Raises:
            InputError: the folder is not a model of this package, is of a newer format, or is damaged.
        """
        path = folder / MODEL_METADATA
        if not path.is_file():
            raise InputError(
                f"not an asr-adapt model: {MODEL_METADATA} is missing",
                place=folder,
                remedy="Give a run's model/ folder.",
            )
        remedy = "Copy the model again."
        _refuse_newer(path, remedy)
        check_model(folder, (MODEL_METADATA,))
        return cls.read_file(path, remedy)


class _Version(BaseModel):
    """The part of `asr_adapt.json` that every version has."""

    format_version: int
    asr_adapt: str = ""


def _refuse_newer(path: Path, remedy: str) -> None:
    try:
        found = _Version.model_validate_json(_bounded_text(path, remedy, MAX_JSON_BYTES))
    except ValidationError:
        return  # `read_file` names the field
    if found.format_version > FORMAT_VERSION:
        raise InputError(
            f"model format {found.format_version}; asr-adapt {__version__} reads formats up to {FORMAT_VERSION}",
            place=path,
            remedy=f"Install asr-adapt {found.asr_adapt} or newer." if found.asr_adapt else "Update asr-adapt.",
        )


class CharacterChange(BaseModel):
    """How often a character occurs in the transcripts before and after normalisation."""

    model_config = ConfigDict(frozen=True)

    character: str
    before: int
    after: int
    name: str
    """code points and Unicode names: `U+2019 RIGHT SINGLE QUOTATION MARK`"""


class PreparationSummary(Artifact):
    """`data/doctor.json` of a run folder: what `prepare` found and left out."""

    max_bytes = _LISTS_BYTES

    alphabet: tuple[str, ...]
    utterances: dict[str, int]
    hours: dict[str, float]
    speakers: dict[str, int]
    unknown_letters: dict[str, dict[str, int]]
    character_changes: tuple[CharacterChange, ...]
    leaks: tuple[Leak, ...]
    excluded: tuple[Exclusion, ...]
    left_out: tuple[LeftOut, ...] = ()
    """what the readers did not take: other tiers, files without the chosen tier, unused splits"""

    def excluded_counts(self, split: Split) -> dict[str, int]:
        """Return reason → count for one split."""
        return dict(Counter(e.reason for e in self.excluded if e.split == split))

    def write(self, folder: Path) -> None:
        """Write `doctor.json` into a run's `data/`."""
        self.write_file(folder / "doctor.json")

    @classmethod
    def read(cls, folder: Path) -> "PreparationSummary":
        """Return what `prepare` wrote into a run's `data/`.

        Raises:
            InputError: the file is missing or damaged.
        """
        return cls.read_file(folder / "doctor.json", "Delete it and run again; prepare is repeated.")


class DepthMeasurement(Artifact):
    """`data/depth.json` of a run whose `model.freeze` is auto."""

    inputs: str
    """fingerprint of all that decides it"""
    depth: int = Field(ge=0)
    """up to which layers are frozen; 0: the feature encoder alone"""
    reason: str
    cers: dict[int, float] = {}
    """CER on dev of the probes at each depth that was compared; empty where none was"""

    @property
    def policy(self) -> str:
        """The freezing policy."""
        return f"below:{self.depth}" if self.depth else "feature_encoder"


class UnlabelledSummary(Artifact):
    """`data/unlabelled.json` of a run: what was found in the recordings without transcripts."""

    max_bytes = _LISTS_BYTES

    inputs: str
    """fingerprint of all that decides it"""
    recordings: int
    segments: int
    hours: float
    """of speech"""
    excluded: tuple[Exclusion, ...]


class PseudoLabels(Artifact):
    """`rounds/NN/pseudo_labels.json` of a run: what was kept of a model's own text."""

    segments: int
    hours: float
    expected_cer: float | None
    """by what the model's scores tell on dev; None: dev is too small to say"""
    with_ngram: bool


class SelfTrainingRound(Artifact):
    """`rounds/NN/round.json` of a run: a round of self-training."""

    number: int = Field(ge=0)
    labels: PseudoLabels | None = None
    """what it was trained on, beside the transcripts; None in round 0, the model of these alone"""
    wer: float
    """on dev, decoded greedily"""
    cer: float


class SelfTraining(Artifact):
    """`rounds/self_training.json` of a run: its rounds, of which the best one's model is the run's."""

    rounds: tuple[SelfTrainingRound, ...]
    best: int

    @classmethod
    def path_of(cls, run: Path) -> Path:
        """Return the file in a run folder."""
        return run / "rounds" / "self_training.json"


class LayerScores(BaseModel):
    """What probes say of a layer's features."""

    model_config = ConfigDict(frozen=True)

    layer: int
    """0: the transformer's input"""
    cer: float
    """of the probe on dev"""
    logme: float
    distance: float | None = None
    """sliced Wasserstein distance between the corpus's frames and those of speech that the base was trained on, in
    standard deviations of the latter; None where no such speech is given"""


class BaseScores(Artifact):
    """What rank measured of one base model; a file of its own in the output folder."""

    inputs: str
    """fingerprint of all that decides it"""
    name: str
    layers: tuple[LayerScores, ...]
    best_layer: int
    cer: float
    """of the probes of the best layer, on dev"""
    cer_ci95: tuple[float, float]
    errors: tuple[int, ...]
    """character errors of each dev utterance, those of all probes together"""
    has_learned: bool
    """whether each of these probes has learned something about the sound"""
    known_letters: float
    """share of the alphabet with which a new head starts"""
    training_s_per_hour: float
    """seconds of training here for an hour of speech, once through"""
    memory_gb: float
    """of training, with the batches of the recipe or of its preset; worked out anew each time"""
    similarity: float | None = None
    """acoustic token distribution similarity of the corpus to the base's own speech; None: none was given"""


class RankedBase(BaseModel):
    """A base model in the ranking."""

    model_config = ConfigDict(frozen=True)

    name: str
    cer: float
    cer_ci95: tuple[float, float]
    best_layer: int
    against_random: tuple[float, float, float]
    """CER minus that of random weights in the same architecture, with the paired 95 % interval"""
    against_best: tuple[float, float, float]
    is_far: bool
    """whether it is no better than random weights"""
    is_nearest: float
    """probability, over bootstrap draws of dev utterances, that it is the nearest of these"""
    known_letters: float
    logme: float
    training_s_per_hour: float
    memory_gb: float
    layers: tuple[LayerScores, ...]
    similarity: float | None = None
    """acoustic token distribution similarity of the corpus and of speech that the base was trained on"""
    relative: tuple[str, float] | None = None
    """of the languages that the base's card names the one that is nearest in the family tree, and its distance"""


class Ranking(Artifact):
    """`rank.json`: the nearest base first."""

    language: str
    train_minutes: float
    dev_minutes: float
    dev_utterances: int
    unreadable: int
    """clips of the sample that could not be decoded"""
    trained_on: int = 0
    """clips of dev that are left out of the sample because a base was trained on them"""
    bases: tuple[RankedBase, ...]
    has_learned: bool
    """whether the nearest base's probes have learned anything about the sound"""
    recommendation: str


class StageState(BaseModel):
    """One stage of a run folder."""

    model_config = ConfigDict(frozen=True)

    inputs: str
    """fingerprint of everything that the stage depends on"""
    finished: bool


class RunStages(Artifact):
    """`stages.json` of a run folder: which stages were started, and with which inputs."""

    stages: dict[str, StageState] = {}

    def write_file(self, path: Path) -> None:
        """Write the stages, without a key around them."""
        fields = {name: state.model_dump() for name, state in self.stages.items()}
        write_text(path, json.dumps(fields, indent=1) + "\n")

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, data: object) -> object:
        return {"stages": data} if not isinstance(data, dict) or "stages" not in data else data


class EngineMeasurement(BaseModel):
    """How an engine did on dev: word error rate, and RTFx (seconds of audio per second of work)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    wer: float
    rtfx: float


class EngineMeasurements(Artifact):
    """`engines/measured.json` of a model folder: what `asr-adapt export` measured on dev."""

    model: str
    """key of the weights that were measured"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """of PyTorch and OpenVINO"""
    processor_has_bf16: bool | None = None
    dev: dict[str, EngineMeasurement]


class Environment(Artifact):
    """`environment.json` of a run folder: where the model was trained. Another version may have written it."""

    python: str | None = None
    machine: str | None = None
    cores: int | None = None
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    versions: dict[str, str] = {}


class DraftTier(BaseModel):
    """What a model wrote into one tier."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    segments: tuple[str, ...] = ()
    """a mark for each segment: see `corpora.provenance.Mark`"""
    of: str | None = None
    """the tier of a person that it is a draft of"""
    words: str | None = None
    """the tier of its words, which follow it"""
    status: str | None = None
    """the tier in which `ok` says that a person takes a segment as it is"""
    channel: int | None = None
    """of the recording, where each is a speaker"""


class Draft(BaseModel):
    """What a model wrote into one file, by tier; formats without tiers have one without a name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = ""
    """fingerprint of the model and its settings"""
    tiers: dict[str, DraftTier] = {}

    def beside(self, before: "Draft") -> "Draft":
        """Return what this one and the one before it wrote, for a file that may hold either."""
        tiers = {
            name: of.model_copy(update={"segments": (*of.segments, *before.tiers[name].segments)})
            if name in before.tiers
            else of
            for name, of in self.tiers.items()
        }
        return Draft(model=before.model, tiers=before.tiers | tiers)


class Correction(Artifact):
    """`round-NN.json` of `loop`: what a person did since the round before, and what a draft would have saved."""

    transcribed: int = Field(ge=0)
    """segments that a person transcribed"""
    corrected: int = Field(ge=0)
    """segments that a person corrected: drafts, and what was transcribed before"""
    minutes: float = Field(ge=0)
    """of the segments that had no transcript before"""
    edits: int = Field(ge=0)
    """characters to insert, delete or substitute in the last model's drafts of those segments"""
    typed: int = Field(ge=0)
    """characters of their transcripts"""

    @property
    def share(self) -> float:
        """Edits for each character; raises ZeroDivisionError where nothing was typed."""
        return self.edits / self.typed


class RecordLine(BaseModel):
    """What is recorded of one transcript, before it is written."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    place: str
    """the transcript, in the folder; in the form of `storage.name_as_text`"""
    source: str | None = None
    """the recording, as in `TranscriptionRecord`"""
    digest: str | None = None
    """SHA-256 of what is written; None: as before"""
    draft: Draft | None = None
    """what the model writes, for formats that have no place for it"""
    beside: bool = False
    """the file may still hold the draft before this one"""


class _PartHead(BaseModel):
    model: str


class TranscriptionRecord(Artifact):
    """The record of a folder of transcripts: which model wrote them, and from which recordings.

    It is `.asr-adapt.json`, and what was written since as lines of JSON in files of `.asr-adapt/`, so that the record
    of a million is neither held nor written again for each.
    """

    max_bytes = _LISTS_BYTES
    FILE: ClassVar[str] = ".asr-adapt.json"
    PARTS: ClassVar[str] = ".asr-adapt"

    model: str = ""
    sources: dict[str, str] = {}
    """transcript → recording, both relative to the folder; names in the form of `storage.name_as_text`"""
    digests: dict[str, str] = {}
    """transcript → SHA-256 of what was written: one that has another was edited by hand since"""
    drafts: dict[str, Draft] = {}
    """transcript → what the model wrote, for formats that have no place for it"""

    @classmethod
    def read(cls, place: Path) -> Self:
        """Return the record of a folder on this machine, an empty one where there is none; see `of`."""
        return cls.of(LocalFolder(place))

    @classmethod
    def of(cls, folder: Folder) -> Self:
        """Return the record of a folder, an empty one where there is none.

        Raises:
            InputError: it is damaged.
        """
        known = cls.whole(folder)
        model, sources, digests, drafts = known.model, dict(known.sources), dict(known.digests), dict(known.drafts)
        for model, line in cls._parts(folder):  # noqa: B007 - the last one's
            if line.source is not None:
                sources[line.place] = line.source
            if line.digest is not None:
                digests[line.place] = line.digest
            if line.draft is not None:
                before = drafts.get(line.place) if line.beside else None
                drafts[line.place] = line.draft if before is None else line.draft.beside(before)
        return cls(model=model, sources=sources, digests=digests, drafts=drafts)

    @classmethod
    def lines(cls, folder: Folder) -> Iterator[tuple[str, RecordLine]]:
        """Yield the model and the line of each transcript; later lines count more.

        Raises:
            InputError: the record is damaged.
        """
        known = cls.whole(folder)
        for place in dict.fromkeys((*known.sources, *known.digests)):
            source, digest = known.sources.get(place), known.digests.get(place)
            yield known.model, RecordLine(place=place, source=source, digest=digest)
        yield from cls._parts(folder)

    @classmethod
    def whole(cls, folder: Folder) -> Self:
        """Return what is in `.asr-adapt.json` alone."""
        path = folder.path / cls.FILE if folder.path else None
        return cls.read_file(path, _RECORD_REMEDY) if path and path.exists() else cls()

    @classmethod
    def _parts(cls, folder: Folder) -> Iterator[tuple[str, RecordLine]]:
        for name in folder.names(cls.PARTS):
            try:
                head, *lines = folder.read(name).splitlines()
                model = _PartHead.model_validate_json(head).model
                for line in lines:
                    yield model, RecordLine.model_validate_json(line)
            except (OSError, ValueError) as error:  # ValidationError is one
                reason = describe_validation_error(error) if isinstance(error, ValidationError) else error
                raise InputError(f"damaged: {reason}", place=folder.place(name), remedy=_RECORD_REMEDY) from error

    @classmethod
    def append(cls, folder: Folder, model: str, lines: Iterable[RecordLine]) -> None:
        """Record transcripts of a model, in a new part; the caller has locked the folder."""
        name = f"{cls.PARTS}/{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl"
        head = _PartHead(model=model).model_dump_json()
        rest = (line.model_dump_json(exclude_none=True) for line in lines)
        folder.write(name, "".join(f"{text}\n" for text in (head, *rest)))

    def write(self, folder: Folder) -> None:
        """Write the record as one file, elsewhere as one part; the caller has locked and read the folder."""
        parts = folder.names(self.PARTS)
        if folder.path is not None:
            self.write_file(folder.path / self.FILE)
        else:
            places = dict.fromkeys((*self.sources, *self.drafts))
            lines = (RecordLine(place=place, source=self.sources.get(place), digest=self.digests.get(place),
                                draft=self.drafts.get(place)) for place in places)  # fmt: skip
            self.append(folder, self.model, lines)
        for name in parts:
            folder.delete(name)
        if folder.path is not None:
            with suppress(OSError):  # there is none, or another process writes into it
                (folder.path / self.PARTS).rmdir()
