"""The batched text, the single text and that of `transformers.pipeline` are one text, on trained models in fp32."""

from pathlib import Path

import numpy as np
import pytest
from conftest import RATE_HZ, say, sentences

from asr_adapt import audio, bundled
from asr_adapt.audio import vad
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model.ctc_model import CTCModel


@pytest.fixture(scope="module")
def recordings() -> list:
    return [say(text, seed=99) for text in sentences(24, seed=11)]


def test_batched_single_and_pipeline_texts_are_identical(trained: Path, recordings: list) -> None:
    from transformers import pipeline

    transcriber = Transcriber(CTCModel.load(trained / "model"), precision="fp32")
    batched = [result.text for result in transcriber.transcribe_segments(recordings)]
    single = [next(transcriber.transcribe_segments([recording])).text for recording in recordings]
    recognise = pipeline("automatic-speech-recognition", str(trained / "model"))
    theirs = [recognise({"raw": recording, "sampling_rate": 16_000})["text"] for recording in recordings]
    assert batched == single == theirs
    assert sum(map(bool, batched)) >= len(batched) // 2, "a model that writes nothing proves nothing"


def test_a_recording_is_read_segment_by_segment_as_the_pipeline_reads_each(clips: list[Path]) -> None:
    from transformers import pipeline

    base = bundled.folder("base_small")
    transcriber = Transcriber(CTCModel.load(base), precision="fp32")
    recognise = pipeline("automatic-speech-recognition", str(base))
    pause = np.zeros(RATE_HZ, np.float32)
    recording = np.concatenate([part for clip in clips[:3] for part in (audio.load(clip), pause)])
    segments = [waveform for _, waveform in vad.segments([recording])]
    theirs = [recognise({"raw": waveform, "sampling_rate": RATE_HZ})["text"] for waveform in segments]
    assert len(segments) >= 3 and [s.text for s in transcriber.transcribe((recording, RATE_HZ)).segments] == theirs


def test_a_clip_of_one_sentence_is_read_whole(clips: list[Path]) -> None:
    transcriber = Transcriber(CTCModel.load(bundled.folder("base_small")), precision="fp32")
    whole = [result.text for result in transcriber.transcribe_segments(clips)]
    assert [result.text for result in transcriber.transcribe_all(clips)] == whole


def test_the_trained_models_read_what_is_said(trained: Path, recordings: list) -> None:
    transcriber = Transcriber.from_folder(trained / "model")
    texts = [result.text for result in transcriber.transcribe_segments(recordings)]
    right = sum(text == said for text, said in zip(texts, sentences(24, seed=11), strict=True))
    assert right >= 18
