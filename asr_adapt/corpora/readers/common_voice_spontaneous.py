"""Common Voice's Spontaneous Speech: `ss-corpus-LOCALE.tsv` beside `audios/`.

Columns used: `client_id` (speaker), `audio_file`, `transcription`, `split`, `duration_ms`. Only transcripts that were
validated have a split; where none has, all that is transcribed is read.
https://github.com/common-voice/cv-dataset
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source, Splits
from asr_adapt.records import Utterance

LAYOUT = "ss-corpus-LOCALE.tsv beside audios/"
_NEEDED = ("audio_file", "transcription")
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether `root` is a folder with such a table."""
    return bool(_tables(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield what is transcribed; of a corpus with splits, what is in one.

    Raises:
        InputError: a table has no column of audio or transcripts, or a row is broken.
    """
    finder = AudioFinder(root)
    for table in _tables(root):
        found = list(_rows(table, finder, language, source.splits))
        transcribed = [u for u in found if (u.text or "").strip()]
        if len(transcribed) < len(found):
            _log.warning(
                "%s: %d clips are not transcribed yet, and are left out", table, len(found) - len(transcribed)
            )
        split = [u for u in transcribed if u.split]
        if split and len(split) < len(transcribed):
            left = len(transcribed) - len(split)
            _log.warning("%s: %d transcripts are in no split (not validated yet), and are left out", table, left)
        yield from split or transcribed


def _tables(root: Path) -> list[Path]:
    return media.visible(root, "ss-corpus-*.tsv") if root.is_dir() else []


def _rows(table: Path, finder: AudioFinder, language: str, choice: Splits) -> Iterator[Utterance]:
    lines = tabular.bar_fields(table, "\t")
    header = next(lines, (1, [""]))[1]
    if missing := [name for name in _NEEDED if name not in header]:
        raise InputError(f"the header has no column {', '.join(missing)}, but is {header!r}", place=f"{table}:1")
    for place, fields in tabular.complete(lines, header, table):
        row = dict(zip(header, fields, strict=False))
        milliseconds = row.get("duration_ms", "")
        yield utterance_at(
            place,
            id=row["audio_file"],
            audio=finder.find(row["audio_file"], place, table.parent / "audios"),
            duration_s=seconds(milliseconds, "duration_ms", place) / 1000 if milliseconds else None,
            split=split_named(row.get("split", ""), choice),
            language=language,
            speaker=row.get("client_id") or None,
            text=row["transcription"],
        )
