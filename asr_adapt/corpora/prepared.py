"""The prepared corpus: one memory-mapped Arrow file a split, with 16 kHz waveforms beside their utterances.

Without a copy of the audio (`corpus.copy_audio = false`) it has, instead of a waveform, what the file was that the
clip was decoded from, and the clip is decoded anew each time. What cannot be decoded at random is copied all the
same: members of archives, files elsewhere, and segments of recordings that cannot be sought.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

import numpy as np

from asr_adapt import audio
from asr_adapt.artifacts import DIGESTS, Digests, check_digests
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import SPLITS, Split, Utterance
from asr_adapt.storage import atomic_file, content_digests

Item = TypeVar("Item")
Part = Split | Literal["unlabelled"]
"""a split, or the segments of recordings without transcripts"""
_PARTS: tuple[Part, ...] = (*SPLITS, "unlabelled")
_ROWS_PER_BATCH = 16
_CHANGED = (
    "Restore it, and the same command goes on where it was; without that, it prepares and trains anew. "
    "--corpus.copy_audio true keeps a copy of the audio."
)


class Written(NamedTuple):
    """What `write` wrote."""

    utterances: int
    copied: int
    """how many of their waveforms"""


def path_of(folder: Path, split: Part) -> Path:
    """Return the file of a split in a run's `data/`."""
    return folder / f"{split}.arrow"


def load(folder: Path, split: Part) -> SpeechSplit:
    """Open a split that `write` made, in the order of the corpus.

    All is memory-mapped: an utterance, a text or a waveform is read each time it is asked for. Of each clip, only the
    number of samples is held. A waveform that was not copied is decoded; asking for it raises an `InputError` that
    names the file, where that is no longer what it was.

    Raises:
        InputError: the file is missing or damaged, or is not the one that was written, by its digest.
    """
    import pyarrow.compute as pc
    from datasets import Dataset

    path = path_of(folder, split)
    if not path.is_file():
        raise InputError(f"there is no prepared split '{split}'", place=folder, remedy="Prepare the corpus again.")
    check_digests(folder, "Delete the folder of prepared data and start the run again.", (path.name,))
    try:
        table = Dataset.from_file(str(path))
    except Exception as error:  # pyarrow raises many kinds on a damaged file
        raise InputError(f"damaged ({error})", place=path, remedy="Delete it and start the run again.") from error
    columns = {name: table.data.column(name) for name in table.column_names}
    utterances = _Column(columns["utterance"], Utterance.model_validate_json)
    waveforms = columns["waveform"]
    is_copied = "samples" not in columns
    lengths = (pc.list_value_length(waveforms) if is_copied else columns["samples"]).to_numpy().astype(np.int64)
    originals = _Originals()

    def waveform(index: int) -> np.ndarray:
        copied = waveforms[index]
        if copied.is_valid:
            return copied.values.to_numpy()
        return originals.waveform(utterances[index], _Original(**columns["original"][index].as_py()), lengths[index])

    return SpeechSplit(split, utterances, _Column(columns["text"], str), waveform, lengths)


