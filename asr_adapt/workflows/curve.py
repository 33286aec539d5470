"""curve: error rates by the amount of training speech, measured on nested subsets, and what more would bring.

Each size is a run of its own, with the settings that the presets choose for that much speech, or those of the recipe.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_adapt import corpora
from asr_adapt.artifacts import Contamination, PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import KeptSplits, prepared
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.recipe import Recipe, fingerprint, read_recipe
from asr_adapt.records import counted, describe_duration, read_jsonl
from asr_adapt.report.learning_curve import Curve, Curves, Prediction, Size, page
from asr_adapt.report.train_log import trained_s
from asr_adapt.scoring import chance, error_rates, learning_curve
from asr_adapt.scoring.chance import Gain
from asr_adapt.scoring.error_rates import Errors
from asr_adapt.scoring.learning_curve import FURTHEST, LearningCurve
from asr_adapt.stages import evaluate
from asr_adapt.storage import write_text
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.workflows.plan import RunPlan
from asr_adapt.workflows.run import run
from asr_adapt.workflows.run_state import RunState

_LADDER = (1, 5, 15, 30, 60)  # minutes; then each is twice the one before
_SMALLER = 0.75  # of the whole: a size above is too near to it
_WRITES_WORDS = 0.95  # a WER above has not left its plateau: most words have an error
_FLAT = 0.05  # a curve that four times the speech lowers by less, as a share, is flat
JSON, PAGE = "curve.json", "curve.html"


@dataclass(frozen=True)
class _Run:
    """A finished run, and what it wrote."""

    minutes: float
    steps: int
    train_s: float
    written: "dict[str, _Written]"
    """by id, in the order of test"""
    left_out: frozenset[str]
    """ids of test that it was not scored on, since they occur in what it was trained on"""


@dataclass(frozen=True)
class _Written:
    """A test utterance: normalised reference and hypothesis."""

    pair: tuple[str, str]
    duration_s: float


@dataclass(frozen=True)
class _Scored:
    """A run's errors by test utterance, of those on which all runs are scored."""

    minutes: float
    steps: int
    train_s: float
    words: list[Errors]
    characters: list[Errors]
    gain: Gain


def curve(
    recipe: Recipe,
    out: Path,
    console: Console,
    *,
    minutes: Sequence[float] = (),
    seeds: int = 2,
    hours: Sequence[float] = (),
) -> Curves:
    """Train and score a recipe with more and more of its speech, a run folder each inside `out`; print the curve.

    Subsets of one seed are nested; another seed has other subsets, batches and a new head. Run again, it resumes.

    Args:
        recipe: The recipe; `corpus.max_train_hours` bounds the largest size.
        out: Folder of the runs, of curve.json and of curve.html.
        console: Where to report.
        minutes: Sizes; default: 1, 5, 15, 30, 60, 120 … and all there is.
        seeds: Runs of each size.
        hours: Amounts of speech to predict, beside the default ones.

    Raises:
        InputError: the recipe cannot be run, there are fewer than three sizes, `hours` exceeds four times what
            there is or is no positive number, or the runs have different test sets.
    """
    for wanted in hours:
        _refuse_no_amount(wanted)
    plan = RunPlan.of(recipe, KeptSplits.of_run(_folder(out, None, recipe.train.seed)))
    total = sum(corpora.duration_s(u) for u in plan.reading.utterances if u.split == "train") / 3600
    total = min(total, recipe.corpus.max_train_hours or total)
    sizes = sizes_of(total * 60, minutes)
    for wanted in hours:
        _refuse_beyond(wanted, total)
    budget = (
        f"{recipe.train.steps:,} steps for each size"
        if recipe.train.steps
        else "steps chosen for each size by the hours of speech, as for a run of its own"
    )
    console.say(f"{len(sizes) * seeds} runs: {', '.join(f'{m:.3g}' for m in sizes)} minutes, {seeds} seeds; {budget}")
    first = _folder(out, sizes[0], recipe.train.seed)
    runs: list[list[_Run]] = []
    for number, size in enumerate(sizes):
        runs.append([])
        for seed in range(recipe.train.seed, recipe.train.seed + seeds):
            console.heading(f"curve: {size:.3g} minutes, seed {seed} ({len(sizes) * seeds} runs, this is number "
                            f"{number * seeds + seed - recipe.train.seed + 1})")  # fmt: skip
            one = recipe_of(recipe, None if size == sizes[-1] else size, seed)
            folder = _folder(out, None if size == sizes[-1] else size, seed)
            runs[-1].append(_run(one, folder, KeptSplits.of_run(first), console))
            _refuse_other_tests(runs, out)
    common, notes = _common(runs, out)
    untrained = _untrained(recipe, plan, out, common, console)
    result = _result(
        recipe, budget, [[_scored(one, common) for one in same] for same in runs], untrained, hours, notes
    )
    result.write_file(out / JSON)
    write_text(out / PAGE, page(result))
    _show(result, console)
    console.say(f"page: {out / PAGE}    JSON: {out / JSON}")
    return result


