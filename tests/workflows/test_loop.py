"""loop: rounds of a recipe, what changed between them, and one test set for all of them."""

import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import RATE_HZ, say, sentences, tone_recipe

from asr_adapt.artifacts import Correction
from asr_adapt.console import Console
from asr_adapt.corpora import kept_splits
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, read_recipe
from asr_adapt.records import read_jsonl
from asr_adapt.workflows.loop import PAGE, loop


def record(root: Path, numbers: range) -> None:
    """Write recordings of one sentence each with their transcripts."""
    root.mkdir(exist_ok=True)
    for number, text in list(enumerate(sentences(40, seed=5)))[numbers.start : numbers.stop]:
        soundfile.write(root / f"{number:02}.wav", say(text, number), RATE_HZ)
        (root / f"{number:02}.txt").write_text(text, encoding="utf-8")


def recipe(root: Path) -> Recipe:
    return tone_recipe(root, steps=20, eval_steps=20)


def scored_in(folder: Path) -> set[str]:
    return {u.id for _, u in read_jsonl(folder / "hypotheses.jsonl")}


def test_rounds_keep_the_test_set_say_what_changed_and_measure_the_corrections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "corpus", tmp_path / "rounds"
    record(root, range(20))
    (first,) = loop(recipe(root), out, Console())
    assert first.correction is None and (out / PAGE).is_file()
    test = scored_in(out / "round-01")

    capsys.readouterr()
    assert [r.number for r in loop(recipe(root), out, Console())] == [1]
    assert "since round 1: nothing" in capsys.readouterr().err
    assert not (out / "round-02").exists()

    record(root, range(20, 30))
    changed = next(path for path in sorted(root.glob("*.txt")) if f"{path.stem}.wav" not in test)
    changed.write_text("abc")
    before, after = loop(recipe(root), out, Console())
    printed = capsys.readouterr().err
    assert "since round 1: 1 segment corrected, 1.0 s; 10 segments transcribed, " in printed
    assert "10 new recordings" in printed and "edits, typing it" in printed
    assert test <= scored_in(out / "round-02"), "what was test stays test"
    assert after.minutes > before.minutes == pytest.approx(first.minutes)
    correction = Correction.read_file(out / "round-02.json", "")
    assert (correction.transcribed, correction.corrected) == (10, 1) and after.correction == correction
    assert correction.typed == sum(len(text) for text in sentences(40, seed=5)[20:30])
    assert correction.edits > 0
    assert read_recipe(out / "round-02" / "recipe.toml").model.base == str((out / "round-01" / "model").resolve())
    page = (out / PAGE).read_text(encoding="utf-8")
    assert "Error rates on test by minutes" in page and page.count("<circle") >= 4

    shutil.rmtree(out / "round-02" / "model")
    loop(recipe(root), out, Console(quiet=True))
    assert (out / "round-02" / "model").is_dir() and not (out / "round-03").exists(), "a broken round is resumed"


def test_every_round_may_start_from_the_base(tmp_path: Path) -> None:
    root, out = tmp_path / "corpus", tmp_path / "rounds"
    record(root, range(20))
    loop(recipe(root), out, Console(quiet=True), start="base")
    (root / "00.txt").unlink()
    rounds = loop(recipe(root), out, Console(quiet=True), start="base")
    assert read_recipe(out / "round-02" / "recipe.toml").model.base == "none"
    assert rounds[1].correction is not None and rounds[1].correction.typed == 0
    assert (out / "round-02" / kept_splits.FILE).read_text() == (out / "round-01" / kept_splits.FILE).read_text()


def test_rounds_without_a_common_test_utterance_cannot_be_compared(tmp_path: Path) -> None:
    root, out = tmp_path / "corpus", tmp_path / "rounds"
    record(root, range(20))
    loop(recipe(root), out, Console(quiet=True))
    for name in scored_in(out / "round-01"):
        (root / name).unlink()
    record(root, range(20, 40))
    with pytest.raises(InputError, match="no utterance of test is in all rounds"):
        loop(recipe(root), out, Console(quiet=True))


def test_drafting_that_failed_is_done_again_where_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "corpus", tmp_path / "rounds"
    record(root, range(20))
    drafted: list[Path] = []

    def fail_once(_: object, model: Path, __: Console) -> None:
        drafted.append(model)
        if len(drafted) == 1:
            raise InputError("the disk is full")

    monkeypatch.setattr("asr_adapt.workflows.loop._draft", fail_once)
    with pytest.raises(InputError, match="the disk is full"):
        loop(recipe(root), out, Console(quiet=True))
    assert (out / PAGE).is_file(), "the round itself is done"
    loop(recipe(root), out, Console(quiet=True))
    assert drafted == [out / "round-01" / "model"] * 2
