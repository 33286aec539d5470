"""Tables without a header: LJSpeech's `metadata.csv`, and `line_index.tsv` and `utt_spk_text.tsv` of OpenSLR.

LJSpeech's is `ID|TEXT` or `ID|TEXT|NORMALISED TEXT`, with the recordings in `wavs/` (M-AILABS has such a table for
each book); those of OpenSLR have tabs: `ID TEXT` and `ID SPEAKER TEXT`. Nothing is quoted. The transcript is the last
column; `corpus.columns` may name the other: `{"text": "written"}`.
"""

from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import columns, rows, tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

LAYOUT = "a table without a header: LJSpeech's metadata.csv (ID|TEXT), OpenSLR's line_index.tsv or utt_spk_text.tsv"
_PATTERNS = ("metadata.csv", "line_index*.tsv", "utt_spk_text.tsv")


def recognises(root: Path) -> bool:
    """Whether `root` is such a table or has one somewhere below."""
    return bool(_tables(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of each table; a folder on the way that is named as a split says which it is.

    Raises:
        InputError: a line has another number of columns than the first, or is broken in another way.
    """
    base = root.parent if root.is_file() else root
    finder = AudioFinder(root)
    tables = _tables(root) or ([root] if root.is_file() else [])
    for table in tables:
        separator = "|" if table.suffix.lower() == ".csv" else "\t"
        lines = tabular.bar_fields(table, separator)
        header = _header(table, next(tabular.bar_fields(table, separator), (1, [""]))[1])
        chosen = columns.chosen(header, source.columns, table)
        places = {field: header.index(name) for field, name in chosen.items()}
        folder = table.parent.relative_to(base).as_posix()
        split = innermost_split(table.parent.relative_to(base).parts, source.splits)
        for utterance in rows.utterances(
            tabular.complete(lines, header, table), places, finder, table.parent, language, split
        ):
            yield utterance if folder == "." else utterance.model_copy(update={"id": f"{folder}/{utterance.id}"})


def _header(table: Path, first: list[str]) -> tuple[str, ...]:
    if len(first) == 2:
        return ("audio", "text")
    if len(first) == 3:
        return ("audio", "written", "text") if table.suffix.lower() == ".csv" else ("audio", "speaker", "text")
    raise InputError(
        f"{len(first)} columns where a table without a header has two or three",
        place=f"{table}:1",
        remedy="Write a header with audio and text, and read it with --corpus.format table.",
    )


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if any(root.match(pattern) for pattern in _PATTERNS) and _is_headerless(root) else []
    found = [path for path in media.below(root, tabular.SUFFIXES) if any(map(path.match, _PATTERNS))]
    return [path for path in found if _is_headerless(path)]


def _is_headerless(table: Path) -> bool:
    try:
        separator = "|" if table.suffix.lower() == ".csv" else "\t"
        first = next(tabular.bar_fields(table, separator), (1, []))[1]
    except InputError:
        return False
    names = {name.strip().strip('"').lower() for name in first}
    known = {name for field in ("audio", "text") for name in columns.KNOWN[field]}
    return len(first) in (2, 3) and not names & known
