"""rank: a base that knows the language is nearest, one that knows nothing is far, and nonsense is called so."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tone_recipe, write_corpus

from asr_adapt import corpora
from asr_adapt.artifacts import BaseScores, LayerScores, RankedBase, Ranking
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe
from asr_adapt.stages import rank as stage
from asr_adapt.stages.rank import rank, recommendation
from asr_adapt.storage import content_digests
from asr_adapt.training import layer_probes


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", train=40, dev=20)


@pytest.fixture(autouse=True)
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_probes, "STEPS", 50)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["layer"], indirect=True)
def test_a_base_that_was_trained_on_the_language_is_nearest_and_an_untrained_one_is_far(
    base: Path, trained: Path, corpus: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_probes, "STEPS", 16)  # with 50, random weights tell tones apart as well
    bases = [str(base), str(trained / "model")]
    found = rank(tone_recipe(corpus), bases, tmp_path / "out", console, minutes=1)
    first, last = found.bases
    assert first.name == str(trained / "model") and first.cer < last.cer
    assert not first.is_far and last.is_far and last.against_best[1] > 0
    assert found.recommendation.startswith(f"{first.name} is nearest.")
    assert f"{base}: no better than random weights" in found.recommendation
    assert first.known_letters == 1 and last.known_letters == 0
    assert all(one.training_s_per_hour > 0 and one.memory_gb > 0 for one in found.bases)
    assert [layer.layer for layer in first.layers] == [1, 2]
    assert Ranking.read_file(tmp_path / "out" / "rank.json", "") == found

    monkeypatch.setattr(stage, "_measure", None)  # resumed: nothing is measured twice
    assert rank(tone_recipe(corpus), bases[::-1], tmp_path / "out", console, minutes=1) == found


def deaf(base: Path, folder: Path) -> Path:
    """Return a copy of a base whose transformer gets nothing of what is said."""
    from transformers import Wav2Vec2ForCTC

    shutil.copytree(base, folder)
    net = Wav2Vec2ForCTC.from_pretrained(folder)
    with torch.no_grad():
        net.wav2vec2.feature_projection.projection.weight.zero_()
    net.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("base", ["layer"], indirect=True)
def test_a_deaf_base_is_far_and_the_ranking_is_kept(
    base: Path, corpus: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = [str(deaf(base, tmp_path / "deaf")), str(base)]
    own = {bases[1]: corpus / "clips"}

    def rank(recipe: Recipe, bases: list[str], *given: Any, **more: Any) -> Ranking:
        return stage.rank(recipe, bases, *given, **more, samples=own)

    found = rank(tone_recipe(corpus), bases, tmp_path / "out", console, minutes=1)
    first, last = found.bases
    assert first.similarity is not None and first.similarity > 0.5 and last.similarity is None
    # Its own speech is here that of the corpus.
    assert all(layer.distance is not None and layer.distance < 0.5 for layer in first.layers)
    assert (first.name, last.name) == (bases[1], bases[0])
    assert last.is_far and last.against_best[1] > 0 and first.against_best == (0, 0, 0)
    assert all(one.training_s_per_hour > 0 and one.memory_gb > 0 for one in found.bases)
    assert [layer.layer for layer in first.layers] == [1, 2]
    assert first.cer == pytest.approx(min(layer.cer for layer in first.layers), abs=0.2)
    assert Ranking.read_file(tmp_path / "out" / "rank.json", "") == found
    assert len(list((tmp_path / "out").glob("*.json"))) == 4, "two bases, one architecture, the ranking"

    monkeypatch.setattr(stage, "_measure", None)  # resumed: nothing is measured twice
    assert rank(tone_recipe(corpus), bases[::-1], tmp_path / "out", console, minutes=1) == found

    batches = tone_recipe(corpus, batch_s=2 * (tone_recipe(corpus).train.batch_s or 100.0))
    larger = rank(batches, bases, tmp_path / "out", console, minutes=1)
    assert all(one.memory_gb > before.memory_gb for one, before in zip(larger.bases, found.bases, strict=True))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    # Its times are those of another machine.
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        rank(tone_recipe(corpus), bases, tmp_path / "out", console, minutes=1)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["layer"], indirect=True)
def test_where_no_probe_learns_anything_the_transcripts_are_in_doubt(
    base: Path, corpus: Path, tmp_path: Path, console: Console
) -> None:
    bases = [str(deaf(base, tmp_path / name)) for name in ("one", "other")]
    found = rank(tone_recipe(corpus), bases, tmp_path / "out", console, minutes=1)
    assert found.recommendation.startswith("Nothing is learned from")


def test_mistakes_are_found_before_anything_is_decoded(tones: Path, tmp_path: Path, console: Console) -> None:
    for bases, said in (
        (["embedded"], "--base: a ranking needs two base models"),
        (["embedded", "embedded"], "--base: a ranking needs two base models"),
        (["embedded", "none"], "--base none: random weights are always a part"),
        (["embedded", str(tmp_path)], "config.json"),
    ):
        with pytest.raises(InputError, match=said):
            rank(tone_recipe(tones), bases, tmp_path / "out", console)
    assert not (tmp_path / "out").exists()


def test_a_sample_of_a_base_is_of_one_that_is_ranked_and_long_enough(
    base: Path, tones: Path, tmp_path: Path, console: Console
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((tones / "clips").iterdir())[:3]:
        shutil.copy(path, few)
    for name, folder, said in (
        ("other", tones, "--sample: 'other' is not ranked"),
        ("embedded", tmp_path / "none", "--sample: no recording in"),
        ("embedded", few, r"--sample: '.*few' has 3 recordings that can be used; 20 are needed"),
    ):
        with pytest.raises(InputError, match=said):
            rank(tone_recipe(tones), ["embedded", str(base)], tmp_path / "out", console, samples={name: folder})


def test_a_sample_of_a_few_clips_is_refused(tones: Path, console: Console) -> None:
    with pytest.raises(InputError, match="dev has 6 clips that can be used; a ranking needs 20"):
        stage._sample(tone_recipe(tones), 1.0, TrainedOn.nothing(), console)


def heard(corpus: Path, count: int, console: Console) -> tuple[TrainedOn, set[str]]:
    """Return the record of a model that was trained on clips of dev, and their ids."""
    clips = [u for u in corpora.read(corpus, "mi") if u.split == "dev"][:count]
    speech = SpeechSplit("train", clips, [u.text or "" for u in clips], None)
    return TrainedOn.of([speech], console, content_digests({u.audio for u in clips})), {u.id for u in clips}


def test_clips_of_dev_that_a_base_was_trained_on_are_left_out_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    console = Console()
    corpus = write_corpus(tmp_path / "corpus", train=20, dev=25)
    known, ids = heard(corpus, 3, console)
    monkeypatch.setattr(stage.base, "folder", lambda spec: None)
    monkeypatch.setattr(
        stage.trained_on, "of_base", lambda folder, name: known if name == "a" else TrainedOn(known.rows[:0], name)
    )
    recipe = tone_recipe(corpus)
    of_all = stage._heard({"a": recipe.model, "b": recipe.model}, console)
    sample = stage._sample(recipe, 1.0, of_all, console)
    assert sample.trained_on == 3 and len(sample.dev) == 22
    assert not ids & {u.id for u in sample.dev.utterances}
    said = capsys.readouterr()
    assert "what b was trained on is not known in full" in said.err + said.out
    assert "the model was trained on 3 of 25 clips of dev; they are left out" in " ".join(said.err.split())

    allowed = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"allow_trained": True})})
    assert len(stage._sample(allowed, 1.0, of_all, console).dev) == 25
    with pytest.raises(InputError, match="19 clips of dev in the sample are new to all the bases"):
        stage._sample(recipe, 1.0, heard(corpus, 6, console)[0], console)


def ranked(name: str, cer: float, best: float, far: bool = False, seconds: float = 100.0) -> RankedBase:
    high = 0.01 if far else -0.1
    return RankedBase(
        name=name, cer=cer, cer_ci95=(cer - 0.02, cer + 0.02), best_layer=6, against_random=(high - 0.1, -0.3, high),
        against_best=(cer - best, cer - best - 0.02, cer - best + 0.02), is_far=far, is_nearest=0.5,
        known_letters=0.5, logme=0.1, training_s_per_hour=seconds, memory_gb=1.0,
        layers=(LayerScores(layer=6, cer=cer, logme=0.1),),
    )  # fmt: skip


def test_the_recommendation_names_what_cannot_be_told_apart_and_what_is_far() -> None:
    bases = [ranked("a", 0.40, 0.40), ranked("b", 0.41, 0.40, seconds=20), ranked("c", 0.6, 0.4, far=True)]
    said = recommendation(bases, 10.0, True)
    assert said == (
        "a is nearest, but the sample cannot tell it from b. b trains fastest of these. c: no better than random "
        "weights; negative transfer is likely."
    )
    assert recommendation([ranked("a", 0.6, 0.6, far=True), bases[2]], 10.0, True).startswith("No base is better")
    assert recommendation(bases, 10.0, False).startswith("Nothing is learned from 10 min of this speech")


def test_the_probability_of_being_nearest_is_shared_by_bases_that_err_alike() -> None:
    def measured(name: str, *errors: int) -> BaseScores:
        return BaseScores(
            inputs="", name=name, layers=(), best_layer=1, cer=0.5, cer_ci95=(0.4, 0.6), errors=errors,
            has_learned=True, known_letters=1.0, training_s_per_hour=1.0, memory_gb=1.0,
        )  # fmt: skip

    assert stage._nearest([measured("a", 1, 2, 3), measured("b", 2, 3, 4)]) == {"a": 1, "b": 0}
    assert stage._nearest([measured("a", 1, 2), measured("b", 1, 2)]) == {"a": 0.5, "b": 0.5}
    unsure = stage._nearest([measured("a", *[1, 3] * 20), measured("b", *[3, 1] * 20)])
    assert 0.3 < unsure["a"] < 0.7 and sum(unsure.values()) == pytest.approx(1)