def sizes_of(total_minutes: float, minutes: Sequence[float] = ()) -> list[float]:
    """Return the sizes, ascending; the last is all there is.

    Raises:
        InputError: fewer than three sizes fit.
    """
    if minutes:
        larger = [m for m in minutes if m > total_minutes]
        if larger:
            raise InputError(
                f"train has {total_minutes:.3g} minutes of speech, not {max(larger):g}",
                place="--minutes",
                remedy="Give smaller sizes; all the speech is always the last one.",
            )
        wanted = {float(m) for m in minutes if m < total_minutes}
    else:
        ladder = [float(m) for m in _LADDER]
        while ladder[-1] < total_minutes:
            ladder.append(2 * ladder[-1])
        wanted = {m for m in ladder if m <= _SMALLER * total_minutes}
    sizes = [*sorted(wanted), total_minutes]
    if len(sizes) < learning_curve.MIN_SIZES:
        raise InputError(
            f"a curve needs {learning_curve.MIN_SIZES} sizes, but {total_minutes:.3g} minutes of training speech "
            f"give {len(sizes)}",
            place="--minutes",
            remedy="Give smaller sizes; all the speech is always the last one.",
        )
    return sizes


def _refuse_no_amount(wanted: float) -> None:
    if not (math.isfinite(wanted) and wanted > 0):
        raise InputError(f"{wanted:g} is no amount of speech", place="--predict", remedy="Give hours above 0.")


def _refuse_beyond(wanted: float, total: float) -> None:
    if wanted > FURTHEST * total:
        raise InputError(
            f"{wanted:g} h is more than {FURTHEST:g} times the {describe_duration(total * 3600)} of training speech: "
            "not predicted",
            place="--predict",
            remedy=f"Give at most {FURTHEST * total:.3g}.",
        )


def _folder(out: Path, size: float | None, seed: int) -> Path:
    return out / f"{'all' if size is None else f'{size:g}-min'}-seed-{seed}"


def recipe_of(recipe: Recipe, minutes: float | None, seed: int) -> Recipe:
    """Return the recipe of one run: the larger of two sizes has all the clips of the smaller if the seed is the same.

    Args:
        recipe: Of the curve.
        minutes: Size; None: all that the recipe takes.
        seed: Of subset, head and batches.
    """
    size = {} if minutes is None else {"max_train_hours": minutes / 60}
    is_subset = minutes is not None or recipe.corpus.max_train_hours is not None
    subset = size | ({"subset_seed": seed} if is_subset else {})
    return recipe.model_copy(
        update={
            "corpus": recipe.corpus.model_copy(update=subset),
            "train": recipe.train.model_copy(update={"seed": seed}),
            "report": recipe.report.model_copy(update={"audio": False}),
        }
    )


def _run(recipe: Recipe, folder: Path, kept: KeptSplits, console: Console) -> _Run:
    """Run one size, with the splits of the first run where the folder has none yet."""
    run(recipe, folder, console, kept=kept)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of a finished run: optimiser states of every point
    contamination = Contamination.read(folder)
    return _Run(
        minutes=PreparationSummary.read(folder / "data").hours["train"] * 60,
        steps=read_recipe(folder / "recipe.toml").train.steps or 0,
        train_s=trained_s(folder),
        written=_written(recipe, folder),
        left_out=frozenset(contamination.left_out if contamination else ()),
    )


def _refuse_other_tests(runs: Sequence[Sequence[_Run]], out: Path) -> None:
    first = runs[0][0]
    for one in (one for same in runs for one in same):
        if others := {*one.written, *one.left_out} ^ {*first.written, *first.left_out}:
            raise InputError(
                f"the runs have different test sets: {len(first.written)} utterances at {first.minutes:.3g} minutes, "
                f"{len(one.written)} at {one.minutes:.3g}, {len(others)} in one of them only; "
                "the corpus has changed between them",
                place=out,
                remedy="Give another --out, or delete the older run folders and start the same command.",
            )


def _common(runs: Sequence[Sequence[_Run]], out: Path) -> tuple[list[str], list[str]]:
    """Return the ids of test on which all runs are scored, and what to say of the others.

    A clip that occurs in the speech of one subset is unseen in another; all points of a curve need the same clips.

    Raises:
        InputError: there is none.
    """
    members = [one for same in runs for one in same]
    common = [name for name in members[0].written if all(name in one.written for one in members)]
    left_out = len({name for one in members for name in one.written}) - len(common)
    if not common:
        raise InputError(
            f"each of the {left_out} utterances of test occurs in the training speech of a run",
            place=out,
            remedy="Take them out of train, or make other splits.",
        )
    if not left_out:
        return common, []
    return common, [
        f"{left_out} utterances of test occur in the training speech of some runs: no run is scored on them"
    ]


