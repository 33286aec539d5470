"""The prepared corpus: one memory-mapped Arrow file a split, with 16 kHz waveforms beside their utterances."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr_adapt.errors import InputError
from asr_adapt.records import Split, Utterance

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS_PER_BATCH = 16


@dataclass(frozen=True)
class Prepared:
    """One split, in the order of the corpus. Waveforms stay on disk until they are asked for."""

    utterances: Sequence[Utterance]
    texts: Sequence[str]
    """normalised transcripts"""
    _table: "Dataset"

    def __len__(self) -> int:
        return len(self.utterances)

    def num_samples(self) -> list[int]:
        """Return the samples of each waveform."""
        return [len(self.waveform(i)) for i in range(len(self))]

    def waveform(self, index: int) -> np.ndarray:
        """Return float32 (num_samples,), 16 kHz: a view of the file, not to be written to."""
        return self._table.data.column("waveform")[index].values.to_numpy()


def path_of(folder: Path, split: Split) -> Path:
    """Return where the split lies inside `data/`."""
    return folder / f"{split}.arrow"


def load(folder: Path, split: Split) -> Prepared:
    """Open a split that `write` made.

    Raises:
        InputError: the file is missing, or damaged.
    """
    from datasets import Dataset

    path = path_of(folder, split)
    if not path.is_file():
        raise InputError(f"there is no prepared split '{split}'", place=folder, remedy="Prepare the corpus again.")
    try:
        table = Dataset.from_file(str(path))
    except Exception as error:  # pyarrow raises many kinds on a damaged file
        raise InputError(f"damaged ({error})", place=path, remedy="Delete it and start the run again.") from error
    utterances = [Utterance.model_validate_json(row) for row in table["utterance"]]
    return Prepared(utterances, list(table["text"]), table)


def write(folder: Path, split: Split, rows: Iterable[tuple[Utterance, str, np.ndarray]]) -> int:
    """Write `(utterance, normalised text, waveform)` rows; the file is there whole or not at all.

    Returns:
        How many rows were written.
    """
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    schema = Features({"utterance": Value("string"), "text": Value("string"), "waveform": List(Value("float32"))})
    path = path_of(folder, split)
    partial = path.with_name(path.name + ".partial")
    with ArrowWriter(features=schema, path=str(partial), writer_batch_size=_ROWS_PER_BATCH) as writer:
        count = 0
        for utterance, text, waveform in rows:
            writer.write({"utterance": utterance.model_dump_json(), "text": text, "waveform": waveform})
            count += 1
        writer.finalize()
    partial.replace(path)
    return count
