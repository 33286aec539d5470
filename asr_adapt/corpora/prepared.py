"""The prepared corpus: one memory-mapped Arrow file a split, with 16 kHz waveforms beside their utterances."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from asr_adapt.artifacts import DIGESTS, Digests, check_digests
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.records import SPLITS, Split, Utterance
from asr_adapt.storage import atomic_file

_ROWS_PER_BATCH = 16


def path_of(folder: Path, split: Split) -> Path:
    """Return the file of a split in a run's `data/`."""
    return folder / f"{split}.arrow"


def load(folder: Path, split: Split) -> SpeechSplit:
    """Open a split that `write` made, in the order of the corpus; waveforms are memory-mapped.

    Raises:
        InputError: the file is missing or damaged, or is not the one that was written, by its digest.
    """
    from datasets import Dataset

    path = path_of(folder, split)
    if not path.is_file():
        raise InputError(f"there is no prepared split '{split}'", place=folder, remedy="Prepare the corpus again.")
    check_digests(folder, "Delete the folder of prepared data and start the run again.", (path.name,))
    try:
        table = Dataset.from_file(str(path))
    except Exception as error:  # pyarrow raises many kinds on a damaged file
        raise InputError(f"damaged ({error})", place=path, remedy="Delete it and start the run again.") from error
    utterances = [Utterance.model_validate_json(row) for row in table["utterance"]]
    waveforms = table.data.column("waveform")
    return SpeechSplit(split, utterances, list(table["text"]), lambda index: waveforms[index].values.to_numpy())


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
