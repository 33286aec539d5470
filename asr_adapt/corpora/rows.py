"""Utterances from rows of tables, with errors that name the row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.records import SPLITS, Split, Utterance

_TIMES = ("start_s", "end_s", "duration_s")


def utterance_at(place: object, **fields: object) -> Utterance:
    """Return the utterance that a line describes.

    Raises:
        InputError: a value is impossible; the error names the place, the field and the value.
    """
    try:
        return Utterance.model_validate(fields)
    except ValidationError as error:
        raise InputError(describe_validation_error(error), place=place) from error


def utterances(
    rows: Iterable[tuple[str, Sequence[str]]],
    columns: Mapping[str, int],
    finder: AudioFinder,
    beside: Path,
    language: str,
    split: Split | None,
) -> Iterator[Utterance]:
    """Yield the utterance of each row of a table.

    Args:
        rows: `(place, fields)`.
        columns: Utterance field → index of its column; `audio` and `text` are among them.
        finder: Of the corpus.
        beside: The table's folder.
        language: Of rows that name none.
        split: Of rows that name none.

    Raises:
        InputError: a value is impossible, or a path leads out of the corpus.
    """
    for place, fields in rows:
        found: dict[str, object] = {"language": language}
        for field, column in columns.items():
            if value := fields[column].strip():
                found[field] = seconds(value, field, place) if field in _TIMES else value
        name = str(found.get("audio", ""))
        times = [fields[columns[field]].strip() for field in _TIMES[:2] if field in found]
        found.setdefault("id", "_".join((name, *times)))
        found["split"] = _split(str(found["split"]), place) if "split" in found else split
        found["audio"] = finder.find(name, place, beside)
        found["text"] = fields[columns["text"]]
        yield utterance_at(place, **found)


def _split(name: str, place: str) -> Split:
    if (split := split_named(name)) is None:
        raise InputError(f"split '{name}' is none of {', '.join(SPLITS)}", place=place)
    return split
