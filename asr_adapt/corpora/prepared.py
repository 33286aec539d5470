"""The prepared corpus: one memory-mapped Arrow file a split, with 16 kHz waveforms beside their utterances."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from asr_adapt.artifacts import DIGESTS, Digests, check_digests
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.records import SPLITS, Split, Utterance
from asr_adapt.storage import atomic_file

Item = TypeVar("Item")
_ROWS_PER_BATCH = 16


def path_of(folder: Path, split: Split) -> Path:
    """Return the file of a split in a run's `data/`."""
    return folder / f"{split}.arrow"


def load(folder: Path, split: Split) -> SpeechSplit:
    """Open a split that `write` made, in the order of the corpus.

    All is memory-mapped: an utterance, a text or a waveform is read each time it is asked for. Of each clip, only the
    number of samples is held.

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
    utterances = _Column(table.data.column("utterance"), Utterance.model_validate_json)
    waveforms = table.data.column("waveform")
    return SpeechSplit(
        split,
        utterances,
        _Column(table.data.column("text"), str),
        lambda index: waveforms[index].values.to_numpy(),
        pc.list_value_length(waveforms).to_numpy().astype(np.int64),
    )


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


def write(folder: Path, split: Split, rows: Iterable[tuple[Utterance, str, np.ndarray]]) -> int:
    """Write `(utterance, normalised text, waveform)` rows and their digest; the file is there whole or not at all.

    Returns:
        How many rows were written.
    """
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    (folder / DIGESTS).unlink(missing_ok=True)
    schema = Features({"utterance": Value("string"), "text": Value("string"), "waveform": List(Value("float32"))})
    with (
        atomic_file(path_of(folder, split)) as partial,
        ArrowWriter(features=schema, path=str(partial), writer_batch_size=_ROWS_PER_BATCH) as writer,
    ):
        count = 0
        for utterance, text, waveform in rows:
            writer.write({"utterance": utterance.model_dump_json(), "text": text, "waveform": waveform})
            count += 1
        writer.finalize()
    written = (path for path in (path_of(folder, each) for each in SPLITS) if path.exists())
    Digests.of(folder, [path.name for path in written]).write(folder)
    return count
