"""Spreadsheets: a CSV or TSV file, or a folder with one, or with one for each split (`train.csv`, `test.csv`)."""

from collections.abc import Generator, Sequence
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import columns, rows, tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.readers import audio_folder, common_voice_spontaneous, fleurs, ljspeech
from asr_adapt.corpora.splits import parts_by_split, split_named
from asr_adapt.recipe import Source, Splits
from asr_adapt.records import SPLITS, LeftOut, Utterance

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


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the utterances of each table; a column `split` goes before the table's name.

    Raises:
        InputError: a table has no column for audio or text, or a line has another number of columns, an impossible
            value, or a path that leads out of the table's folder.
    """
    finder = AudioFinder(root)
    tables = [root] if root.is_file() else _tables(root, source.splits)
    splits, unused = parts_by_split([table.stem for table in tables], source.splits)
    if not splits:  # the recipe names values of a column
        splits, unused = {table.stem: None for table in tables}, []
    left_out = [LeftOut.of("split", table.name, [table]) for table in tables if table.stem in unused]
    for table in (table for table in tables if table.stem in splits):
        lines = tabular.fields(table)
        number, header = next(lines, (1, []))
        chosen = columns.chosen(header, source.columns, f"{table}:{number}")
        left_out += yield from rows.utterances(
            tabular.complete(lines, header, table),
            {field: header.index(name) for field, name in chosen.items()},
            finder,
            table.parent,
            language,
            splits[table.stem],
            source.splits,
        )
    return left_out


def _tables(root: Path, choice: Splits = "own") -> list[Path]:
    if not root.is_dir():
        return []
    tables = [path for path in media.visible(root, "*") if path.suffix.lower() in tabular.SUFFIXES]
    named = [path for path in tables if split_named(path.stem, "own" if choice == "made" else choice)]
    return named or (tables if len(tables) == 1 else [])
