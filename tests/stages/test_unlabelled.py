"""unlabelled: recordings without transcripts, cut at pauses, without what the corpus has."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, say, sentences, tone_recipe

from asr_adapt.artifacts import UnlabelledSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.errors import InputError
from asr_adapt.stages import prepare, unlabelled
from asr_adapt.workflows.plan import RunPlan

pytestmark = pytest.mark.usefixtures("tones_are_speech")
SILENCE = np.zeros(RATE_HZ, np.float32)


@pytest.fixture(scope="module")
def data(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared corpus of tones."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    plan = RunPlan.of(tone_recipe(tones))
    prepare.prepare(plan.recipe, plan.reading.utterances, plan.grid, folder, Console(quiet=True))
    return folder


def cut(source: Path, data: Path, tones: Path, *, copy_audio: bool = True) -> UnlabelledSummary:
    recipe = tone_recipe(tones, unlabelled=source)
    recipe = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"copy_audio": copy_audio})})
    plan = RunPlan.of(recipe)
    return unlabelled.cut(recipe, plan.unlabelled, data, plan.digests, plan.prepare_inputs, Console())


def record(folder: Path, number: int, texts: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    pieces = [piece for i, text in enumerate(texts) for piece in (say(text, 100 * number + i), SILENCE)]
    soundfile.write(folder / f"{number}.wav", np.concatenate(pieces), RATE_HZ)


def test_recordings_are_cut_at_their_pauses_and_prepared_beside_the_splits(
    data: Path, tones: Path, tmp_path: Path
) -> None:
    texts = sentences(6, seed=99)
    record(tmp_path / "own", 1, texts[:4])
    record(tmp_path / "own", 2, texts[4:])
    summary = cut(tmp_path / "own", data, tones)
    assert (summary.recordings, summary.segments, summary.excluded) == (2, 6, ())
    speech = prepared.load(data, "unlabelled")
    assert len(speech) == 6 and len(prepared.load(data, "train")) == 20, "the splits are still there, and whole"
    first = speech.utterances[0]
    assert first.audio == str(tmp_path / "own" / "1.wav") and first.text is None
    assert first.start_s is not None and first.end_s is not None
    whole, rate = soundfile.read(first.audio, dtype="float32")
    begin = round(first.start_s * rate)
    np.testing.assert_allclose(speech.waveform(0), whole[begin : begin + len(speech.waveform(0))], atol=1e-4)
    assert summary.hours * 3600 == pytest.approx(float(speech.durations_s.sum()))


def test_audio_that_is_not_copied_is_decoded_from_the_recordings(data: Path, tones: Path, tmp_path: Path) -> None:
    record(tmp_path / "own", 1, sentences(3, seed=98))
    cut(tmp_path / "own", data, tones)
    copied = [prepared.load(data, "unlabelled").waveform(index) for index in range(3)]
    cut(tmp_path / "own", data, tones, copy_audio=False)
    for index, waveform in enumerate(copied):
        np.testing.assert_array_equal(prepared.load(data, "unlabelled").waveform(index), waveform)


def test_what_the_corpus_has_is_left_out_and_named(
    data: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    record(own, 1, sentences(2, seed=97))
    for split in ("train", "dev", "test"):
        waveform, _ = soundfile.read(tones / "clips" / f"{split}0.wav", dtype="float32")
        soundfile.write(own / f"copy of {split}.flac", waveform, RATE_HZ)
    summary = cut(own, data, tones)
    assert summary.segments == 2
    assert {e.reason for e in summary.excluded} == {"in_corpus"} and len(summary.excluded) == 3
    assert "unlabelled: left out in_corpus × 3, the first " in capsys.readouterr().err


def test_a_stretch_of_a_recording_that_the_corpus_has_is_left_out(data: Path, tones: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "own.jsonl"
    clip = tones / "clips" / "test1.wav"
    manifest.write_text(f'{{"id": "a", "audio": "{clip}", "start_s": 0.05}}\n')
    record(tmp_path, 1, sentences(1, seed=96))
    with pytest.raises(InputError, match=r"^train\.unlabelled: no speech is left in 1 recording\. Give recordings"):
        cut(manifest, data, tones)


def test_a_recording_that_cannot_be_read_costs_itself_alone(data: Path, tones: Path, tmp_path: Path) -> None:
    record(tmp_path / "own", 1, sentences(2, seed=95))
    (tmp_path / "own" / "2.wav").write_bytes(b"no sound")
    summary = cut(tmp_path / "own", data, tones)
    assert summary.segments == 2 and [e.reason for e in summary.excluded] == ["unreadable_audio"]


def test_a_segment_of_a_word_at_most_is_left_out_and_counted(data: Path, tones: Path, tmp_path: Path) -> None:
    record(tmp_path / "own", 1, ["abc dea", "e"])
    summary = cut(tmp_path / "own", data, tones)
    assert summary.segments == 1 and [e.reason for e in summary.excluded] == ["too_short"]
    assert float(summary.excluded[0].detail.removesuffix(" s")) < unlabelled.SHORTEST_S


def test_a_folder_without_recordings_is_refused_before_anything_is_done(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    recipe = tone_recipe(tones, unlabelled=tmp_path / "empty")
    with pytest.raises(InputError, match=r"^train\.unlabelled: no audio file in here"):
        RunPlan.of(recipe)
