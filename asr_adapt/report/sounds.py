"""Recordings inside a page: Opus in data URIs, within a budget."""

import base64
from collections.abc import Sequence
from pathlib import Path

from asr_adapt import audio
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.records import Utterance

CLIPS = 200
"""maximum number of recordings in a page: those of the utterances that come first"""
AUDIO_BYTES = 15_000_000
"""maximum size of the recordings in a page, as base64: some 60 minutes"""


def speech_of(folder: Path, split: str, utterances: Sequence[Utterance], references: Sequence[str]) -> SpeechSplit:
    """Return scored utterances with their audio: of a run's prepared corpus if it holds them all, else of the corpus.

    Args:
        folder: Where they were scored; a run folder or another.
        split: That was scored.
        utterances: Of `hypotheses.jsonl`.
        references: Normalised, of each.

    Raises:
        InputError: the prepared corpus is damaged.
    """
    on_disk = SpeechSplit(split, utterances, references)
    if not (folder / "data" / f"{split}.arrow").is_file():
        return on_disk
    data = prepared.load(folder / "data", split)  # type: ignore[arg-type]
    rows = {utterance.id: row for row, utterance in enumerate(data.utterances)}
    if not all(utterance.id in rows for utterance in utterances):
        return on_disk
    return data.select([rows[utterance.id] for utterance in utterances])


def sounds(speech: SpeechSplit, first: Sequence[int]) -> dict[int, str]:
    """Return `{index: data URI}` of the utterances that come first, of those that fit and can be decoded."""
    found: dict[int, str] = {}
    left = AUDIO_BYTES
    for index in first[:CLIPS]:
        try:
            data = audio.encode_opus(speech.waveform(index))
        except InputError:  # shown without its recording; the page gives the number of recordings
            continue
        uri = "data:audio/ogg;base64," + base64.b64encode(data).decode()
        if len(uri) <= left:
            found[index] = uri
            left -= len(uri)
    return found
