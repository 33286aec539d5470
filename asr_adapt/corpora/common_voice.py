"""Common Voice's layout: `train.tsv`, `dev.tsv` and `test.tsv` (or `validated.tsv` alone) beside `clips/`.

Tab-separated without quoting: a quotation mark is part of the sentence (Common Voice's own tables break readers
that take it for one). Columns used: `client_id` (speaker), `path`, `sentence`, `locale`.
"""

from collections.abc import Iterator
from pathlib import Path

from asr_adapt.corpora.textfile import read_lines
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.utterance import SPLITS, Split, Utterance

LAYOUT = "train.tsv, dev.tsv, test.tsv (or validated.tsv) beside clips/"
_WHOLE = "validated.tsv"


def recognises(root: Path) -> bool:
    """Whether `root` is a folder with one of the tables."""
    return root.is_dir() and any((root / name).is_file() for name in (*(f"{s}.tsv" for s in SPLITS), _WHOLE))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of the split tables, or of `validated.tsv` (without a split) where there are none.

    Raises:
        InputError: a table has no header, a line lacks a column, or a path leads out of `clips/`.
    """
    tables = [(split, root / f"{split}.tsv") for split in SPLITS if (root / f"{split}.tsv").is_file()]
    for split, table in tables or [(None, root / _WHOLE)]:
        yield from _rows(table, root / "clips", split, language)


def _rows(table: Path, clips: Path, split: Split | None, language: str) -> Iterator[Utterance]:
    lines = read_lines(table)
    header = lines[0].split("\t")
    missing = {"path", "sentence"} - set(header)
    if missing:
        raise InputError(
            f"the header has no column {', '.join(sorted(missing))}, but is {header!r}",
            place=f"{table}:1",
            remedy="Common Voice's tables begin with client_id, path, sentence.",
        )
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        if fields == [""]:
            continue
        if len(fields) < len(header) or any(fields[len(header) :]):  # a tab in a sentence would cut it short
            raise InputError(
                f"{len(fields)} columns where the header has {len(header)}",
                place=f"{table}:{number}",
                remedy="Fields are separated by one tab each, and are not quoted.",
            )
        row = dict(zip(header, fields, strict=False))
        clip = Path(row["path"])
        if not row["path"] or clip.is_absolute() or ".." in clip.parts:
            raise InputError(f"path {row['path']!r} is not a file inside clips/", place=f"{table}:{number}")
        yield Utterance(
            id=row["path"],
            audio=str(clips / clip),
            split=split,
            language=row.get("locale") or language,
            speaker=row.get("client_id") or None,
            text=row["sentence"],
        )
