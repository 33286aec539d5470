"""The batched text, the single text and that of `transformers.pipeline` are one text, on trained models in fp32."""

from pathlib import Path

import pytest
from conftest import say, sentences

from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model.ctc_model import CTCModel


@pytest.fixture(scope="module")
def recordings() -> list:
    return [say(text, seed=99) for text in sentences(24, seed=11)]


def test_batched_single_and_pipeline_texts_are_identical(trained: Path, recordings: list) -> None:
    from transformers import pipeline

    transcriber = Transcriber(CTCModel.load(trained / "model"), precision="fp32")
    batched = [result.text for result in transcriber.transcribe_all(recordings)]
    single = [transcriber.transcribe(recording).text for recording in recordings]
    recognise = pipeline("automatic-speech-recognition", str(trained / "model"))
    theirs = [recognise({"raw": recording, "sampling_rate": 16_000})["text"] for recording in recordings]
    assert batched == single == theirs
    assert sum(map(bool, batched)) >= len(batched) // 2, "a model that writes nothing proves nothing"


def test_the_trained_models_read_what_is_said(trained: Path, recordings: list) -> None:
    transcriber = Transcriber.from_folder(trained / "model")
    texts = [result.text for result in transcriber.transcribe_all(recordings)]
    right = sum(text == said for text, said in zip(texts, sentences(24, seed=11), strict=True))
    assert right >= 18
