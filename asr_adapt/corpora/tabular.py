"""Rows of delimited text files, line by line: CSV as its module reads it, TSV in which quotation marks are text."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from asr_adapt.errors import InputError
from asr_adapt.storage import iterate_lines

SUFFIXES = (".csv", ".tsv")
_SEPARATOR = re.compile(r'"?sep=([^\s"]|\t)"?\r?\n', re.IGNORECASE)  # the first line, for Excel and sometimes by it


def fields(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield `(line number, fields)`, the header first.

    A CSV file may separate by comma, semicolon, tab or bar, and quote its fields. In a TSV file a quotation mark is
    part of the text, except where the whole file is quoted, or a field in which all of them are doubled, as
    spreadsheets do.

    Raises:
        InputError: the file is not UTF-8 or UTF-16, or a CSV file is malformed; the error names the line.
    """
    lines = iterate_lines(table)
    first = next(lines, (1, ""))[1]
    tabs = table.suffix.lower() == ".tsv"
    declared = _SEPARATOR.match(first)
    if tabs and not declared and not first.startswith('"'):
        for number, line in chain([(1, first)], lines):
            yield number, [_unquoted(field) for field in line.rstrip("\r\n").split("\t")]
        return
    separator = declared[1] if declared else "\t" if tabs else max(",;\t|", key=first.count)
    above = 1 if declared else 0
    text = (line for _, line in lines) if declared else chain([first], (line for _, line in lines))
    rows = csv.reader(text, delimiter=separator, strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = "Is a quotation mark missing?" if "limit" in str(error) or "end of data" in str(error) else ""
            raise InputError(
                f"not CSV ({error})", place=f"{table}:{above + rows.line_num}", remedy=unclosed
            ) from error
        yield above + rows.line_num, row


def head(table: Path, count: int = 1) -> list[list[str]]:
    """Return the fields of the first rows; nothing where the file cannot be read, which is for its reader to say."""
    try:
        return [row for _, row in islice(fields(table), count)]
    except InputError:
        return []


def bar_fields(table: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield `(line number, fields)` of a file without any quoting; blank lines are left out."""
    for number, line in iterate_lines(table):
        if line.strip():
            yield number, line.rstrip("\r\n").split(separator)


def complete(
    lines: Iterable[tuple[int, list[str]]], header: Sequence[str], table: Path
) -> Iterator[tuple[str, list[str]]]:
    """Yield `(place, fields)` of each row that is not blank.

    Raises:
        InputError: a row has fewer fields than the header, or more that are not empty.
    """
    for number, row in lines:
        if not any(row):
            continue
        if len(row) < len(header) or any(row[len(header) :]):
            raise InputError(
                f"{len(row)} columns where the header has {len(header)}",
                place=f"{table}:{number}",
                remedy="A field that holds the separator must be quoted; a TSV field cannot hold a tab.",
            )
        yield f"{table}:{number}", row


def _unquoted(field: str) -> str:
    """Return what a spreadsheet quoted: only then are all quotation marks inside doubled, and there are some."""
    within = field[1:-1]
    quoted = len(field) > 3 and field[0] == field[-1] == '"' and '""' in within
    return within.replace('""', '"') if quoted and '"' not in within.replace('""', "") else field
