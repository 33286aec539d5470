"""`Utterance`, the one record that flows through every stage, and its JSONL form."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asr_adapt.errors import InputError
from asr_adapt.files import write_whole

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Utterance(BaseModel):
    """One stretch of speech with what is known about it. Waveforms are never in it.

    `audio` is a locator: a path, or `archive#member`. `start_s` and `end_s` are set where the utterance is a
    piece of a longer recording; `duration_s` is None until somebody has looked at the audio. `text` is the
    reference exactly as the corpus has it, `hypothesis` what a model wrote.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str = Field(min_length=1)
    audio: str = Field(min_length=1)
    start_s: float | None = Field(default=None, ge=0)
    end_s: float | None = Field(default=None, gt=0)
    duration_s: float | None = Field(default=None, ge=0)
    split: Split | None = None
    language: str | None = None
    speaker: str | None = None
    text: str | None = None
    hypothesis: str | None = None


def read_jsonl(path: Path) -> Iterator[tuple[int, Utterance]]:
    """Yield `(line number, utterance)` for each line of a JSONL file that is not blank.

    Raises:
        InputError: the file is missing, or a line is no utterance; the error names the line and the field.
    """
    if not path.is_file():
        raise InputError("no such file", place=path, remedy="Give the path of a JSONL file, one utterance a line.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 ({error.reason})", place=path, remedy="Save it as UTF-8.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, Utterance.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":  # half a surrogate pair, too, which no file could hold
                raise InputError(f"not JSON ({first['ctx']['error']})", place=f"{path}:{number}") from error
            field = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"field '{field}': {first['msg']}, but is {first['input']!r}", place=f"{path}:{number}"
            ) from error


def write_jsonl(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write one utterance a line; `path` holds either all of them or what it held before."""
    write_whole(path, "".join(utterance.model_dump_json(exclude_none=True) + "\n" for utterance in utterances))
