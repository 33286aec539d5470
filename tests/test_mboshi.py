"""Claims on real field speech: the Mboshi corpus, its folder in $ASR_ADAPT_MBOSHI."""

from collections import Counter
from pathlib import Path

import pytest

from asr_adapt import audio, corpora
from asr_adapt.console import Console
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.recipe import Corpus, Model, Recipe, Text, Train
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.workflows.run import run

pytestmark = [pytest.mark.mboshi, pytest.mark.slow]


def test_the_corpus_is_read_as_its_makers_count_it(mboshi: Path) -> None:
    utterances = corpora.read(mboshi, "mdw")
    assert Counter(u.split for u in utterances) == {"train": 3074, "dev": 200, "test": 257}
    assert {u.speaker for u in utterances} == {"abiayi", "kouarata", "martial"}


def test_normalisation_keeps_its_orthography_as_it_is(mboshi: Path) -> None:
    utterances = corpora.read(mboshi, "mdw")
    normalise = Normaliser(Text(), "mdw")
    assert all(normalise(u.text or "") == " ".join((u.text or "").split()) for u in utterances)
    alphabet = Alphabet.from_texts(normalise(u.text or "") for u in utterances if u.split == "train")
    assert len(alphabet) == 31 + 2


def test_its_sentences_leak_into_dev_and_not_into_test(mboshi: Path) -> None:
    utterances = corpora.read(mboshi, "mdw")
    found = corpora.leaks(utterances, [u.text or "" for u in utterances])
    assert Counter(leak.splits for leak in found) == {("train", "dev"): 25}


def test_every_clip_of_test_is_read_at_16_khz(mboshi: Path) -> None:
    clips = [u.audio for u in corpora.read(mboshi, "mdw") if u.split == "test"]
    hours = sum(len(audio.load(clip)) for clip in clips) / audio.SAMPLE_RATE_HZ / 3600
    assert hours == pytest.approx(0.22, abs=0.005)


def test_a_short_run_goes_through_every_stage_and_the_pipeline_reads_the_same(mboshi: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    recipe = Recipe(
        language="mdw",
        corpus=Corpus(root=mboshi, max_train_hours=0.5),
        model=Model(base="none", hidden_size=192, layers=4),
        train=Train(steps=600, batch_s=20, mask_time=0, mask_features=0, precision="fp32"),
    )
    metrics = run(recipe, tmp_path / "run", Console(quiet=True))
    assert metrics.utterances == 257 and not metrics.excluded
    assert metrics.cer < 0.95, "it has left the blank plateau"
    clips = [audio.load(u.audio) for u in corpora.read(mboshi, "mdw") if u.split == "test"][:60]
    ours = [result.text for result in Transcriber.from_folder(tmp_path / "run/model").transcribe_segments(clips)]
    recognise = pipeline("automatic-speech-recognition", str(tmp_path / "run/model"))
    assert ours == [recognise({"raw": clip, "sampling_rate": 16_000})["text"] for clip in clips]
