"""FLEURS as it is downloaded: `train.tsv`, `dev.tsv` and `test.tsv` without a header, the recordings in `audio/`.

Columns: sentence, file, transcript as written, transcript in lower case without punctuation, its letters, samples,
gender (Conneau et al. 2022, arXiv:2205.12446). The transcript is the fourth; `corpus.columns` may name another:
`{"text": "raw_transcription"}`.
"""

from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import columns, rows, tabular
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import SPLITS, Utterance

LAYOUT = "FLEURS' train.tsv, dev.tsv and test.tsv, without a header"
_HEADER = ("sentence_id", "file_name", "raw_transcription", "transcription", "letters", "num_samples", "gender")


def recognises(root: Path) -> bool:
    """Whether a split's table has FLEURS' seven columns and no header."""
    return any(_is_fleurs(table) for _, table in _tables(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of each split's table.

    Raises:
        InputError: a line lacks a column, or the archives of recordings are not unpacked.
    """
    finder = AudioFinder(root)
    chosen = columns.chosen(_HEADER, {"text": "transcription", **source.columns}, root)
    places = {field: _HEADER.index(name) for field, name in chosen.items()}
    packed = sorted(media.visible(root, "audio/*.tar.gz"))
    if packed and not any(media.is_audio(path) for path in media.visible(root)):
        raise InputError(
            "the recordings are not unpacked", place=packed[0], remedy=f"Run: tar -xzf {packed[0].name}, for each."
        )
    for split, table in _tables(root):
        lines = tabular.complete(tabular.bar_fields(table, "\t"), _HEADER, table)
        yield from rows.utterances(lines, places, finder, root / "audio" / split, language, split)


def _tables(root: Path) -> list[tuple]:
    return [(split, root / f"{split}.tsv") for split in SPLITS if (root / f"{split}.tsv").is_file()]


def _is_fleurs(table: Path) -> bool:
    first = next(iter(tabular.head(table)), [])
    return len(first) == len(_HEADER) and first[0].isdigit() and first[5].isdigit() and media.is_audio(Path(first[1]))
