"""What would help most, from what was measured in a run; and a corpus whose texts belong to other clips."""

import json
import random
import shutil
from pathlib import Path

import pytest
from conftest import sentences, tone_recipe, write_corpus
from evaluations import evaluation

from asr_adapt.artifacts import Assessment, Metrics, SampleRates
from asr_adapt.console import Console
from asr_adapt.recipe import Recipe
from asr_adapt.report import assessment, write
from asr_adapt.stages import evaluate
from asr_adapt.workflows.run import run

TEXTS = sentences(30, seed=5)


def advice(folder: Path, training: SampleRates | None = None, **metrics: object) -> list[str]:
    """Return all advice on the evaluation in a folder, the most important first, with some metrics replaced."""
    found = write.read_evaluation(folder)
    changed = type(found)(found.metrics.model_copy(update=metrics), found.utterances)
    return [*assessment.assess(folder, changed, training).advice]


def sample(cer: float) -> SampleRates:
    return SampleRates(utterances=20, wer=min(1.0, 3 * cer), cer=cer)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test set is large enough to be measured, and which has hardly been trained."""
    folder = tmp_path_factory.mktemp("assessed")
    run(tone_recipe(write_corpus(folder / "corpus", test=80), steps=2), folder / "run", Console(quiet=True))
    return folder / "run"


def test_inserted_deleted_and_marked_errors_are_advice_of_their_own(tmp_path: Path) -> None:
    few = evaluation(tmp_path / "i", [(text, text + " ab ce") for text in TEXTS])
    assert "Listen to the clips with inserted words: 60 of 60 errors" in advice(few)[1]
    few = evaluation(tmp_path / "d", [(f"{text} ab ce", text) for text in TEXTS])
    assert "Listen to the clips with deleted words: 60 of 60 errors" in advice(few)[1]
    few = evaluation(tmp_path / "m", [(text.replace("a", "á"), text) for text in TEXTS])
    assert "100% of the wrong letters are right but for their marks" in advice(few)[1]
    assert all(advice(tmp_path / name)[0].startswith("More speech in test: at least 20") for name in "idm")


def test_the_terminal_shows_no_interval_of_a_tiny_test_set(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    metrics = Metrics.read(evaluation(tmp_path / "e", [(text, text) for text in TEXTS]))
    evaluate.show(metrics.model_copy(update={"utterances": 19}), Console())
    said = capsys.readouterr().err
    assert "test WER 0.000  (too little to measure: 19 utterances, " in said and "interval" not in said
    evaluate.show(metrics.model_copy(update={"audio_s": 600.0}), Console())
    said = capsys.readouterr().err
    assert "test WER 0.000  (95 % interval 0.000 to 0.000)" in said and "words, 10 min;" in said


def test_train_against_test_tells_overfitting_from_too_little_training(finished: Path) -> None:
    measured = {"utterances": 80, "audio_s": 300.0}
    first, second = advice(finished, sample(0.01), **measured)
    assert "Train longer" in first, "it writes nothing"
    assert "texts belong to other clips" not in second, "from nothing, writing nothing is how training begins"
    recipe = (finished / "recipe.toml").read_text()
    (finished / "recipe.toml").write_text(recipe.replace('base = "none"', 'base = "embedded"'))
    second = advice(finished, sample(0.01), **measured)[1]
    (finished / "recipe.toml").write_text(recipe)
    assert "texts belong to other clips" in second and "too short for their text" not in second
    heard = finished.parent / "heard"
    shutil.copytree(finished, heard)
    lines = [json.loads(line) for line in (heard / "hypotheses.jsonl").read_text().splitlines()]
    for line in lines:
        line["hypothesis"] = line["text"].lower().rstrip(".").replace("a", "e").replace("b", "d")
    (heard / "hypotheses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = advice(finished, sample(0.9))
    assert not any("overfitting" in text for text in found)


def test_what_the_run_keeps_is_what_it_shows(finished: Path) -> None:
    kept = json.loads((finished / "verdict.json").read_text())
    assert kept["training"]["utterances"] == 20 and len(kept["advice"]) == 2
    page, card = (finished / "report.html").read_text(), (finished / "model" / "README.md").read_text()
    assert all(text in card for text in [kept["verdict"], *kept["advice"]])
    assert page.count("<li>") == 2 and 'id="verdict"' in page


def test_a_folder_of_an_older_version_is_assessed_anew(finished: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(finished, tmp_path / "old"))
    (old / "verdict.json").unlink()
    found = assessment.of_folder(old, write.read_evaluation(old))
    assert found.training is None and found.verdict == (Assessment.read(finished) or found).verdict


def shuffled_corpus(root: Path) -> Path:
    """A corpus of tones in which each clip has the text of another one."""
    write_corpus(root, train=50, dev=10, test=170)
    for split in ("train", "dev", "test"):
        head, *rows = [line.split("\t") for line in (root / f"{split}.tsv").read_text().splitlines()]
        texts = [row[2] for row in rows]
        random.Random(split).shuffle(texts)
        changed = [[*row[:2], text, *row[3:]] for row, text in zip(rows, texts, strict=True)]
        (root / f"{split}.tsv").write_text("\n".join("\t".join(row) for row in [head, *changed]) + "\n")
    return root


def learned(root: Path, out: Path, capsys: pytest.CaptureFixture) -> tuple[Assessment, str, Metrics]:
    recipe: Recipe = tone_recipe(root, steps=100, eval_steps=100)
    metrics = run(recipe, out, Console())
    found = Assessment.read(out)
    assert found is not None
    return found, capsys.readouterr().err.partition("\nverdict\n")[2], metrics


def test_texts_shuffled_between_clips_teach_no_relation_between_sound_and_text(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    found, said, metrics = learned(shuffled_corpus(tmp_path / "nonsense"), tmp_path / "run", capsys)
    assert metrics.audio_s >= 120 and found.level == "no relation" and found.verdict in said
    assert "learned no relation between sound and text" in said
    assert "Play five training clips and read their texts" in found.advice[0] and found.advice[0] in said


@pytest.mark.slow
def test_the_same_corpus_with_its_own_texts_shows_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found, said, _ = learned(write_corpus(tmp_path / "true", train=50, dev=10, test=170), tmp_path / "run", capsys)
    assert found.level in {"not usable", "draft", "nearly human"} and found.verdict in said
