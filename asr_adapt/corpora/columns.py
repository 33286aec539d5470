"""Columns of tables and data sets: which one holds the audio, which the transcript."""

import difflib
from collections.abc import Mapping, Sequence

from asr_adapt.errors import InputError

# The first that a header has is taken, whatever its case.
KNOWN = {
    "id": ("id", "utt_id", "utterance_id"),
    "audio": ("audio", "path", "file", "file_name", "filename", "wav", "audio_path", "audio_file", "audio_filepath",
              "wav_filename", "filepath", "clip"),
    "text": ("text", "sentence", "transcript", "transcription", "raw_transcription", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id", "spk"),
    "split": ("split", "partition", "set"),
    "language": ("language", "lang", "locale"),
    "start_s": ("start_s", "start"),
    "end_s": ("end_s", "end"),
    "duration_s": ("duration_s",),
}  # fmt: skip
NEEDED = ("audio", "text")


def chosen(header: Sequence[str], named: Mapping[str, str], place: object) -> dict[str, str]:
    """Return field → column, for the fields that a header has.

    Args:
        header: The columns' names.
        named: Field → column, as the recipe's `columns` says it.
        place: For errors.

    Raises:
        InputError: audio or text has no column, or a named column is not there.
    """
    if unknown := sorted(named.keys() - KNOWN.keys()):
        raise InputError(f"no field '{unknown[0]}'", place="corpus.columns", remedy=f"Known are: {', '.join(KNOWN)}.")
    lower = {name.strip().lower(): name for name in header}
    found = {field: next((lower[name] for name in names if name in lower), None) for field, names in KNOWN.items()}
    columns = {field: name for field, name in found.items() if name is not None} | dict(named)
    for field in (*NEEDED, *named):
        if columns.get(field) not in header:
            wanted = [name.lower() for name in (columns.get(field), *KNOWN[field]) if name]
            near = {n for name in wanted for n in difflib.get_close_matches(name, lower, n=1, cutoff=0.8)}
            offered = f"Is it {' or '.join(repr(lower[name]) for name in sorted(near))}? " if near else ""
            raise InputError(
                f"no column for {field}: the header is {list(header)!r}",
                place=place,
                remedy=f'{offered}Name it {KNOWN[field][0]}, or say --corpus.columns \'{{"{field}": "COLUMN"}}\'.',
            )
    return columns
