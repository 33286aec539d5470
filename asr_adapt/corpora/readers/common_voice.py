"""Common Voice's layout: `train.tsv`, `dev.tsv` and `test.tsv` (or `validated.tsv` alone) beside `clips/`.

Tab-separated without quoting: a quotation mark is part of the sentence (Common Voice's own tables break readers
that take it for one). Columns used: `client_id` (speaker), `path`, `sentence`, `locale`.

A release as it is downloaded, `cv-corpus-….tar.gz`, is unpacked once into the cache.
"""

import functools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.readers import fleurs
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.unpacked import stamp, unpack_tar, unpacked
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source, Splits
from asr_adapt.records import SPLITS, LeftOut, Split, Utterance
from asr_adapt.storage import iterate_lines

LAYOUT = "train.tsv, dev.tsv, test.tsv (or validated.tsv) beside clips/, or a .tar.gz of that"
_WHOLE = "validated.tsv"


def recognises(root: Path) -> bool:
    """Whether `root` is a folder with one of the tables, or an archive."""
    if root.is_file():
        return root.name.endswith((".tar.gz", ".tgz", ".tar"))
    tables = (*(f"{split}.tsv" for split in SPLITS), _WHOLE)
    return root.is_dir() and any((root / name).is_file() for name in tables) and not fleurs.recognises(root)


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the utterances of the split tables, or of `validated.tsv` (without a split) where there are none.

    Official splits may be a small part of what is validated; the rest is returned as left out.

    Raises:
        InputError: a table has no header, a line lacks a column, a path leads out of `clips/`, or the archive is
            damaged or holds no such layout.
    """
    if root.is_file():
        folder = unpacked(f"common_voice {stamp(root)}", functools.partial(unpack, root, source=source))
        root = chosen(folder, language, root)
    finder = AudioFinder(root)
    tables = _tables(root, source.splits)
    for split, table in tables:
        yield from _rows(table, finder, split, language)
    whole = root / _WHOLE
    if source.splits != "own" or not whole.is_file() or whole in {table for _, table in tables}:
        return []
    more = _count(whole) - sum(_count(table) for _, table in tables)
    return [LeftOut.of("split", _WHOLE, [whole], utterances=more)] if more > 0 else []


def _tables(root: Path, choice: Splits) -> list[tuple[Split | None, Path]]:
    """Return what is read: the official splits, or what the recipe says."""
    whole = root / _WHOLE
    official: list[tuple[Split | None, Path]] = [(split, root / f"{split}.tsv") for split in SPLITS]
    if choice == "made" and whole.is_file():
        return [(None, whole)]
    if choice not in ("own", "made"):
        return [
            (split, table) for table in media.visible(root, "*.tsv") if (split := split_named(table.stem, choice))
        ]
    return [(split, table) for split, table in official if table.is_file()] or [(None, whole)]


def _count(table: Path) -> int:
    """Return the number of rows of a table."""
    return sum(1 for number, line in iterate_lines(table) if number > 1 and line.strip())


def chosen(folder: Path, language: str, place: object) -> Path:
    """Return the folder of the language's tables, of what `unpack` wrote.

    Raises:
        InputError: there are only those of other languages.
    """
    found = {path.name: path for path in sorted(folder.iterdir()) if recognises(path)}
    only = next(iter(found.values())) if len(found) == 1 else None
    if (tables := found.get(language) or only) is None:
        raise InputError(f"the archive holds tables of {', '.join(found)}, not of '{language}'", place=place)
    return tables


def unpack(archive: Path, folder: Path, source: Source) -> None:
    """Write `LOCALE/*.tsv` and `LOCALE/clips/*`, whatever folders are above them in the archive.

    Raises:
        InputError: the archive is damaged, has a member larger than `source.max_clip_mb`, or holds no such layout.
    """
    unpack_tar(archive, folder, _unpacked_as, source.max_clip_mb)
    if not any(recognises(path) for path in folder.iterdir()):
        raise InputError(
            "holds none of Common Voice's tables",
            place=archive,
            remedy="Unpack it, and give its folder as corpus.root.",
        )


def _unpacked_as(member: PurePosixPath) -> PurePosixPath | None:
    *above, name = member.parts or ("",)
    clips = above[-1:] == ["clips"]
    if ".." in member.parts or not (clips or name.endswith(".tsv")):
        return None
    locale = ([".", *above[:-1]] if clips else [".", *above])[-1].strip("./\\") or "corpus"
    return PurePosixPath(locale, "clips" if clips else "", name)


def _rows(table: Path, finder: AudioFinder, split: Split | None, language: str) -> Iterator[Utterance]:
    lines = iterate_lines(table)
    header = next(lines, (1, ""))[1].rstrip("\r\n").split("\t")
    missing = {"path", "sentence"} - set(header)
    if missing:
        raise InputError(
            f"the header has no column {', '.join(sorted(missing))}, but is {header!r}",
            place=f"{table}:1",
            remedy="Common Voice's tables have client_id, path and sentence; read others with --corpus.format table.",
        )
    for number, line in lines:
        fields = line.rstrip("\r\n").split("\t")
        if fields == [""]:
            continue
        if len(fields) < len(header) or any(fields[len(header) :]):  # a tab in a sentence would cut it short
            raise InputError(
                f"{len(fields)} columns where the header has {len(header)}",
                place=f"{table}:{number}",
                remedy="Fields are separated by one tab each, and are not quoted.",
            )
        row = dict(zip(header, fields, strict=False))
        clip = finder.find(row["path"], f"{table}:{number}", table.parent / "clips")
        if not Path(clip).is_relative_to(table.parent):
            raise InputError(f"path {row['path']!r} is not a file inside {table.parent}", place=f"{table}:{number}")
        yield Utterance(
            id=row["path"],
            audio=clip,
            split=split,
            language=row.get("locale") or language,
            speaker=row.get("client_id") or None,
            text=row["sentence"],
        )
