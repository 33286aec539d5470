"""Excel workbooks, `.xlsx`: a sheet with a header, or one for each split.

openpyxl reads them: `pip install 'asr-adapt[xlsx]'`. Formulas are read as the values that Excel saved with them.
"""

import datetime
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from asr_adapt.audio import media
from asr_adapt.corpora import columns, rows, tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.splits import split_named
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import LeftOut, Utterance

LAYOUT = "an .xlsx workbook, or a folder with one"
_MOST_BYTES = 1_000_000_000  # unpacked; a million rows of text are about 200 MB


def recognises(root: Path) -> bool:
    """Whether `root` is a workbook, or a folder with one and no other table."""
    return bool(_workbooks(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, list[LeftOut]]:
    """Yield the utterances of each sheet that has columns for audio and text; a sheet named as a split is that split.

    Raises:
        InputError: openpyxl is missing, the workbook is damaged or unpacks to more than a gigabyte, no sheet has the
            columns, or a row is broken.
    """
    finder = AudioFinder(root)
    left_out: list[LeftOut] = []
    for path in _workbooks(root):
        _refuse_bombs(path)
        left_out += yield from _of_workbook(path, source, finder, language)
    return left_out


def _workbooks(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".xlsx" else []
    if not root.is_dir():
        return []
    found = [path for path in media.visible(root, "*") if path.suffix.lower() in (".xlsx", *tabular.SUFFIXES)]
    found = [path for path in found if not path.name.startswith("~$")]  # Excel's lock of an open workbook
    workbooks = [path for path in found if path.suffix.lower() == ".xlsx"]
    return workbooks if len(found) == len(workbooks) == 1 else []


def _refuse_bombs(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > _MOST_BYTES:
                raise InputError(
                    f"unpacks to {size / 1e9:.1f} GB", place=path, remedy="Save the sheet as CSV, and give that."
                )
            for member in archive.infolist():
                if member.filename.endswith((".xml", ".rels")):
                    with archive.open(member) as file:
                        beginning = file.read(4096).replace(b"\0", b"")  # of UTF-16, too
                    if b"<!DOCTYPE" in beginning:
                        raise InputError(f"{member.filename} has a document type, which no workbook has", place=path)
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot be read as a workbook ({error})", place=path) from error
    except Exception as error:  # zlib's own, and those of other compressions
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be read as a workbook ({error})", place=path) from error


def _of_workbook(
    path: Path, source: Source, finder: AudioFinder, language: str
) -> Generator[Utterance, None, list[LeftOut]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise InputError(f"{error.name} is missing", place=path, remedy="pip install 'asr-adapt[xlsx]'") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl lets through what its parts raise: KeyError, ValueError, those of XML
        raise InputError(f"cannot be read as a workbook ({type(error).__name__}: {error})", place=path) from error
    try:
        failed: InputError | None = None
        read_any = False
        left_out: list[LeftOut] = []
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # those that the file claims may be of a million empty columns
            lines = _lines(sheet, path)
            number, header = next(lines, (1, []))
            if not any(header):
                continue
            try:
                chosen = columns.chosen(header, source.columns, f"{path}, sheet '{sheet.title}':{number}")
            except InputError as error:
                failed = failed or error
                continue
            read_any = True
            split = split_named(sheet.title, source.splits)
            rows_of_sheet = (
                (f"{path}, sheet '{sheet.title}':{line}", _padded(row, len(header)))
                for line, row in lines
                if any(row)
            )
            if isinstance(source.splits, dict) and split is None and "split" not in chosen:
                count = sum(1 for _ in rows_of_sheet)
                left_out.append(LeftOut.of("split", sheet.title, [path], utterances=count))
                continue
            left_out += yield from rows.utterances(
                rows_of_sheet,
                {field: header.index(name) for field, name in chosen.items()},
                finder,
                path.parent,
                language,
                split,
                source.splits,
            )
        if failed and not read_any:
            raise failed
        return left_out
    finally:
        book.close()


def _lines(sheet: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            yield number, [_text(value) for value in cells]
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(
            f"sheet '{sheet.title}' cannot be read ({type(error).__name__}: {error})", place=path
        ) from error


def _padded(row: list[str], count: int) -> list[str]:
    return row + [""] * (count - len(row))


def _text(value: object) -> str:
    """Return a cell as text: 1.0 is what Excel makes of 1, and a time may be a clock time or a span."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.timedelta):
        return str(value.total_seconds())
    if isinstance(value, datetime.time):
        return str(value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6)
    return str(value)