def write(
    folder: Path,
    split: Part,
    rows: Iterable[tuple[Utterance, str, np.ndarray]],
    decoded_from: Mapping[str, str | None] | None = None,
) -> Written:
    """Write `(utterance, normalised text, waveform)` rows and their digest; the file is there whole or not at all.

    Args:
        folder: A run's `data/`.
        split: Which split they are.
        rows: In the order of the corpus.
        decoded_from: Digests of the content of the recordings' files, by locator (`content_digests`): waveforms that
            can be decoded from them at random are not copied. None: all are copied.
    """
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    (folder / DIGESTS).unlink(missing_ok=True)
    columns: dict[str, Any] = {"utterance": Value("string"), "text": Value("string")}
    if decoded_from is not None:
        columns["samples"] = Value("int64")
        columns["original"] = {
            "path": Value("string"),
            "size": Value("int64"),
            "mtime_ns": Value("int64"),
            "digest": Value("string"),
        }
    schema = Features(columns | {"waveform": List(Value("float32"))})
    originals = _Originals()
    with (
        atomic_file(path_of(folder, split)) as partial,
        ArrowWriter(features=schema, path=str(partial), writer_batch_size=_ROWS_PER_BATCH) as writer,
    ):
        count = copied = 0
        for utterance, text, waveform in rows:
            row: dict[str, Any] = {"utterance": utterance.model_dump_json(), "text": text, "waveform": waveform}
            if decoded_from is not None:
                original = originals.of(utterance, decoded_from.get(utterance.audio))
                row |= {"samples": len(waveform), "original": original and vars(original)}
                if original is not None:
                    row["waveform"] = None
            writer.write(row)
            count += 1
            copied += row["waveform"] is not None
        writer.finalize()
    written = (path for path in (path_of(folder, each) for each in _PARTS) if path.exists())
    Digests.of(folder, [path.name for path in written]).write(folder)
    return Written(count, copied)


@dataclass(frozen=True)
class _Original:
    """What the file was that a clip was decoded from."""

    path: str
    """absolute"""
    size: int
    mtime_ns: int
    digest: str | None
    """of its content; None: unknown"""


@dataclass(frozen=True)
class _Originals:
    """The corpus's own files, as sources of waveforms. Safe to use from several threads."""

    _is_seekable: dict[str, bool] = field(default_factory=dict)
    _unchanged: set[tuple[str, int, int]] = field(default_factory=set)
    """path, size and time of files whose time is another one, and their content the same"""

    def of(self, utterance: Utterance, digest: str | None) -> _Original | None:
        """Return what a clip can be decoded from at random; None: it must be copied."""
        name = utterance.audio
        path = Path(name).absolute()
        if not path.is_file():
            return None
        if utterance.start_s is not None or utterance.end_s is not None:
            if name not in self._is_seekable:
                self._is_seekable[name] = audio.is_seekable(name)
            if not self._is_seekable[name]:
                return None
        status = path.stat()
        return _Original(str(path), status.st_size, status.st_mtime_ns, digest)

    def waveform(self, utterance: Utterance, original: _Original, num_samples: int) -> np.ndarray:
        """Return float32 (num_samples,), 16 kHz, decoded from a file that must be what it was.

        Raises:
            InputError: it is not, or cannot be decoded.
        """
        self._check(original)
        try:
            waveform = audio.load(original.path, start_s=utterance.start_s, end_s=utterance.end_s)
        except AudioError as error:
            raise InputError(error.problem, place=original.path, remedy=_CHANGED) from error
        if len(waveform) != num_samples:
            problem = f"decodes to {len(waveform):,} samples, and did to {num_samples:,} when it was prepared"
            raise InputError(problem, place=original.path, remedy=_CHANGED)
        return waveform

    def _check(self, original: _Original) -> None:
        """Compare a file with what it was: by size and time, and by content where the time is another one."""
        path = original.path
        try:
            status = Path(path).stat()
        except OSError as error:
            raise InputError(
                f"cannot be read ({error.strerror}); the audio was not copied when the corpus was prepared",
                place=path,
                remedy=_CHANGED,
            ) from error
        found = (path, status.st_size, status.st_mtime_ns)
        if found == (path, original.size, original.mtime_ns) or found in self._unchanged:
            return
        if status.st_size != original.size or content_digests([path])[path] != original.digest:
            raise InputError("has changed since the corpus was prepared", place=path, remedy=_CHANGED)
        self._unchanged.add(found)


class _Column(Sequence[Item], Generic[Item]):
    """A column of a memory-mapped table, of which a value is read each time it is asked for."""

    def __init__(self, column: Any, item_of: Callable[[str], Item]) -> None:
        self._column, self._item_of = column, item_of

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._item_of(self._column[int(index)].as_py())

    def __iter__(self) -> Iterator[Item]:
        for chunk in self._column.iterchunks():
            yield from map(self._item_of, chunk.to_pylist())