def _scored(one: _Run, common: Sequence[str]) -> _Scored:
    written = [one.written[name] for name in common]
    pairs = [each.pair for each in written]
    return _Scored(
        one.minutes,
        one.steps,
        one.train_s,
        words=[error_rates.word_errors(*pair) for pair in pairs],
        characters=[error_rates.character_errors(*pair) for pair in pairs],
        gain=chance.gain([r for r, _ in pairs], [h for _, h in pairs], [each.duration_s for each in written]),
    )


def _written(recipe: Recipe, folder: Path) -> dict[str, _Written]:
    """Return what a folder's model wrote, by the id of the test utterance."""
    normalise = Normaliser(recipe.text, recipe.language)
    return {
        u.id: _Written((normalise(u.text or ""), normalise(u.hypothesis or "")), u.duration_s or 0.0)
        for _, u in read_jsonl(folder / evaluate.HYPOTHESES)
    }


def _untrained(
    recipe: Recipe, plan: RunPlan, out: Path, common: Sequence[str], console: Console
) -> tuple[float, float] | None:
    """Return WER and CER of the base model with the letters of its own head; None where it has none of them."""
    whole = _folder(out, None, recipe.train.seed)
    summary = PreparationSummary.read(whole / "data")
    alphabet = Alphabet(summary.alphabet)
    if not head.inherited(recipe.model, alphabet, recipe.language, plan.base):
        return None
    console.heading("curve: no training")
    folder = out / "0-min"
    folder.mkdir(exist_ok=True)
    inputs = fingerprint(plan.prepare_inputs, recipe.model)
    stages = RunState(folder)
    if not stages.is_done("evaluate", inputs):
        stages.begin("evaluate", inputs)
        model = head.create(recipe.model, alphabet, recipe.language, recipe.text, recipe.train.seed, plan.base)
        model.net.eval()
        excluded = summary.excluded_counts("test")
        evaluate.evaluate(Transcriber(model), prepared.load(whole / "data", "test"), folder, console, excluded)
        stages.finish("evaluate")
    written = _written(recipe, folder)
    return error_rates.rates([written[name].pair for name in common])


def _result(
    recipe: Recipe,
    budget: str,
    runs: Sequence[Sequence[_Scored]],
    untrained: tuple[float, float] | None,
    hours: Sequence[float],
    said: Sequence[str] = (),
) -> Curves:
    sizes = tuple(
        Size(
            minutes=_mean([one.minutes for one in same]),
            steps=tuple(one.steps for one in same),
            train_s=tuple(one.train_s for one in same),
            wer=tuple(error_rates.rate(one.words) for one in same),
            cer=tuple(error_rates.rate(one.characters) for one in same),
            gain=tuple(one.gain.value for one in same),
            has_learned=all(one.gain.is_real for one in same),
        )
        for same in runs
    )
    most = sizes[-1].minutes / 60
    wanted = sorted({*hours, *(h for h in (most + 1, 2 * most, FURTHEST * most) if h <= FURTHEST * most)})
    notes = [
        *said,
        *(
            f"{size.minutes:.3g} min: nothing was learned yet; not in the fits"
            for size in sizes
            if not size.has_learned
        ),
    ]
    fits: dict[str, Curve | None] = {}
    for name, kept in (
        ("cer", [size.has_learned for size in sizes]),
        ("wer", [size.has_learned and _mean(size.wer) < _WRITES_WORDS for size in sizes]),
    ):
        count = sum(kept)
        if count < learning_curve.MIN_SIZES:
            why = f" (a WER above {_WRITES_WORDS} tells nothing)" if name == "wer" else ""
            least = learning_curve.MIN_SIZES
            usable = counted(count, "size")
            notes.append(f"no curve for {name.upper()}: {usable} can be used, {least} are needed{why}")
            fits[name] = None
            continue
        members = [one for same, keep in zip(runs, kept, strict=True) if keep for one in same]
        fitted = learning_curve.fit([_errors(one, name) for one in members])
        minutes = tuple(size.minutes for size, keep in zip(sizes, kept, strict=True) if keep)
        fits[name] = _curve(fitted, minutes, wanted)
        notes += [
            f"no {name.upper()} is predicted for {h:g} h: more than {FURTHEST:g} times the "
            f"{describe_duration(fitted.hours * 3600)} of prepared speech of which the curve is made"
            for h in sorted({*hours})
            if h > FURTHEST * fitted.hours
        ]
    found = Curves(
        language=recipe.language,
        base=recipe.model.base,
        budget=budget,
        seeds=tuple(range(recipe.train.seed, recipe.train.seed + len(runs[0]))),
        test_utterances=len(runs[0][0].words),
        untrained=untrained,
        sizes=sizes,
        cer=fits["cer"],
        wer=fits["wer"],
        limit_hours=FURTHEST * most,
        notes=tuple(notes),
        verdict="",
    )
    return found.model_copy(update={"verdict": verdict(found)})


