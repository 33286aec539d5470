"""The lm stage: an n-gram beside a model, and weights tuned on dev."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE_HZ, say, sentences

from asr_adapt import corpora
from asr_adapt.artifacts import NGramWeights
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.decoding.beam_search import BeamSearch
from asr_adapt.errors import InputError
from asr_adapt.inference.calibration import DevOutputs
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import forward, ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.scoring.error_rates import word_errors
from asr_adapt.stages import lm
from asr_adapt.workflows.model_folder import add_ngram, evaluate_folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A trained run of one's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def blurred(run_folder: Path) -> DevOutputs:
    """Dev as a model hears it that takes every third c for a d."""
    model = CTCModel.load(run_folder / "model")
    rng = np.random.default_rng(0)
    texts = sentences(60, seed=7)
    said = [forward.log_probs(model, [say(text, number)])[0].copy() for number, text in enumerate(texts)]
    c, d = (model.alphabet.encode(letter)[0] for letter in "cd")
    for scores in said:
        for frame in np.flatnonzero((scores.argmax(1) == c) & (rng.random(len(scores)) < 1 / 3)):
            scores[frame, [c, d]] = np.log(0.45), np.log(0.5)
    return DevOutputs(said, texts)


def test_dev_chooses_weights_with_which_it_has_fewer_errors(run_folder: Path, blurred: DevOutputs) -> None:
    model = CTCModel.load(run_folder / "model")
    read = [model.alphabet.decode(run.label for run in ctc.greedy(scores)) for scores in blurred.log_probs]
    assert read != blurred.references
    weights = lm.lm(run_folder / "model", sentences(60, seed=7), 3, blurred, Console(quiet=True))
    assert weights is not None and weights.alpha > 0
    transcriber = Transcriber.from_folder(run_folder / "model")
    assert transcriber.decoding.describe() == weights.describe()
    found, kept = ngram_file.read(run_folder / "model") or (None, None)
    assert kept == weights
    search = BeamSearch(model.alphabet, found, weights)
    wrong = sum(search.text(s) != text for s, text in zip(blurred.log_probs, blurred.references, strict=True))
    assert wrong < sum(text != reference for text, reference in zip(read, blurred.references, strict=True))


def test_letters_are_weighed_where_that_lowers_the_errors_on_dev(run_folder: Path, blurred: DevOutputs) -> None:
    """Every word of dev is unknown to the n-gram, and has the letters of those that it knows."""
    model = CTCModel.load(run_folder / "model")
    known = {word for text in blurred.references for word in text.split()}
    like_them = sorted({word + word[0] for word in known} | {word[-1] + word for word in known} - known)
    weights = lm.lm(run_folder / "model", [" ".join(like_them)], 2, blurred, Console(quiet=True))
    assert weights is not None and weights.letters > 0
    assert f"letters {weights.letters:g} with bonus" in weights.describe()
    found, kept = ngram_file.read(run_folder / "model") or (None, None)
    assert kept == weights and found is not None
    with_letters = BeamSearch(model.alphabet, found, weights)
    without = BeamSearch(model.alphabet, found, weights.model_copy(update={"letters": 0.0}))

    def wrong(search: BeamSearch) -> int:
        pairs = zip(blurred.log_probs, blurred.references, strict=True)
        return sum(word_errors(reference, search.text(scores)).total for scores, reference in pairs)

    assert wrong(with_letters) < wrong(without)


def test_the_n_gram_can_be_turned_off(run_folder: Path) -> None:
    lm.lm(run_folder / "model", ["ab cde"], 2, None, Console(quiet=True))
    with_it, without = (Transcriber.from_folder(run_folder / "model", use_ngram=use) for use in (True, False))
    assert with_it.search is not None and without.search is None
    assert without.decoding.describe() == "greedy; the model's n-gram is turned off"


def test_a_dev_clip_of_less_than_a_frame_is_heard_as_nothing(run_folder: Path) -> None:
    model = CTCModel.load(run_folder / "model")
    clips = [say("ab", 0), np.zeros(model.shortest_clip - 1, np.float32)]
    utterances = [Utterance(id=name, audio=name) for name in ("whole", "short")]
    dev = SpeechSplit("dev", utterances, ["ab", "cd"], clips.__getitem__)
    heard = DevOutputs.of(model, dev, Console(quiet=True))
    assert len(heard.log_probs[0]) and not len(heard.log_probs[1])
    with_ngram = lm.lm(run_folder / "model", ["ab cd"], 2, heard, Console(quiet=True))
    assert with_ngram is None, "the clip has no frames, so an n-gram cannot help it"


def test_weights_are_not_tuned_on_fewer_than_100_words_and_it_is_said(
    run_folder: Path, blurred: DevOutputs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.delattr(lm, "tune")
    few = DevOutputs(blurred.log_probs[:20], blurred.references[:20])
    assert few.words < 100 <= blurred.words
    assert lm.lm(run_folder / "model", sentences(60, seed=7), 3, few, Console()) in (NGramWeights(), None)
    assert f"dev has {few.words} words, fewer than the 100 that choose n-gram weights" in capfd.readouterr().err


def test_an_n_gram_that_does_not_help_is_not_used(run_folder: Path, capfd: pytest.CaptureFixture) -> None:
    model = CTCModel.load(run_folder / "model")
    texts = sentences(20, seed=1)
    sure = []
    for text in texts:
        labels = model.alphabet.encode(text)
        scores = np.full((2 * len(labels), len(model.alphabet)), np.log(1e-4), np.float32)
        scores[np.arange(0, len(scores), 2), labels] = 0
        scores[np.arange(1, len(scores), 2), 0] = 0
        sure.append(scores)
    heard = DevOutputs(sure, texts)
    assert lm.lm(run_folder / "model", ["eee eee", "ŋŋŋ"], 2, heard, Console()) is None
    assert "does not lower the WER on dev: the model is unchanged" in capfd.readouterr().err
    assert ngram_file.read(run_folder / "model") is None


def test_a_run_s_training_text_and_dev_split_are_used(run_folder: Path, tones: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra.txt"
    extra.write_text("\ufeffBad dad.\r\nA dead bee\r\n", encoding="utf-8")
    add_ngram(run_folder / "model", [extra], 2, None, Console(quiet=True))
    if (beside := ngram_file.read(run_folder / "model")) is not None:
        vocabulary = beside[0].read_text(encoding="utf-8")
        assert "\tbee\t" in vocabulary
        assert f"\t{corpora.read(tones, 'art')[0].text.lower().rstrip('.').split()[0]}\t" in vocabulary
    metrics = evaluate_folder(
        run_folder / "model", Source(root=tones), "test", tmp_path / "scored", Console(quiet=True)
    )
    assert metrics.decoding.startswith("beam search" if beside else "greedy")


def test_a_model_alone_takes_the_usual_weights_and_says_so(
    run_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    alone = Path(shutil.copytree(run_folder / "model", tmp_path / "alone" / "model"))
    text = tmp_path / "text.txt"
    text.write_text("ab\ncde\n", encoding="utf-8")
    add_ngram(alone, [text], 2, None, Console())
    assert "default n-gram weights" in capfd.readouterr().err
    assert ngram_file.read(alone) == (alone / "lm.arpa", NGramWeights())


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_text_that_is_missing_empty_or_not_utf_8_is_one_line(
    content: bytes | None, run_folder: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(run_folder / "model", tmp_path / "alone" / "model"))
    before = (alone / "asr_adapt.json").read_bytes()
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read|no word to learn from|not UTF-8"):
        add_ngram(alone, [text], 2, None, Console(quiet=True))
    assert (alone / "asr_adapt.json").read_bytes() == before and not (alone / "lm.arpa").exists()


def test_a_missing_or_damaged_n_gram_is_one_line(run_folder: Path) -> None:
    ngram_file.write(run_folder / "model", "no arpa at all\n", NGramWeights())
    with pytest.raises(InputError, match="not an ARPA n-gram"):
        Transcriber.from_folder(run_folder / "model")
    (run_folder / "model" / "lm.arpa").unlink()
    with pytest.raises(InputError, match=r"lm\.arpa: cannot be read .*Copy the model again"):
        Transcriber.from_folder(run_folder / "model")


@pytest.mark.usefixtures("tones_are_speech")
def test_where_the_decoder_does_not_run_it_is_greedy_and_said(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm.lm(run_folder / "model", ["ab cde"], 2, None, Console(quiet=True))

    def old_glibc(*_: object, **__: object) -> None:
        raise OSError("version `GLIBC_2.35' not found")

    monkeypatch.setattr("ctc_beam_decoder.BeamSearchDecoder.__init__", old_glibc)
    transcriber = Transcriber.from_folder(run_folder / "model")
    assert (
        transcriber.decoding.describe() == "greedy, since ctc-beam-decoder does not run here: the n-gram is not used"
    )
    assert transcriber.transcribe((say("ab cde"), RATE_HZ)).text
