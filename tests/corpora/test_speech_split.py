"""`SpeechSplit`: a prepared split and the same corpus on disk hand out the same utterances, references and audio."""

from pathlib import Path

import numpy as np
import pytest

from asr_adapt import corpora
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import AudioError
from asr_adapt.recipe import Text
from asr_adapt.records import Utterance
from asr_adapt.text.normaliser import Normaliser


@pytest.fixture
def on_disk(tones: Path) -> SpeechSplit:
    utterances = [u for u in corpora.read(tones, "art") if u.split == "dev"]
    return SpeechSplit.on_disk("dev", utterances, Normaliser(Text(), "art"))


@pytest.fixture
def from_arrow(on_disk: SpeechSplit, tmp_path: Path) -> SpeechSplit:
    rows = [(on_disk.utterances[i], on_disk.references[i], on_disk.waveform(i)) for i in range(len(on_disk))]
    prepared.write(tmp_path, "dev", rows)
    return prepared.load(tmp_path, "dev")


def test_both_hold_the_same_utterances_references_and_waveforms(
    on_disk: SpeechSplit, from_arrow: SpeechSplit
) -> None:
    assert list(from_arrow.utterances) == list(on_disk.utterances)
    assert list(from_arrow.references) == list(on_disk.references)
    for index in range(len(on_disk)):
        assert np.array_equal(from_arrow.waveform(index), on_disk.waveform(index))
    assert np.array_equal(from_arrow.lengths, on_disk.lengths)


def test_references_are_normalised_and_the_corpus_text_is_not(on_disk: SpeechSplit) -> None:
    normalise = Normaliser(Text(), "art")
    for utterance, reference in zip(on_disk.utterances, on_disk.references, strict=True):
        assert reference == normalise(utterance.text or "") != utterance.text


def test_prepared_waveforms_are_read_only_views(from_arrow: SpeechSplit) -> None:
    waveform = from_arrow.waveform(0)
    assert not waveform.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        waveform[0] = 1


def test_a_transcriber_gets_waveforms_where_they_are_decoded_and_else_streams_the_utterance(
    on_disk: SpeechSplit, from_arrow: SpeechSplit
) -> None:
    assert list(on_disk.recordings()) == list(on_disk.utterances)
    assert all(isinstance(recording, np.ndarray) for recording in from_arrow.recordings())


def test_a_selection_has_the_order_of_its_indices(on_disk: SpeechSplit, from_arrow: SpeechSplit) -> None:
    for split in (on_disk, from_arrow):
        part = split.select([3, 1])
        assert list(part.references) == [split.references[3], split.references[1]]
        assert np.array_equal(part.waveform(0), split.waveform(3))
        assert np.array_equal(part.select([1]).waveform(0), split.waveform(1))


def test_audio_is_decoded_only_when_it_is_asked_for(tmp_path: Path) -> None:
    missing = Utterance(id="a", audio=str(tmp_path / "missing.wav"), text="A.")
    split = SpeechSplit.on_disk("test", [missing], Normaliser(Text(), "art"))
    assert split.references == ["a"] and split.recording(0) is missing
    with pytest.raises(AudioError):
        split.waveform(0)
