"""The learning curve: sizes, nested runs that resume, what is said of the curve, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from conftest import tone_recipe, write_corpus

from asr_adapt.artifacts import PreparationSummary
from asr_adapt.cli import _minutes
from asr_adapt.console import Console
from asr_adapt.corpora import KeptSplits, prepared
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe
from asr_adapt.report.learning_curve import Curves
from asr_adapt.scoring.chance import Gain
from asr_adapt.scoring.error_rates import Errors
from asr_adapt.workflows import curve as workflow
from asr_adapt.workflows.curve import _Run, _Scored, _Written, curve, recipe_of, sizes_of


@pytest.mark.parametrize(
    ("total", "minutes", "sizes"),
    [
        (160.2, (), [1, 5, 15, 30, 60, 120, 160.2]),
        (111.5, (), [1, 5, 15, 30, 60, 111.5]),
        (6.0, (), [1, 6.0]),
        (20.0, (10, 2), [2, 10, 20.0]),
        (20.0, (2, 10, 20), [2, 10, 20.0]),
    ],
)
def test_sizes_are_those_below_the_whole_and_the_whole(
    total: float, minutes: tuple[float, ...], sizes: list[float]
) -> None:
    if len(sizes) < 3:
        with pytest.raises(InputError, match=r"--minutes: a curve needs 3 sizes, but 6 minutes .* give 2"):
            sizes_of(total, minutes)
    else:
        assert sizes_of(total, minutes) == sizes


def test_a_size_above_what_there_is_is_refused() -> None:
    with pytest.raises(InputError, match=r"--minutes: train has 20 minutes of speech, not 30"):
        sizes_of(20.0, (1, 5, 30))


@pytest.mark.parametrize("text", ["1,x", "0,5", "-1", "1,,2", "nan"])
def test_minutes_are_positive_numbers(text: str) -> None:
    with pytest.raises(InputError, match="is no list of minutes"):
        _minutes(text)


def runs_of(rates: dict[float, float], gain: float = 0.4, spread: float = 0.01) -> list[list[_Scored]]:
    """Return two runs of each size with about this CER on 300 clips of 40 letters in 8 words."""
    rng = np.random.default_rng(0)
    found = []
    for minutes, rate in rates.items():
        found.append([])
        for sign in (-1, 1):
            letters = [Errors(int(n), 0, 0, 40) for n in rng.binomial(40, rate * (1 + sign * spread), 300)]
            words = [Errors(min(8, e.substitutions), 0, 0, 8) for e in letters]
            found[-1].append(_Scored(minutes, 100, 60.0, words, letters, Gain(gain, gain - 0.05, gain + 0.05)))
    return found


def result(runs: list[list[_Scored]], hours: tuple[float, ...] = ()) -> Curves:
    return workflow._result(tone_recipe(Path("corpus")), "100 steps", runs, None, hours)


def power_law(*minutes: float) -> dict[float, float]:
    return {m: 0.1 + 0.2 * (m / 60) ** -0.3 for m in minutes}


def test_another_hour_is_promised_with_a_band_around_what_it_will_bring() -> None:
    found = result(runs_of(power_law(5, 15, 30, 60, 120)), hours=(5.0,))
    assert found.verdict.startswith("Another hour of speech (3 h in all) brings CER 0.26")
    assert found.cer and [p.hours for p in found.cer.predictions] == [3, 4, 5, 8]
    for p in found.cer.predictions:
        assert p.low < 0.1 + 0.2 * p.hours**-0.3 < p.high
    assert found.cer.band[-1].hours == found.limit_hours == 8


def test_an_amount_beyond_four_times_what_could_be_prepared_is_named() -> None:
    found = result(runs_of(power_law(5, 15, 30, 60, 120)), hours=(8.0, 8.5))
    assert found.cer and [p.hours for p in found.cer.predictions] == [3, 4, 8]
    assert [n for n in found.notes if n.startswith("no CER")] == [
        "no CER is predicted for 8.5 h: more than 4 times the 2.00 h of prepared speech of which the curve is made"
    ]


@pytest.mark.parametrize("wanted", [0.0, -1.0, float("nan"), float("inf")])
def test_an_amount_that_is_none_is_refused_first(wanted: float, tmp_path: Path, console: Console) -> None:
    with pytest.raises(InputError, match=r"--predict: .* is no amount of speech\. Give hours above 0"):
        curve(tone_recipe(tmp_path / "nowhere"), tmp_path / "out", console, hours=(1.0, wanted))


def test_subsets_of_one_seed_are_nested_under_a_bound_of_the_recipe_too() -> None:
    recipe = tone_recipe(Path("corpus"))
    assert recipe_of(recipe, None, 3).corpus == recipe.corpus, "all the speech is no subset"
    bounded = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"max_train_hours": 1.0})})
    small, whole = recipe_of(bounded, 5, 3), recipe_of(bounded, None, 3)
    assert (small.corpus.max_train_hours, whole.corpus.max_train_hours) == (5 / 60, 1.0)
    assert small.corpus.subset_seed == whole.corpus.subset_seed == 3 == whole.train.seed


def scored_on(minutes: float, ids: str, left_out: str = "") -> _Run:
    written = {name: _Written((f"the clip {name}", f"the clip {name}"), 1.0) for name in ids}
    return _Run(minutes, 100, 60.0, written, frozenset(left_out))


def test_runs_with_other_test_sets_are_refused() -> None:
    workflow._refuse_other_tests(
        [[scored_on(5, "abc")], [scored_on(15, "cab")], [scored_on(30, "ab", "c")]], Path("out")
    )
    with pytest.raises(InputError, match=r"out: .* 3 utterances at 5 minutes, 4 at 30, 3 in one of them only"):
        workflow._refuse_other_tests([[scored_on(5, "abc")], [scored_on(30, "bcde")]], Path("out"))


def test_what_one_subset_has_heard_is_scored_in_no_run_and_that_is_said() -> None:
    runs = [[scored_on(5, "acd", "b"), scored_on(5, "abcd")], [scored_on(15, "bcd", "a"), scored_on(15, "abcd")]]
    common, notes = workflow._common(runs, Path("out"))
    assert common == ["c", "d"] and len(workflow._scored(runs[0][0], common).words) == 2
    assert notes == ["2 utterances of test occur in the training speech of some runs: no run is scored on them"]
    assert workflow._common([[scored_on(5, "ab")]], Path("out")) == (["a", "b"], [])
    with pytest.raises(InputError, match=r"out: each of the 2 utterances of test occurs in the training speech"):
        workflow._common([[scored_on(5, "a", "b")], [scored_on(15, "b", "a")]], Path("out"))


def test_later_runs_keep_the_splits_of_the_first(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def stub(recipe: Recipe, folder: Path, splits: KeptSplits, console: Console) -> _Run:
        folder.mkdir(parents=True)
        (folder / "splits.tsv").touch()
        kept.append(splits.file)
        return scored_on(5, "ab")

    monkeypatch.setattr(workflow, "_run", stub)
    monkeypatch.setattr(workflow, "_untrained", lambda *_: 1 / 0)
    recipe, out = tone_recipe(write_corpus(tmp_path / "corpus", train=40)), tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        curve(recipe, out, console, minutes=(0.1, 0.2), seeds=2)
    assert kept == [None, *[out / "0.1-min-seed-1" / "splits.tsv"] * 5]


def test_with_little_speech_the_next_step_is_twice_as_much() -> None:
    found = result(runs_of(power_law(1, 5, 15)))
    assert found.verdict.startswith("Twice the speech (0.5 h in all) brings CER 0.40")


def test_a_flat_curve_is_called_flat() -> None:
    found = result(runs_of(dict.fromkeys((5, 15, 30, 60), 0.3)))
    assert "The curve is flat: even 4 h bring about 0.29" in found.verdict


def test_where_nothing_was_learned_more_speech_is_no_remedy() -> None:
    found = result(runs_of(dict.fromkeys((5, 15, 30, 60), 0.8), gain=0.0))
    assert found.verdict.startswith("Nothing is learned from 1.00 h of speech") and "will not help" in found.verdict
    assert found.cer is None and found.wer is None
    assert len([n for n in found.notes if "nothing was learned yet" in n]) == 4


def test_sizes_that_learned_nothing_are_named_and_left_out_of_the_fit() -> None:
    early, late = runs_of({1: 0.9}, gain=0.0), runs_of(power_law(5, 15, 30, 60))
    found = result([*early, *late])
    assert found.cer and found.cer.fitted_minutes == (5, 15, 30, 60)
    assert any(note.startswith("1 min: nothing was learned yet") for note in found.notes)
    assert any(note.startswith("no curve for WER: 0 sizes") for note in found.notes)


def test_a_curve_of_runs_is_written_and_resumed(
    tmp_path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tone_recipe(write_corpus(tmp_path / "corpus", train=40), steps=2, eval_steps=2)
    out = tmp_path / "out"
    first = curve(recipe, out, console, minutes=(0.1, 0.2), seeds=2)
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert folders == [f"{size}-seed-{seed}" for size in ("0.1-min", "0.2-min", "all") for seed in (1, 2)]
    clips = {name: {u.id for u in prepared.load(out / name / "data", "train").utterances} for name in folders}
    assert clips["0.1-min-seed-1"] < clips["0.2-min-seed-1"] < clips["all-seed-1"] == clips["all-seed-2"]
    assert clips["0.2-min-seed-1"] != clips["0.2-min-seed-2"]
    hours = [PreparationSummary.read(out / f"0.1-min-seed-{seed}" / "data").hours["train"] for seed in (1, 2)]
    assert first.sizes[0].minutes == pytest.approx(60 * sum(hours) / 2)
    assert first.verdict.startswith("Nothing is learned") and first.budget == "2 steps for each size"
    assert not list(out.glob("*/checkpoints")), "of finished runs"
    assert Curves.read_file(out / "curve.json", "") == first
    assert "Nothing is learned" in (out / "curve.html").read_text()

    trained = {path: path.stat().st_mtime_ns for path in out.glob("*/model/model.safetensors")}
    assert curve(recipe, out, console, minutes=(0.1, 0.2), seeds=2) == first
    assert trained == {path: path.stat().st_mtime_ns for path in trained}, "nothing is trained twice"


def test_four_times_the_speech_is_the_limit_and_is_refused_before_anything_is_trained(
    tones: Path, tmp_path: Path, console: Console
) -> None:
    with pytest.raises(InputError, match=r"--predict: 1 h is more than 4 times the 14 s .* not predicted"):
        curve(tone_recipe(tones), tmp_path / "out", console, minutes=(0.05, 0.1), hours=(1.0,))
    assert not (tmp_path / "out").exists()
