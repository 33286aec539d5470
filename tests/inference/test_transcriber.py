"""The transcriber: inputs of every kind, batches, long recordings, errors for one item alone."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import RATE_HZ, say

from asr_adapt import audio, bundled, corpora
from asr_adapt.errors import AudioError, InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Transcript, Utterance
from asr_adapt.scoring import error_rates


@pytest.fixture(scope="module")
def transcriber(trained: Path) -> Transcriber:
    return Transcriber.from_folder(trained / "model")


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    return say("ab cde bad", seed=3)


@pytest.mark.usefixtures("tones_are_speech")
def test_a_path_bytes_a_stream_an_array_and_an_utterance_give_one_text(
    transcriber: Transcriber, spoken: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a b.wav"
    soundfile.write(path, spoken, RATE_HZ, subtype="FLOAT")
    inputs = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), (spoken, RATE_HZ),
              {"raw": spoken, "sampling_rate": RATE_HZ}, {"array": spoken, "sampling_rate": RATE_HZ, "path": None},
              Utterance(id="x", audio=str(path))]  # fmt: skip
    texts = {transcriber.transcribe(recording).text for recording in inputs}
    assert len(texts) == 1 and texts != {""}


@pytest.mark.usefixtures("tones_are_speech")
def test_a_piece_of_a_longer_recording_is_read_alone(
    transcriber: Transcriber, spoken: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    silence = np.zeros(RATE_HZ, np.float32)
    soundfile.write(path, np.concatenate([silence, spoken, silence]), RATE_HZ, subtype="FLOAT")
    piece = Utterance(id="x", audio=str(path), start_s=1.0, end_s=1.0 + len(spoken) / RATE_HZ)
    assert transcriber.transcribe(piece).text == transcriber.transcribe((spoken, RATE_HZ)).text


@pytest.mark.usefixtures("tones_are_speech")
def test_an_array_of_another_rate_is_resampled(transcriber: Transcriber, spoken: np.ndarray) -> None:
    at_48_khz = soxr.resample(spoken, RATE_HZ, 48_000)
    transcript = transcriber.transcribe((at_48_khz, 48_000))
    assert transcript.text == transcriber.transcribe((spoken, RATE_HZ)).text != ""
    assert transcript.duration_s == pytest.approx(len(spoken) / RATE_HZ, abs=0.001)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros(16_000, np.float32),
        (16_000, np.zeros(16_000, np.float32)),
        {"raw": np.zeros(16_000, np.float32)},
        {"sampling_rate": 16_000},
        (np.zeros(16_000, np.float32), "16000"),
    ],
)
def test_an_array_without_its_sampling_rate_is_refused(transcriber: Transcriber, given: object) -> None:
    with pytest.raises(InputError, match="sampling_rate"):
        transcriber.transcribe(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_nan_is_an_error_and_never_text(transcriber: Transcriber, value: float) -> None:
    def damaged(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.full((49, len(transcriber.model.alphabet)), value, np.float32) for _ in waveforms]

    broken = Transcriber(transcriber.model, engine=damaged)
    with pytest.raises(InputError, match="NaN or infinite"):
        list(broken.transcribe_segments([np.zeros(16_000, np.float32)]))
    with pytest.raises(InputError, match="NaN or infinite"):
        broken.frames(np.zeros(16_000, np.float32))


def test_an_engine_of_another_alphabet_is_refused(transcriber: Transcriber) -> None:
    other = Transcriber(
        transcriber.model, engine=lambda waveforms: [np.zeros((49, 3), np.float32) for _ in waveforms]
    )
    with pytest.raises(InputError, match=r"shape \(49, 3\), the alphabet"):
        list(other.transcribe_segments([np.zeros(16_000, np.float32)]))


@pytest.mark.usefixtures("tones_are_speech")
def test_one_bad_item_fails_alone_and_order_is_kept(transcriber: Transcriber, spoken: np.ndarray) -> None:
    other = say("dad")
    results = list(
        transcriber.transcribe_all(
            [(spoken, RATE_HZ), b"no audio", (other, RATE_HZ), Path("nowhere.wav"), (spoken, RATE_HZ)]
        )
    )
    assert [isinstance(result, InputError) for result in results] == [False, True, False, True, False]
    assert results[0].text == results[4].text != results[2].text


def test_one_bad_recording_raises(transcriber: Transcriber) -> None:
    with pytest.raises(AudioError):
        transcriber.transcribe(b"")


def test_an_array_with_nan_is_refused(transcriber: Transcriber) -> None:
    with pytest.raises(AudioError, match="NaN"):
        transcriber.transcribe((np.full(1000, np.nan, np.float32), RATE_HZ))


def test_an_array_of_another_shape_is_refused(transcriber: Transcriber) -> None:
    with pytest.raises(InputError, match="one channel"):
        transcriber.transcribe((np.zeros((2, 16_000), np.float32), RATE_HZ))


@pytest.mark.parametrize("samples", [1, 399, 400, 16_000])
def test_silence_has_no_text_and_no_segments(transcriber: Transcriber, samples: int) -> None:
    transcript = transcriber.transcribe((np.zeros(samples, np.float32), RATE_HZ))
    assert transcript.duration_s == pytest.approx(samples / RATE_HZ)
    assert transcript.text == "" and transcript.segments == () and list(transcript.words) == []


@pytest.mark.parametrize("samples", [1, 399])
def test_a_segment_shorter_than_a_frame_has_no_text(transcriber: Transcriber, samples: int) -> None:
    (transcript,) = transcriber.transcribe_segments([(np.full(samples, 0.5, np.float32), RATE_HZ)])
    assert isinstance(transcript, Transcript) and transcript.text == ""


@pytest.mark.usefixtures("tones_are_speech")
def test_words_lie_in_order_inside_the_recording(transcriber: Transcriber, spoken: np.ndarray) -> None:
    transcript = transcriber.transcribe((spoken, RATE_HZ))
    assert [word.text for word in transcript.words] == transcript.text.split()
    times = [time for word in transcript.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= transcript.duration_s + 0.02
    assert all(0 <= word.confidence <= 1 for word in transcript.words)


@pytest.mark.usefixtures("tones_are_speech")
def test_word_times_are_near_where_the_tones_are(transcriber: Transcriber) -> None:
    transcript = transcriber.transcribe((say("bad cab"), RATE_HZ))
    assert transcript.text == "bad cab"
    # A letter lasts 80 ms and the recording begins and ends with a silent one.
    starts = [word.start_s for word in transcript.words]
    assert starts == pytest.approx([0.08, 0.40], abs=0.1)


def test_a_long_recording_gives_the_words_of_its_clips_at_their_times() -> None:
    """Speech of many voices with pauses between, read by the base model in phones."""
    phones = Transcriber.from_folder(bundled.folder("base_small"))
    clips = [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:12]]
    recording, begins, ends = [np.zeros(0, np.float32)], [], []
    for number, clip in enumerate(clips):
        recording.append(np.zeros(int((0.7 + number % 3) * RATE_HZ), np.float32))
        begins.append(sum(map(len, recording)) / RATE_HZ)
        recording.append(clip)
        ends.append(sum(map(len, recording)) / RATE_HZ)
    whole = phones.transcribe((np.concatenate(recording), RATE_HZ))
    assert whole.duration_s == pytest.approx(ends[-1]) and whole.duration_s > 30
    starts = [word.start_s for word in whole.words]
    assert starts == sorted(starts)
    alone, inside = [], []
    for begin, end, clip in zip(begins, ends, clips, strict=True):
        alone.append(phones.transcribe((clip, RATE_HZ)).text.replace(" ", ""))
        inside.append("".join(w.text for w in whole.words if begin - 0.1 <= w.start_s < end + 0.1))
    assert sum(map(len, inside)) == sum(len(word.text) for word in whole.words), "words lie in clips, not in pauses"
    rate = error_rates.rate([error_rates.character_errors(*pair) for pair in zip(alone, inside, strict=True)])
    assert rate < 0.15, "the same phones but for those that a little silence more or less changes"


def test_nothing_is_read_where_nobody_speaks() -> None:
    phones = Transcriber.from_folder(bundled.folder("base_small"))
    for length_s in (0.1, 3, 60):
        noise = 0.02 * np.random.default_rng(0).standard_normal(int(length_s * RATE_HZ)).astype(np.float32)
        transcript = phones.transcribe((noise, RATE_HZ))
        assert transcript.text == "" and transcript.segments == ()
        assert transcript.duration_s == length_s


@pytest.mark.parametrize("pause_s", [0.5, 1, 3, 8])
def test_a_pause_separates_words_as_if_each_sentence_were_read_alone(pause_s: float) -> None:
    phones = Transcriber.from_folder(bundled.folder("base_small"))
    clips = [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:4]]
    pause = np.zeros(int(pause_s * RATE_HZ), np.float32)
    for first, second in zip(clips[::2], clips[1::2], strict=True):
        together = phones.transcribe((np.concatenate([first, pause, second]), RATE_HZ))
        alone = " ".join(phones.transcribe((clip, RATE_HZ)).text for clip in (first, second))
        rate = error_rates.rate([error_rates.character_errors(alone, together.text)])
        assert rate < 0.15, "the same phones but for those that a little silence more or less changes"
        begin_s, end_s = len(first) / RATE_HZ, (len(first) + len(pause)) / RATE_HZ
        assert not [word for word in together.words if word.start_s < begin_s - 0.2 and word.end_s > end_s + 0.2]


def test_silence_after_the_last_sentence_of_a_long_recording_adds_no_word() -> None:
    phones = Transcriber.from_folder(bundled.folder("base_small"))
    clips = [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:15]]
    spoken = np.concatenate([part for clip in clips for part in (clip, np.zeros(RATE_HZ // 2, np.float32))])
    assert len(spoken) > 30 * RATE_HZ
    last = audio_end = len(spoken) / RATE_HZ
    for rest_s in (0, 0.1, 0.3, 0.7, 2, 5):
        recording = np.concatenate([spoken, np.zeros(int(rest_s * RATE_HZ), np.float32)])
        words = phones.transcribe((recording, RATE_HZ)).words
        assert words and words[-1].end_s < audio_end
        last = last if rest_s else words[-1].end_s
        assert words[-1].end_s == pytest.approx(last, abs=0.3)


@pytest.mark.usefixtures("tones_are_speech")
def test_many_threads_get_the_answers_of_one(transcriber: Transcriber) -> None:
    recordings = [(say(text), RATE_HZ) for text in ("ab", "cde bad", "dad", "eab cab")]
    serial = [transcriber.transcribe(recording) for recording in recordings]
    answers: dict[int, Transcript] = {}

    def ask(index: int) -> None:
        answers[index] = transcriber.transcribe(recordings[index % 4])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[i].text for i in range(12)] == [serial[i % 4].text for i in range(12)]


@pytest.mark.usefixtures("tones_are_speech")
def test_results_come_before_the_whole_input_is_read(transcriber: Transcriber) -> None:
    eager = Transcriber(transcriber.model, look_ahead_s=2)
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield say("bad"), RATE_HZ

    assert next(eager.transcribe_all(endless())).text
    assert asked < 20


def test_a_known_text_is_aligned_in_its_own_spelling_line_by_line(transcriber: Transcriber) -> None:
    text, silence = "ab cde bad", np.zeros(RATE_HZ, np.float32)
    waveform = np.concatenate([silence, say(text), silence])
    aligned = transcriber.align((waveform, RATE_HZ), ["Ab – CDE,", "", "bad!"])
    assert [segment.text for segment in aligned.segments] == ["Ab – CDE,", "bad!"]
    assert [word.text for word in aligned.words] == ["Ab –", "CDE,", "bad!"]
    # A letter of the language of tones lasts 80 ms, and a space comes first.
    starts = [1 + 0.08 * (1 + text.index(word)) for word in text.split()]
    ends = [start + 0.08 * len(word) for start, word in zip(starts, text.split(), strict=True)]
    for word, start, end in zip(aligned.words, starts, ends, strict=True):
        assert word.start_s == pytest.approx(start, abs=0.08) and word.end_s == pytest.approx(end, abs=0.08)
        assert 0 <= word.confidence <= 1
    assert aligned.segments[1].start_s == aligned.words[2].start_s


def test_alignment_skips_the_silence_of_a_long_recording() -> None:
    phones = Transcriber.from_folder(bundled.folder("base_small"))
    clips = [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:2]]
    silence = np.zeros(40 * RATE_HZ, np.float32)
    said = [phones.transcribe((clip, RATE_HZ)).text for clip in clips]
    aligned = phones.align((np.concatenate([clips[0], silence, clips[1]]), RATE_HZ), said)
    first, second = aligned.segments
    length_s = len(clips[0]) / RATE_HZ
    assert 0 <= first.start_s < first.end_s <= length_s + 0.1
    assert length_s + 39.9 <= second.start_s < second.end_s <= aligned.duration_s + 0.1
    assert [segment.text for segment in aligned.segments] == said


def test_a_text_that_cannot_be_aligned_is_one_line(transcriber: Transcriber) -> None:
    with pytest.raises(InputError, match="no word in the text"):
        transcriber.align((say("ab"), RATE_HZ), ["", " – "])
    with pytest.raises(InputError, match="not in the alphabet"):
        transcriber.align((say("ab"), RATE_HZ), ["xyz"])
    with pytest.raises(InputError, match="frames cannot write"):
        transcriber.align((say("a"), RATE_HZ), ["abcde " * 20])
