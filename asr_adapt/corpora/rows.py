"""Utterances from rows of tables, with errors that name the row."""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.recipe import Splits
from asr_adapt.records import SPLITS, LeftOut, Split, Utterance

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
    choice: Splits = "own",
) -> Generator[Utterance, None, list[LeftOut]]:
    """Yield the utterance of each row of a table; return the values of its column of splits that are not used.

    Args:
        rows: `(place, fields)`.
        columns: Utterance field → index of its column; `audio` and `text` are among them.
        finder: Of the corpus.
        beside: The table's folder.
        language: Of rows that name none.
        split: Of rows that name none.
        choice: The recipe's `splits`.

    Raises:
        InputError: a value is impossible, or a path leads out of the corpus.
    """
    unused: Counter[str] = Counter()
    for place, fields in rows:
        found: dict[str, object] = {"language": language}
        for field, column in columns.items():
            if value := fields[column].strip():
                found[field] = seconds(value, field, place) if field in _TIMES else value
        name = str(found.get("audio", ""))
        times = [fields[columns[field]].strip() for field in _TIMES[:2] if field in found]
        found.setdefault("id", "_".join((name, *times)))
        value = str(found.pop("split", ""))
        found["split"] = _split(value, choice, place) if value else split
        if value and found["split"] is None and choice != "made":
            unused[value] += 1
            continue
        found["audio"] = finder.find(name, place, beside)
        found["text"] = fields[columns["text"]]
        yield utterance_at(place, **found)
    return [LeftOut.of("split", name, [beside], utterances=count) for name, count in unused.items()]


def _split(name: str, choice: Splits, place: str) -> Split | None:
    if (split := split_named(name, choice)) is None and choice == "own":
        raise InputError(
            f"split '{name}' is none of {', '.join(SPLITS)}",
            place=place,
            remedy=f'Say what it is: --corpus.splits \'{{"train": ["{name}"], …}}\'.',
        )
    return split