def _errors(one: _Scored, name: str) -> learning_curve.Run:
    counts = one.words if name == "wer" else one.characters
    return learning_curve.Run(one.minutes / 60, [e.total for e in counts], [e.reference_length for e in counts])


def _curve(fitted: LearningCurve, minutes: tuple[float, ...], wanted: Sequence[float]) -> Curve:
    first, last = minutes[0] / 60, FURTHEST * fitted.hours
    along = [first * (last / first) ** (i / 40) for i in range(41)]
    return Curve(
        floor=fitted.floor,
        scale=fitted.scale,
        exponent=fitted.exponent,
        fitted_minutes=minutes,
        band=tuple(_prediction(fitted, min(hours, last)) for hours in along),
        predictions=tuple(_prediction(fitted, hours) for hours in wanted if hours <= last),
    )


def _prediction(fitted: LearningCurve, hours: float) -> Prediction:
    expected = fitted.at(hours)
    return Prediction(hours=hours, value=expected.value, low=expected.low, high=expected.high)


def verdict(found: Curves) -> str:
    """Return in words what more speech of this kind would bring."""
    largest = found.sizes[-1]
    now = _mean(largest.cer)
    if not largest.has_learned:
        return (
            f"Nothing is learned from {describe_duration(largest.minutes * 60)} of speech: what the model writes "
            "fits its own clips no better than others of their length. More data of this kind will not help. Check "
            "that transcripts belong to their recordings (asr-adapt doctor), or train longer."
        )
    if found.cer is None:
        return "Too few sizes have learned anything for a curve: train longer, or collect more speech."
    most = largest.minutes / 60
    hour = most + 1 if most + 1 <= found.limit_hours else 0.0
    nearest = next(p for p in found.cer.predictions if p.hours == (hour or 2 * most))
    text = (
        f"{'Another hour of speech' if hour else 'Twice the speech'} ({nearest.hours:.3g} h in all) brings CER "
        f"{now:.3f} to about {nearest.value:.3f} ({nearest.low:.3f} to {nearest.high:.3f})."
    )
    furthest = found.cer.predictions[-1]
    if furthest.value > (1 - _FLAT) * now:
        return (
            f"{text} The curve is flat: even {furthest.hours:.3g} h bring about {furthest.value:.3f}. More data of "
            "this kind hardly helps; look for a nearer base model, or train longer."
        )
    if nearest.high >= now:
        text += " The gain may not show in a single run, since runs differ by as much."
    return text


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _show(found: Curves, console: Console) -> None:
    rows = [
        (
            f"{size.minutes:.3g}",
            f"{_mean(size.cer):.3f}",
            f"{min(size.cer):.3f} to {max(size.cer):.3f}",
            f"{_mean(size.wer):.3f}",
            f"{min(size.wer):.3f} to {max(size.wer):.3f}",
            f"{_mean(size.steps):,.0f}",
            f"{_mean(size.train_s) / 60:.1f}",
            "" if size.has_learned else "nothing learned",
        )
        for size in found.sizes
    ]
    if found.untrained:
        wer, cer = found.untrained
        rows.insert(0, ("0", f"{cer:.3f}", "", f"{wer:.3f}", "", "0", "", "the base model's own letters"))
    console.table(
        f"{found.language} from {found.base}; test, {found.test_utterances:,} utterances; {len(found.seeds)} seeds; "
        f"{found.budget}",
        ("minutes of speech", "CER", "runs", "WER", "runs", "steps", "minutes of training", ""),
        rows,
        is_result=True,
    )
    predicted: dict[float, list[str]] = {}
    for fit in (found.cer, found.wer):
        for hours in {p.hours for f in (found.cer, found.wer) if f for p in f.predictions}:
            one = next((p for p in fit.predictions if p.hours == hours), None) if fit else None
            predicted.setdefault(hours, []).append(
                f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" if one else "–"
            )
    if predicted:
        console.table(
            "expected of a run with more speech of this kind; 95 % bands",
            ("hours of speech", "CER", "WER"),
            [(f"{hours:.3g}", *cells) for hours, cells in sorted(predicted.items())],
            is_result=True,
        )
    for note in found.notes:
        console.result(note)
    console.result(found.verdict)
