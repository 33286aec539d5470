"""What a model was trained on is recognised in whatever form it comes back, and nothing else is taken for it."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import RATE_HZ, muxed, say, sentences

from asr_adapt import audio
from asr_adapt.artifacts import Digests
from asr_adapt.console import Console
from asr_adapt.corpora import trained_on
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import FILE, Clips, TrainedOn, clip_row, text_hash
from asr_adapt.errors import InputError
from asr_adapt.records import Utterance
from asr_adapt.storage import content_digests


def voice(seed: int, seconds: float = 3.0) -> np.ndarray:
    """Return noise whose spectrum changes as speech's does: float32 (num_samples,), 16 kHz."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(int(seconds / 0.06)):
        spectrum = rng.standard_normal(481) + 1j * rng.standard_normal(481)
        formants = sum(np.exp(-(((np.arange(481) - centre) / 20) ** 2)) for centre in rng.uniform(5, 220, 3))
        pieces.append(np.fft.irfft(spectrum * (formants + 0.01) * rng.uniform(0.1, 1)))
    waveform = np.concatenate(pieces)
    return (0.5 * waveform / np.abs(waveform).max()).astype(np.float32)


def flac(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(waveform, RATE_HZ, rate_hz), rate_hz, format="FLAC")
    return audio.load(file.getvalue())


def utterance(text: str, **fields: float) -> Utterance:
    return Utterance(id="u", audio="nowhere.wav", text=text, **fields)


KNOWN = Clips(np.concatenate([clip_row(utterance(f"words {n}"), voice(n), None) for n in range(20)]))


@pytest.mark.parametrize(
    ("changed", "how"),
    [
        (lambda clip: np.round(clip * 2**15) / 2**15, "the same samples"),
        (lambda clip: flac(clip, 44_100), "encoded anew"),
        (lambda clip: flac(clip, 8_000), "encoded anew"),
        (lambda clip: audio.load(muxed(clip, "mp3", "libmp3lame", 44_100)), "encoded anew"),
        (lambda clip: audio.load(muxed(clip, "ogg", "libopus", 48_000)), "encoded anew"),
        (lambda clip: 0.2 * clip, "encoded anew"),
        (lambda clip: clip[400:-400], "encoded anew"),
    ],
)
def test_a_clip_is_recognised_after_what_people_do_to_clips(changed, how: str) -> None:  # type: ignore[no-untyped-def]
    found = KNOWN.find(clip_row(utterance("Words, 3!"), changed(voice(3)), None))
    assert found and how in found


def test_other_speech_is_not_taken_for_it() -> None:
    assert KNOWN.find(clip_row(utterance("words 3"), voice(33), None)) is None, "the same words, another recording"
    assert KNOWN.find(clip_row(utterance("words 4"), flac(voice(3), 44_100), None)) is None, "other words"
    assert KNOWN.find(clip_row(utterance("words 3"), flac(voice(3), 44_100)[:-3200], None)) is None, "much shorter"


def test_a_closed_vocabulary_does_not_look_like_one_clip() -> None:
    words = ["abc", "ea", "dab", "ŋŋe"]
    spoken = [clip_row(utterance(word), voice(n, 0.7), None) for n, word in enumerate(words * 25)]
    known = Clips(np.concatenate(spoken[:60]))
    assert not any(known.find(row) for row in spoken[60:])


def test_different_sentences_of_tones_are_different() -> None:
    spoken = [clip_row(utterance(text), say(text, n), None) for n, text in enumerate(sentences(100, seed=1))]
    known = Clips(np.concatenate(spoken[:60]))
    assert not any(known.find(row) for row in spoken[60:])
    assert all(known.find(row) for row in spoken[:60])


@pytest.mark.parametrize(
    ("start_s", "end_s", "found"), [(9, 13, True), (0, 30, True), (12.5, 14, False), (16, 20, False), (0, 60, False)]
)
def test_a_segment_is_known_where_most_of_it_was_in_others(start_s: float, end_s: float, found: bool) -> None:
    times = [(10.0, 13.0), (12.0, 12.5), (20.0, 30.0), (2.0, 9.0)]
    known = Clips(np.concatenate([clip_row(utterance("a", start_s=a, end_s=b), voice(1), "0a") for a, b in times]))
    row = clip_row(utterance("b", start_s=start_s, end_s=end_s), voice(2), "0a")
    assert bool(known.find(row)) == found
    assert not known.find(clip_row(utterance("b", start_s=start_s, end_s=end_s), voice(2), "0b"))
    assert not known.find(clip_row(utterance("b", start_s=start_s, end_s=end_s), voice(2), None))


