"""Spreadsheets: a CSV or TSV file, or a folder with one, or with one for each split (`train.csv`, `test.csv`)."""

from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import columns, rows, tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.readers import audio_folder, common_voice_spontaneous, fleurs, ljspeech
from asr_adapt.corpora.splits import split_named
from asr_adapt.recipe import Source
from asr_adapt.records import SPLITS, Utterance

LAYOUT = "a .csv or .tsv file with a header, or a folder with one, or with one for each split"
_OF_THEIR_OWN = (audio_folder, common_voice_spontaneous, fleurs, ljspeech)  # tables that have readers
_COMMON_VOICE = {*(f"{split}.tsv" for split in SPLITS), "validated.tsv"}


def recognises(root: Path) -> bool:
    """Whether `root` is a table, or a folder with one table or with tables named as splits."""
    if root.is_file():
        return root.suffix.lower() in tabular.SUFFIXES and not ljspeech.recognises(root)
    if any(reader.recognises(root) for reader in _OF_THEIR_OWN):
        return False
    names = {path.name for path in _tables(root)}
    return bool(names) and not names & _COMMON_VOICE


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of each table; a column `split` goes before the table's name.

    Raises:
        InputError: a table has no column for audio or text, or a line has another number of columns, an impossible
            value, or a path that leads out of the table's folder.
    """
    finder = AudioFinder(root)
    for table in [root] if root.is_file() else _tables(root):
        lines = tabular.fields(table)
        number, header = next(lines, (1, []))
        chosen = columns.chosen(header, source.columns, f"{table}:{number}")
        yield from rows.utterances(
            tabular.complete(lines, header, table),
            {field: header.index(name) for field, name in chosen.items()},
            finder,
            table.parent,
            language,
            split_named(table.stem),
        )


def _tables(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    tables = [path for path in media.visible(root, "*") if path.suffix.lower() in tabular.SUFFIXES]
    return [path for path in tables if split_named(path.stem)] or (tables if len(tables) == 1 else [])
