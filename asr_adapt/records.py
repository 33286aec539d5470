"""The records that flow through the package: `Utterance` with its JSONL form, and `Transcript`."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.storage import iterate_lines, write_text

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
Provenance = Literal["machine", "corrected", "human"]
"""where a text comes from: a model's draft, a draft that a person changed or confirmed, or a person"""
MAX_TIME_S = 1e9  # 30 years: a time beyond it is no time
_LISTED_FILES = 5


@functools.cache  # a million utterances have a few combinations of fields
def _shared(given: frozenset[str]) -> set[str]:
    return set(given)


class Utterance(BaseModel):
    """One stretch of speech with what is known about it. Waveforms are never in it.

    `audio` is a locator: a path, or `archive#member`. `start_s` and `end_s` are set where the utterance is a
    segment of a longer recording; `duration_s` is None until the audio was read. `text` is the
    reference exactly as the corpus has it, `hypothesis` what a model wrote. `provenance` is None where nothing says
    that a model wrote the reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str = Field(min_length=1)
    audio: str = Field(min_length=1)
    start_s: float | None = Field(default=None, ge=0, le=MAX_TIME_S)
    end_s: float | None = Field(default=None, gt=0, le=MAX_TIME_S)
    duration_s: float | None = Field(default=None, ge=0, le=MAX_TIME_S)
    split: Split | None = None
    language: str | None = None
    speaker: str | None = None
    text: str | None = None
    hypothesis: str | None = None
    provenance: Provenance | None = None

    def model_post_init(self, context: Any) -> None:
        """Keep an utterance small: a corpus may have a million.

        The set of given fields is shared with other utterances, and a provenance that is None is the class's: a
        dictionary of eleven entries takes 192 bytes more than one of ten.
        """
        object.__setattr__(self, "__pydantic_fields_set__", _shared(frozenset(self.__pydantic_fields_set__)))
        values = self.__dict__
        if values.get("provenance", "") is None:
            few = {name: value for name, value in values.items() if name != "provenance"}
            object.__setattr__(self, "__dict__", few)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Utterance":
        """Return a copy with some fields changed; values are not validated."""
        copy = super().model_copy(update=update, deep=deep)
        copy.model_post_init(None)
        return copy


Utterance.provenance = None  # of all that have none of their own


def describe_duration(seconds: float) -> str:
    """Return a duration in the unit that suits it: `8.5 s`, `42 s`, `4.2 min`, `34 min`, `2.67 h`."""
    value, unit = (
        (seconds, "s") if seconds < 59.5 else (seconds / 60, "min") if seconds < 3570 else (seconds / 3600, "h")
    )
    digits = 2 if unit == "h" and value < 100 else 1 if value < 10 and value != int(value) else 0
    return f"{value:,.{digits}f} {unit}"


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 segment`, `1,200 segments`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Exclusion(BaseModel):
    """An utterance that was left out, and why."""

    model_config = ConfigDict(frozen=True)

    id: str
    audio: str
    split: str
    reason: str
    detail: str

    @classmethod
    def of(cls, utterance: Utterance, reason: str, detail: str) -> "Exclusion":
        """Return the exclusion of an utterance."""
        return cls(id=utterance.id, audio=utterance.audio, split=utterance.split or "", reason=reason, detail=detail)


LeftOutKind = Literal["missing tier", "tier", "split", "machine draft", "differing copy"]


class LeftOut(BaseModel):
    """Part of a corpus that was not read, so that no hours vanish without a line.

    `missing tier`: a tier that the recipe names and that some files lack; it counts no hours. `tier`: a tier
    with annotations that was not chosen. `split`: a split (a table, folder or value of a column) that is not used.
    `machine draft`: drafts that nobody has corrected, of a corpus. `differing copy`: annotations of a person in a
    draft's copy of an ELAN file that are others than in the file itself.
    """

    model_config = ConfigDict(frozen=True)

    kind: LeftOutKind
    name: str
    near: tuple[str, ...] = ()
    """names in those files that are nearly the same"""
    files: int
    first_files: tuple[str, ...]
    utterances: int = 0
    hours: float = 0.0

    @classmethod
    def of(
        cls,
        kind: LeftOutKind,
        name: str,
        files: Iterable[Path],
        *,
        near: Iterable[str] = (),
        utterances: int = 0,
        duration_s: float = 0.0,
    ) -> "LeftOut":
        """Return the record of what was left out in `files`, of which the first are listed."""
        paths = [str(path) for path in dict.fromkeys(files)]
        return cls(
            kind=kind,
            name=name,
            near=tuple(sorted(near)),
            files=len(paths),
            first_files=tuple(paths[:_LISTED_FILES]),
            utterances=utterances,
            hours=round(duration_s / 3600, 4),
        )

    def describe(self) -> str:
        """Return it in words, for one line."""
        first = f"{counted(self.files, 'file')}, the first {self.first_files[0]}"
        if self.kind == "missing tier":
            near = f"; nearly the same: {', '.join(map(repr, self.near))}" if self.near else ""
            return f"tier '{self.name}' is missing in {first}{near}"
        hours = f", {describe_duration(self.hours * 3600)}" if self.hours else ""
        count = f"{self.utterances:,} utterances{hours} in " if self.utterances else ""
        if self.kind == "machine draft":
            return (
                f"machine drafts are not used: {count}{first}. Correct them; asr-adapt draft --accept FILE takes a "
                "draft as it is; --corpus.trust_drafts true uses them all"
            )
        if self.kind == "differing copy":
            return (
                f"{self.name} and its draft differ in what people wrote; the former is used: {count}{first}. Correct "
                "it there"
            )
        remedy = "; --corpus.splits made uses everything, or names what is used" if self.kind == "split" else ""
        return f"{self.kind} '{self.name}' is not used: {count}{first}{remedy}"


class Leak(BaseModel):
    """A recording or a sentence that occurs in more than one split."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["recording", "sentence"]
    value: str
    splits: tuple[str, ...]
    utterances: int


def read_jsonl(path: Path) -> Iterator[tuple[int, Utterance]]:
    """Yield `(line number, utterance)` for each line of a JSONL file that is not blank.

    Raises:
        InputError: the file is missing, or a line is no utterance; the error names the line and the field.
    """
    if not path.is_file():
        raise InputError("no such file", place=path, remedy="Give the path of a JSONL file, one utterance a line.")
    for number, line in iterate_lines(path):
        if not line.strip():
            continue
        try:
            yield number, Utterance.model_validate_json(line)
        except ValidationError as error:
            raise InputError(describe_validation_error(error), place=f"{path}:{number}") from error


def write_jsonl(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write one utterance a line, atomically."""
    write_text(path, "".join(utterance.model_dump_json(exclude_none=True) + "\n" for utterance in utterances))


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its times in the original recording; `confidence` is in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech between pauses, which was transcribed at once."""

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...]
    speaker: str | None = None
    """`channel 1`, where each channel is a speaker"""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A recording's text; silence has the empty text and no segments."""

    text: str
    language: str
    duration_s: float
    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(word for segment in self.segments for word in segment.words)