def test_members_of_one_archive_are_different_recordings(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    one, other = (
        clip_row(Utterance(id=m, audio=f"{tmp_path}/a.zip#{m}", text=m), voice(n), "0a") for n, m in enumerate("bc")
    )
    assert Clips(one).find(one) and not Clips(one).find(other)


def test_a_text_is_its_letters() -> None:
    assert text_hash("Ñukanchik, taytá!") == text_hash(" ñukanchik tayta\u0301 ") != text_hash("nukanchik tayta")
    assert text_hash(" …") == 0


def corpus(folder: Path, count: int = 5) -> SpeechSplit:
    utterances = []
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", voice(number, 1.0), RATE_HZ)
        utterances.append(Utterance(id=f"{number}", audio=str(folder / f"{number}.wav"), text=f"t {number}"))
    return SpeechSplit.on_disk("test", utterances, str)


def record(speech: SpeechSplit) -> TrainedOn:
    digests = content_digests({u.audio for u in speech.utterances})
    return TrainedOn.of([speech], Console(quiet=True), digests)


def test_what_was_written_is_read_and_holds_no_words(tmp_path: Path) -> None:
    known = TrainedOn(record(corpus(tmp_path)).rows, "somebody/model")
    known.write(tmp_path)
    again = TrainedOn.read(tmp_path)
    assert again is not None and again.unknown == "somebody/model"
    assert (again.rows == known.rows).all() and again.digest == known.digest
    content = (tmp_path / FILE).read_bytes()
    assert b"t 3" not in content and b"3.wav" not in content


def test_rounds_of_training_add_up_and_a_clip_is_in_it_once(tmp_path: Path) -> None:
    known = record(corpus(tmp_path))
    first, second = TrainedOn(known.rows[:4]), TrainedOn(known.rows[2:], "base")
    assert len((first + second).rows) == 5 and (first + second).unknown == "base"


@pytest.mark.parametrize("damage", ["cut", "edited", "removed", "not listed", "other columns"])
def test_a_damaged_record_is_an_error(damage: str, tmp_path: Path) -> None:
    record(corpus(tmp_path)).write(tmp_path)
    Digests.of(tmp_path, [FILE]).write(tmp_path)
    path, content = tmp_path / FILE, (tmp_path / FILE).read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "not listed":
        Digests.of(tmp_path, []).write(tmp_path)
    elif damage == "other columns":
        from safetensors.numpy import save_file

        save_file({"samples": np.zeros(3, "f4")}, path)
        Digests.of(tmp_path, [FILE]).write(tmp_path)
    else:
        path.write_bytes(content[:-8] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=FILE):
        TrainedOn.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_without_digests_a_damaged_record_is_an_error_too(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=rf"{FILE}: damaged"):
        TrainedOn.read(tmp_path)


def test_a_recording_that_is_longer_than_all_that_is_known_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = record(corpus(tmp_path))
    soundfile.write(tmp_path / "long.wav", np.tile(voice(9), 30), RATE_HZ)
    soundfile.write(tmp_path / "0.wav", np.tile(voice(9), 30), RATE_HZ)
    long = [Utterance(id=n, audio=str(tmp_path / n), text="t 0") for n in ("long.wav", "0.wav")]
    monkeypatch.setattr(audio, "load", None)
    speech, found = trained_on.check(
        SpeechSplit.on_disk("test", long, str), known, "model", Console(quiet=True), allow=False
    )
    assert len(speech) == 2 and not found.left_out and found.repeated_sentences == 2


def test_unreadable_clips_are_left_to_the_evaluation(tmp_path: Path) -> None:
    speech = corpus(tmp_path)
    known = record(speech)
    (tmp_path / "2.wav").write_bytes(b"no audio")
    kept, found = trained_on.check(speech, known, "model", Console(quiet=True), allow=False)
    assert [u.id for u in kept.utterances] == ["2"] and len(found.left_out) == 4
