"""Data sets of the `datasets` library: saved to disk, Parquet or Arrow files, or by name from the Hub.

The audio in them is unpacked once into the cache, as it is; `datasets` never decodes it. A data set of the Hub is
kept as it was when it was first fetched.
"""

import functools
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr_adapt.audio import media
from asr_adapt.corpora import columns
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.unpacked import refuse_large, stamp, unpacked
from asr_adapt.errors import DiskFull, InputError
from asr_adapt.recipe import Source
from asr_adapt.records import SPLITS, Utterance, read_jsonl, write_jsonl
from asr_adapt.storage import disk_full_as_error

LAYOUT = "a data set's folder (dataset_info.json, or .parquet or .arrow files)"
_SUFFIXES = {".parquet": "parquet", ".arrow": "arrow"}
_SAVED = ("dataset_info.json", "dataset_dict.json")
_FIELDS = ("audio", "text", "speaker", "language")
_MANIFEST = "utterances.jsonl"
_CONVERTED = "refs/convert/parquet"
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or folder."""
    return any((root / name).is_file() for name in _SAVED) or bool(_files(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the rows of each split; a data set whose only split is called train brings no splits.

    Raises:
        InputError: the data set cannot be loaded, has no column for audio or text, one of audio holds none, or a clip
            is larger than `source.max_clip_mb`; or a column is named for a field that is not taken from data sets.
    """
    if unused := sorted(source.columns.keys() - _FIELDS):
        raise InputError(
            f"'{unused[0]}' is not read from a data set's column",
            place="corpus.columns",
            remedy=f"Of data sets {', '.join(_FIELDS)} are; its splits are its own.",
        )
    stamps = [stamp(path) for path in media.visible(root) if path.is_file()]
    if root.is_file():
        stamps = [stamp(root)]
    key = [str(root), source.subset, source.revision, source.columns, stamps]
    wanted = json.dumps(key if source.splits == "own" else [*key, source.splits], sort_keys=True)
    folder = unpacked(f"hugging_face {wanted}", functools.partial(_unpack, root, source))
    for _, utterance in read_jsonl(folder / _MANIFEST):
        audio = str(folder / utterance.audio)
        yield utterance.model_copy(update={"audio": audio, "language": utterance.language or language})


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix in _SUFFIXES else []
    found = (*media.visible(root, "*"), *media.visible(root, "*/*"))
    return sorted(path for path in found if path.suffix in _SUFFIXES)


def _unpack(root: Path, source: Source, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as copies:  # Arrow that `datasets` makes of Parquet: not kept
        parts = _load(root, source, copies)
        known = [name for split in SPLITS for name in parts if split_named(name, source.splits) == split]
        utterances = []
        for name in known if len(known) > 1 else list(parts):
            split = split_named(name, source.splits) if len(known) > 1 else None
            utterances += list(_rows(parts[name], name, split, root, source, folder))
    write_jsonl(folder / _MANIFEST, utterances)


def _load(root: Path, source: Source, copies: str) -> dict[str, Any]:
    """Return split name → `datasets.Dataset`, which may be mapped from files in `copies`."""
    import datasets

    try:
        if (root / _SAVED[0]).is_file() or (root / _SAVED[1]).is_file():
            loaded = datasets.load_from_disk(str(root))
        elif root.exists():
            files: dict[str, list[str]] = {}
            for path in _files(root):
                name = next((n for n in (path.stem, path.parent.name) if path != root and split_named(n)), "data")
                files.setdefault(split_named(name) or "data", []).append(str(path))
            kind = _SUFFIXES[_files(root)[0].suffix]
            loaded = datasets.load_dataset(kind, data_files=files, cache_dir=copies)
        else:
            with disk_full_as_error(
                datasets.config.HF_CACHE_HOME, "Make room, or set HF_HOME to a folder elsewhere."
            ):
                loaded = _from_hub(str(root), source)
    except DiskFull:
        raise
    except Exception as error:  # pyarrow, fsspec, httpx and datasets each raise their own
        remedy = "" if root.exists() else "Is there a network, and the name right? It is OWNER/NAME."
        raise InputError(
            f"cannot be loaded as a data set ({type(error).__name__}: {error})", place=root, remedy=remedy
        ) from error
    return dict(loaded) if isinstance(loaded, dict) else {"data": loaded}


def _from_hub(name: str, source: Source) -> Any:
    """Load a data set by name; one that is a script, such as FLEURS, from the Parquet that the Hub made of it."""
    import datasets

    if source.revision is None:
        try:
            return datasets.load_dataset(name, source.subset)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            _log.warning("%s is a script, which is not run; reading the Hub's %s of it", name, _CONVERTED)
    revision = source.revision or _CONVERTED
    # There, each subset is a folder, and has no other name.
    where = {"data_dir": source.subset} if revision == _CONVERTED else {"name": source.subset}
    return datasets.load_dataset(name, revision=revision, **where)


def _rows(part: Any, name: str, split: str | None, root: Path, source: Source, folder: Path) -> Iterator[Utterance]:
    import datasets

    named = columns.chosen(part.column_names, source.columns, f"{root}, {name}")
    fields = {field: named[field] for field in _FIELDS if field in named}
    part = part.select_columns(sorted(set(fields.values())))
    kind = part.features[fields["audio"]]
    try:
        part = part.cast_column(fields["audio"], datasets.Audio(decode=False))
    except Exception as error:  # pyarrow's own, TypeError and ValueError, as the column may be
        raise InputError(
            f"column '{fields['audio']}' holds no audio files, but {kind}",
            place=f"{root}, {name}",
            remedy='Name the one that does: --corpus.columns \'{"audio": "COLUMN"}\'.',
        ) from error
    (folder / name).mkdir(exist_ok=True)
    beside = (root.parent if root.is_file() else root).absolute()  # of clips that are files; absolute paths stay
    for number, row in enumerate(part):
        audio = row[fields["audio"]] or {}
        path = Path(audio.get("path") or "")
        where = beside / path
        place = f"{root}, {name}, row {number}"
        if audio.get("bytes") is not None:
            where = Path(name) / f"{number:06d}{path.suffix}"
            refuse_large(len(audio["bytes"]), source.max_clip_mb, place)
            (folder / where).write_bytes(audio["bytes"])
        speaker = row.get(fields.get("speaker", ""))
        yield utterance_at(
            place,
            id=f"{name}-{number:06d}",
            audio=str(where),
            split=split,
            language=row.get(fields.get("language", "")),
            speaker=None if speaker is None else str(speaker),
            text=row[fields["text"]] or "",
        )
