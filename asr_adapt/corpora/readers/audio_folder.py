"""AudioFolder of the `datasets` library: `metadata.csv` or `metadata.jsonl` with `file_name`, beside the recordings.

It lies in the data set's folder, or in one for each split.
https://huggingface.co/docs/datasets/audio_dataset
"""

from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path, PurePosixPath

from asr_adapt.audio import media
from asr_adapt.corpora import columns, json_lines, rows, tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import LeftOut, Utterance

LAYOUT = "metadata.csv or metadata.jsonl with a column file_name, in the folder or in one for each split"
_COLUMN = "file_name"


def recognises(root: Path) -> bool:
    """Whether some metadata has `file_name`."""
    return bool(_metadata(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, list[LeftOut]]:
    """Yield the utterances; a folder on the way to a recording that is named as a split says which it is.

    Raises:
        InputError: a table has no column for the transcript, or a row is broken.
    """
    finder = AudioFinder(root)
    unused: Counter[str] = Counter()
    for table in _metadata(root):
        folder = table.parent.relative_to(root).as_posix()
        read_table = _csv_rows if table.suffix == ".csv" else _jsonl_rows
        header, lines = read_table(table)
        chosen = columns.chosen(header, {"audio": _COLUMN, **source.columns}, f"{table}:1")
        places = {field: header.index(name) for field, name in chosen.items()}
        for place, fields in lines:
            name = fields[places["audio"]]
            split = innermost_split([*PurePosixPath(folder).parts, *PurePosixPath(name).parts[:-1]], source.splits)
            own = {} if "id" in places or folder == "." else {"id": f"{folder}/{name}"}
            one = rows.utterances([(place, fields)], places, finder, table.parent, language, split, source.splits)
            if (utterance := next(one, None)) is not None:
                yield utterance.model_copy(update=own)
            else:
                unused[fields[places["split"]].strip()] += 1
    return [LeftOut.of("split", name, [root], utterances=count) for name, count in unused.items()]


def _metadata(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    found = (*media.visible(root, "metadata.*"), *media.visible(root, "*/metadata.*"))
    return [path for path in found if path.is_file() and _COLUMN in _names(path)]


def _names(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return next(iter(tabular.head(path)), [])
    return list(json_lines.first(path)) if path.suffix == ".jsonl" else []


def _csv_rows(table: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    lines = tabular.fields(table)
    header = next(lines, (1, [""]))[1]
    return header, tabular.complete(lines, header, table)


def _jsonl_rows(table: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    header = list(json_lines.first(table))

    def lines() -> Iterator[tuple[str, list[str]]]:
        for place, found in json_lines.objects(table):
            if not isinstance(found.get(_COLUMN), str):
                raise InputError(f"field '{_COLUMN}' is missing or no text", place=place)
            yield place, ["" if found.get(key) is None else str(found[key]) for key in header]

    return header, lines()
