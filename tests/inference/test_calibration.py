"""Calibrated confidence of words: fitted on dev, kept with the model, applied however a text is decoded."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import sentences

from asr_adapt.artifacts import Calibration, Calibrations, ModelMetadata, NGramWeights
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.inference.calibration import DevOutputs, calibrate, outcomes
from asr_adapt.inference.decoding import Decoding
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import ngram_file
from asr_adapt.records import Utterance
from asr_adapt.text.alphabet import Alphabet

ALPHABET = Alphabet(("<pad>", "|", *"abcde", "ŋ"))
GREEDY, WITH_NGRAM = Calibration(slope=0.7, intercept=-0.5, words=300), Calibration(slope=0, intercept=2, words=300)


def heard(texts: list[str], seed: int = 0) -> list[np.ndarray]:
    """Return log-probs of models that are right about each letter as often as they say: .5 to 1."""
    rng = np.random.default_rng(seed)
    outputs = []
    for text in texts:
        frames = []
        for label in ALPHABET.encode(text):
            sure = rng.uniform(0.5, 1)
            written = label if label == 1 or rng.random() < sure else 2 + (label - 1) % 6
            scores = np.full(len(ALPHABET), (1 - sure) / (len(ALPHABET) - 1))
            scores[written] = sure
            blank = np.full(len(ALPHABET), 1e-4)
            blank[0] = 1
            frames += [scores, blank]
        outputs.append(np.log(np.maximum(frames, 1e-9)).astype(np.float32))
    return outputs


def test_probabilities_of_words_that_are_honest_stay_nearly_as_they_are() -> None:
    texts = sentences(400, seed=1)
    dev = DevOutputs(heard(texts), texts)
    found = outcomes(dev, ALPHABET, ctc.greedy)
    assert len(found) == sum(len(text.split()) for text in texts) and any(not one.right for one in found)
    calibration = calibrate(dev, ALPHABET, ctc.greedy, Console(quiet=True))
    assert calibration is not None and calibration.words == len(found)
    assert all(calibration.of(p) == pytest.approx(p, abs=0.08) for p in (0.1, 0.3, 0.5, 0.7, 0.9))
    assert calibrate(dev, ALPHABET, ctc.greedy, Console(quiet=True)) == calibration


def test_with_few_words_of_dev_confidence_is_not_calibrated_and_it_is_said(capsys: pytest.CaptureFixture) -> None:
    texts = sentences(10, seed=1)
    assert calibrate(DevOutputs(heard(texts), texts), ALPHABET, ctc.greedy, Console()) is None
    assert "word confidence is not calibrated: " in (said := " ".join(capsys.readouterr().err.split()))
    assert "words were written on dev, and it takes 100" in said
    few = replace(DevOutputs(heard(texts), texts), name="cross-validation")
    assert calibrate(few, ALPHABET, ctc.greedy, Console()) is None
    assert "words were written on cross-validation, and" in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def calibrated(phones: Transcriber) -> Transcriber:
    model = replace(phones.model, calibrations=Calibrations(greedy=GREEDY, with_ngram=WITH_NGRAM))
    return Transcriber(model, precision="fp32")


def test_calibration_changes_confidence_alone_and_keeps_the_order(
    phones: Transcriber, calibrated: Transcriber, clips: list[Path]
) -> None:
    before, after = ([*each.transcribe_segments(clips[:4])] for each in (phones, calibrated))
    for raw, mapped in zip(before, after, strict=True):
        assert [replace(word, confidence=0) for word in raw.words] == [
            replace(word, confidence=0) for word in mapped.words
        ]
        assert all(0 <= word.confidence <= 1 for word in mapped.words)
    assert {w.confidence for r in before for w in r.words} != {w.confidence for r in after for w in r.words}
    (_, log_probs, _) = calibrated.frames(clips[0])
    (text,) = [" ".join(word.text for word in after[0].words)]
    found = outcomes(DevOutputs([log_probs], [text]), calibrated.model.alphabet, ctc.greedy)
    expected = [GREEDY.of(one.confidence) for one in found]
    assert [word.confidence for word in after[0].words] == pytest.approx(expected, abs=1e-3)


def test_confidence_is_the_same_alone_and_in_a_batch(calibrated: Transcriber, clips: list[Path]) -> None:
    batched = [[w.confidence for w in r.words] for r in calibrated.transcribe_segments(clips)]
    single = [[w.confidence for w in next(calibrated.transcribe_segments([clip])).words] for clip in clips]
    for one, other in zip(batched, single, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_the_calibration_is_that_of_the_way_to_decode(calibrated: Transcriber) -> None:
    assert calibrated.calibration == GREEDY
    with_ngram = Transcriber(calibrated.model, decoding=Decoding(100, NGramWeights()))
    assert with_ngram.calibration == WITH_NGRAM
    assert Transcriber(calibrated.model, decoding=Decoding(100, hotwords=("ka",))).calibration == GREEDY


def test_times_of_a_known_text_keep_the_fit_of_its_letters(
    phones: Transcriber, calibrated: Transcriber, clips: list[Path]
) -> None:
    text = phones.transcribe(clips[0]).text
    assert calibrated.align(clips[0], [text]) == phones.align(clips[0], [text])


def test_calibrations_are_kept_with_the_model_and_an_n_gram_brings_its_own(
    calibrated: Transcriber, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    calibrated.model.save(folder)
    assert ModelMetadata.read(folder).calibrations == Calibrations(greedy=GREEDY, with_ngram=WITH_NGRAM)
    ngram_file.write(folder, "\\data\\\n", NGramWeights())
    assert ModelMetadata.read(folder).calibrations == Calibrations(greedy=GREEDY)
    fields = json.loads((folder / "asr_adapt.json").read_text())
    assert fields.pop("calibrations") and fields["format_version"] == 1
    (folder / "digests.json").unlink()
    (folder / "asr_adapt.json").write_text(json.dumps(fields))
    assert ModelMetadata.read(folder).calibrations == Calibrations(), "a model of an older version"


def test_dev_is_run_evenly_spaced(calibrated: Transcriber, clips: list[Path]) -> None:
    utterances = [Utterance(id=str(number), audio=str(clip)) for number, clip in enumerate(clips)]
    dev = SpeechSplit("dev", utterances, [str(number) for number in range(len(clips))])
    found = DevOutputs.of(calibrated.model, dev, Console(quiet=True), "fp32")
    assert len(found.log_probs) == len(clips) and found.references == list(dev.references)
