"""No score on what a model or its base was trained on, unless that is allowed and the headline says so."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
import soxr
from conftest import RATE_HZ, shared_folder, tone_recipe, write_corpus
from typer.testing import CliRunner

from asr_adapt.artifacts import Contamination, Metrics, PreparationSummary
from asr_adapt.cli import app
from asr_adapt.console import Console
from asr_adapt.corpora.trained_on import FILE, TrainedOn
from asr_adapt.errors import InputError
from asr_adapt.model import ctc_model
from asr_adapt.recipe import Corpus, Recipe, Source
from asr_adapt.records import read_jsonl
from asr_adapt.report.write import write_page
from asr_adapt.stages.compare import System, compare
from asr_adapt.workflows.model_folder import add_ngram, evaluate_folder, export_engines
from asr_adapt.workflows.run import run
from asr_adapt.workflows.transfer import transfer

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def adapted(tmp_path_factory: pytest.TempPathFactory, tones: Path) -> Path:
    """A run folder; it is not to be written to."""
    return shared_folder(tmp_path_factory, "contaminating", lambda out: run(tone_recipe(tones, steps=4), out, QUIET))


@pytest.fixture
def moved(tones: Path, tmp_path: Path) -> Path:
    """The same corpus with other splits: half of test and of dev was train, and is FLAC at another rate now."""
    root = Path(shutil.copytree(tones, tmp_path / "moved"))
    lines = {split: (root / f"{split}.tsv").read_text().splitlines() for split in ("train", "dev", "test")}
    header, train, dev, test = lines["train"][0], *(lines[split][1:] for split in ("train", "dev", "test"))
    for split, rows in (
        ("train", train[6:] + test[:3]),
        ("dev", [*train[:3], *test[3:5]]),
        ("test", [*train[3:6], *dev[:2], test[5]]),
    ):
        (root / f"{split}.tsv").write_text("\n".join([header, *rows]).replace(".wav", ".flac") + "\n")
    for path in (root / "clips").glob("*.wav"):
        waveform, _ = soundfile.read(path)
        soundfile.write(path.with_suffix(".flac"), soxr.resample(waveform, RATE_HZ, 44_100), 44_100)
        path.unlink()
    return root


def adapting(model: Path, root: Path, **fields: bool) -> Recipe:
    recipe = tone_recipe(root, str(model), steps=4)
    return recipe.model_copy(update={"corpus": Corpus(root=root, **fields)})


TRAINED = {"train3.flac", "train4.flac", "train5.flac"}


def test_a_model_knows_its_training_and_its_own_test_is_none_of_it(adapted: Path) -> None:
    known = TrainedOn.read(adapted / "model")
    assert known is not None and (len(known.trained.rows), len(known.selected.rows)) == (20, 6)
    assert FILE in json.loads((adapted / "model" / "digests.json").read_text())["files"]
    assert Contamination.read(adapted) == Contamination(known=True)
    assert Metrics.read(adapted).headline == "test"


def test_what_a_model_was_trained_on_is_no_test_unless_that_is_allowed(
    adapted: Path, tones: Path, tmp_path: Path
) -> None:
    model, corpus = adapted / "model", Source(root=tones)
    with pytest.raises(InputError, match=r"trained on all 20 clips of train.*--allow-trained"):
        evaluate_folder(model, corpus, "train", tmp_path / "scores", QUIET)
    assert not (tmp_path / "scores").exists()
    command = ["evaluate", "--model", str(model), "--corpus", str(tones), "--split", "train", "--out",
               str(tmp_path / "scores"), "--allow-trained"]  # fmt: skip
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert ", of which 20 of 20 clips were trained on  (" in done.stderr
    metrics, found = Metrics.read(tmp_path / "scores"), Contamination.read(tmp_path / "scores")
    assert (metrics.utterances, metrics.trained_on, metrics.excluded) == (20, 20, {})
    assert found is not None and set(found.scored.values()) == {"the same samples"}
    assert "of which 20 were trained on" in (tmp_path / "scores" / "report.html").read_text()


def test_dev_of_a_model_is_scored_and_it_is_said_what_it_was_for(
    adapted: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    metrics = evaluate_folder(adapted / "model", Source(root=tones), "dev", tmp_path, Console())
    assert metrics.utterances == 6 and not metrics.excluded and not metrics.trained_on
    assert "6 of 6 clips of dev were used to choose the model's best step" in capsys.readouterr().err


def test_clips_that_were_encoded_anew_and_changed_splits_are_left_out_counted_and_named(
    adapted: Path, moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    metrics = evaluate_folder(adapted / "model", Source(root=moved), "test", tmp_path, Console())
    assert metrics.excluded == {"trained_on": 3} and metrics.utterances == 3
    found = Contamination.read(tmp_path)
    assert found is not None and found.left_out.keys() == TRAINED
    assert set(found.left_out.values()) == {"the same words and sound, encoded anew"}
    assert found.selected == ("dev0.flac", "dev1.flac") and not found.repeated_sentences
    said = capsys.readouterr().err
    assert "trained on 3 of 6 clips of test; they are left out: train3.flac, train4.flac, train5.flac" in said
    assert "3 utterances are excluded from these error rates: trained_on" in said
    assert "2 of 6 clips of test were used to choose the model's best step" in said


def test_a_run_from_ones_own_model_neither_scores_nor_selects_by_what_that_was_trained_on(
    adapted: Path, moved: Path, tmp_path: Path
) -> None:
    metrics = run(adapting(adapted / "model", moved), tmp_path / "run", QUIET)
    assert metrics.excluded == {"trained_on": 3} and metrics.utterances == 3 and metrics.headline == "test"
    summary = PreparationSummary.read(tmp_path / "run" / "data")
    assert summary.utterances == {"train": 17, "dev": 2, "test": 3}
    assert {e.id for e in summary.excluded if e.split == "test"} == TRAINED
    assert summary.excluded[0].detail == "by the base model: the same words and sound, encoded anew"
    found = Contamination.read(tmp_path / "run")
    assert found is not None and found.left_out.keys() == TRAINED and len(found.selected) == 2
    known, before = TrainedOn.read(tmp_path / "run" / "model"), TrainedOn.read(adapted / "model")
    assert known is not None and before is not None
    assert {row.tobytes() for row in before.rows} < {row.tobytes() for row in known.rows}
    assert len(known.trained.rows) == 20 + 17


def test_a_recipe_that_allows_it_says_so_in_every_headline(
    adapted: Path, moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    metrics = run(adapting(adapted / "model", moved, allow_trained=True), out, Console())
    assert (metrics.utterances, metrics.trained_on, metrics.excluded) == (6, 3, {})
    said = "of which 3 of 6 clips were trained on"
    assert said in capsys.readouterr().err and said in (out / "model" / "README.md").read_text()
    assert "of which 3 were trained on" in write_page(out, sound=False).read_text()


def test_a_model_from_nothing_is_scored_on_the_same_clips_beside_it(
    adapted: Path, moved: Path, tmp_path: Path
) -> None:
    held_out = TrainedOn.read(adapted / "model")
    metrics = run(adapting(Path("none"), moved), tmp_path / "run", QUIET, held_out=held_out)
    assert metrics.excluded == {"trained_on": 3}
    known = TrainedOn.read(tmp_path / "run" / "model")
    assert known is not None and len(known.rows) == 17 + 2


@pytest.mark.slow
def test_transfer_scores_all_its_rows_on_the_same_clips(adapted: Path, moved: Path, tmp_path: Path) -> None:
    rows = transfer(adapting(adapted / "model", moved), tmp_path, QUIET)
    folders = [tmp_path / row.name.replace(" ", "_") for row in rows]
    assert len(folders) == 4
    assert {tuple(u.id for _, u in read_jsonl(folder / "hypotheses.jsonl")) for folder in folders} == {
        ("dev0.flac", "dev1.flac", "test5.flac")
    }
    assert all(Metrics.read(folder).excluded == {"trained_on": 3} for folder in folders)


def test_a_run_leaves_out_what_its_own_train_has_too(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    shutil.copy(root / "clips" / "train2.wav", root / "clips" / "test4.wav")
    metrics = run(tone_recipe(root, steps=2), tmp_path / "run", QUIET)
    assert metrics.excluded == {"trained_on": 1} and metrics.utterances == 5
    (found,) = PreparationSummary.read(tmp_path / "run" / "data").excluded
    assert (found.id, found.detail) == ("test4.wav", "in train: the same samples")


def test_a_run_whose_dev_is_all_trained_on_is_refused_before_training(
    adapted: Path, moved: Path, tmp_path: Path
) -> None:
    lines = (moved / "dev.tsv").read_text().splitlines()[:4]
    (moved / "dev.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"the dev split has nothing but clips .*\(by the base model.*allow_trained"):
        run(adapting(adapted / "model", moved), tmp_path / "run", QUIET)


def test_weights_and_engines_are_chosen_on_speech_that_is_new_to_the_model(
    adapted: Path, moved: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = Path(shutil.copytree(adapted / "model", tmp_path / "model"))
    text = tmp_path / "text.txt"
    text.write_text("abc de\n")
    add_ngram(model, [text], 2, Source(root=moved), Console())
    assert "trained on 3 of 5 clips of dev; they are left out: train0.flac" in capsys.readouterr().err
    add_ngram(model, [text], 2, Source(root=moved), Console(), allow_trained=True)
    assert "trained on 3 of 5 clips of dev; they are used because that was allowed" in capsys.readouterr().err
    export_engines(model, ["torch"], False, Source(root=moved), Console())
    assert "2 clips of dev" in capsys.readouterr().err


def test_systems_are_compared_on_what_none_was_trained_on(
    adapted: Path, moved: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = run(tone_recipe(write_corpus(tmp_path / "other", 8, 3, 3), steps=2), tmp_path / "b", QUIET)
    assert other.utterances == 3
    scores = {name: tmp_path / name for name in ("ours", "allowed", "theirs")}
    evaluate_folder(adapted / "model", Source(root=moved), "test", scores["ours"], QUIET)
    evaluate_folder(adapted / "model", Source(root=moved), "test", scores["allowed"], QUIET, allow_trained=True)
    everything = evaluate_folder(
        tmp_path / "b" / "model", Source(root=moved), "test", scores["theirs"], QUIET, allow_trained=True
    )
    assert everything.utterances == 6
    systems = {name: System.read(path) for name, path in scores.items()}
    for pair in (("ours", "theirs"), ("allowed", "theirs"), ("theirs", "allowed")):
        found = compare([systems[name] for name in pair], Console())
        assert found.left_out >= 3 and found.trained_on == 0 and found.utterances == 6 - found.left_out
    assert "3 of 6 utterances are left out: allowed was trained on them" in capsys.readouterr().err
    page = compare([systems["allowed"], systems["theirs"]], QUIET, names=True)
    order = [*systems["allowed"].utterances]
    assert all(order[one.line - 1] == one.id for system in page.systems for one in system.utterances)
    capsys.readouterr()
    allowed = compare([systems["allowed"], systems["theirs"]], Console(), allow_trained=True)
    assert allowed.utterances == 6 and allowed.trained_on >= 3
    assert f"6 utterances, of which a system was trained on {allowed.trained_on}" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_damaged_record_is_an_error_for_evaluation_and_for_adaptation(
    adapted: Path, tones: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(adapted / "model", tmp_path / "model"))
    content = (model / FILE).read_bytes()
    (model / FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=rf"{FILE}: is damaged or was edited"):
        evaluate_folder(model, Source(root=tones), "test", tmp_path / "scores", QUIET)
    with pytest.raises(InputError, match=rf"{FILE}: is damaged or was edited"):
        run(adapting(model, tones), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_of_a_model_without_a_record_it_is_said_that_nothing_is_known(
    adapted: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = Path(shutil.copytree(adapted / "model", tmp_path / "model"))
    (model / FILE).unlink()
    ctc_model.seal(model)
    metrics = evaluate_folder(model, Source(root=tones), "test", tmp_path / "scores", Console())
    assert metrics.utterances == 6
    assert f"what {model} was trained on is unknown" in capsys.readouterr().err
    run(adapting(model, tones), tmp_path / "run", Console())
    said = capsys.readouterr().err
    assert said.count("was adapted from a model without a record: what that was trained on is unknown") == 1
    found = Contamination.read(tmp_path / "run")
    assert found is not None and not found.known
