"""Spreadsheets: a CSV or TSV file, or a folder with one, or with one for each split (`train.csv`, `test.csv`).

A CSV file may separate by comma, semicolon, tab or bar, and quote its fields. In a TSV file a quotation mark is part
of the text, except where the whole file is quoted, or a field in which all of them are doubled, as spreadsheets do.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import columns
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import split_named
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import SPLITS, Utterance
from asr_adapt.storage import read_text

LAYOUT = "a .csv or .tsv file with a header, or a folder with one, or with one for each split"
_COMMON_VOICE = {*(f"{split}.tsv" for split in SPLITS), "validated.tsv"}
_SEPARATOR = re.compile(r'"?sep=([^\s"]|\t)"?\r?\n', re.IGNORECASE)  # the first line, for Excel and sometimes by it


def recognises(root: Path) -> bool:
    """Whether `root` is a table, or a folder with one table or with tables named as splits."""
    if root.is_file():
        return root.suffix.lower() in {".csv", ".tsv"}
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
        yield from _rows(table, language, source, finder)


def _tables(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    tables = [path for path in media.visible(root, "*") if path.suffix.lower() in {".csv", ".tsv"}]
    return [path for path in tables if split_named(path.stem)] or (tables if len(tables) == 1 else [])


def _rows(table: Path, language: str, source: Source, finder: AudioFinder) -> Iterator[Utterance]:
    text = read_text(table)
    lines = _fields(text, table)
    number, header = next(lines, (1, []))
    found = columns.chosen(header, source.columns, f"{table}:{number}")
    place = {field: header.index(name) for field, name in found.items()}
    for number, fields in lines:
        if not any(fields):
            continue
        if len(fields) < len(header) or any(fields[len(header) :]):
            raise InputError(
                f"{len(fields)} columns where the header has {len(header)}",
                place=f"{table}:{number}",
                remedy="A field that holds the separator must be quoted; a TSV field cannot hold a tab.",
            )
        said = {field: fields[column].strip() for field, column in place.items() if fields[column].strip()}
        said["text"] = fields[place["text"]]
        where = f"{table}:{number}"
        audio = finder.find(said.get("audio", ""), where, table.parent)
        yield utterance_at(
            where,
            **{"id": _id(said), "language": language}
            | said
            | {"audio": audio, "split": _split(said.get("split"), table, where)},
        )


def _id(said: dict[str, str]) -> str:
    times = [said[name] for name in ("start_s", "end_s") if name in said]
    return "_".join((said["audio"], *times))


def _split(name: str | None, table: Path, where: str) -> str | None:
    if name is None:
        return split_named(table.stem)
    if split_named(name) is None:
        raise InputError(f"split '{name}' is none of {', '.join(SPLITS)}", place=where)
    return split_named(name)


def _fields(text: str, table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield `(line number, fields)`."""
    first = text.partition("\n")[0]
    tabs = table.suffix.lower() == ".tsv"
    said = _SEPARATOR.match(text)
    if tabs and not said and not first.startswith('"'):
        for number, line in enumerate(text.split("\n"), start=1):
            yield number, [_unquoted(field) for field in line.removesuffix("\r").split("\t")]
        return
    separator = said[1] if said else "\t" if tabs else max(",;\t|", key=first.count)
    begin, above = (said.end(), 1) if said else (0, 0)
    rows = csv.reader(io.StringIO(text[begin:], newline=""), delimiter=separator, strict=True)
    try:
        for fields in rows:
            yield above + rows.line_num, fields
    except csv.Error as error:
        raise InputError(f"not CSV ({error})", place=f"{table}:{above + rows.line_num}") from error


def _unquoted(field: str) -> str:
    """Return what a spreadsheet quoted: only then are all quotation marks inside doubled, and there are some."""
    within = field[1:-1]
    quoted = len(field) > 3 and field[0] == field[-1] == '"' and '""' in within
    return within.replace('""', '"') if quoted and '"' not in within.replace('""', "") else field
