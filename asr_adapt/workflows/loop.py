"""loop: transcribe, retrain, draft, correct, and again: rounds of a recipe, all scored on one test set."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_adapt import corpora
from asr_adapt.artifacts import Correction, PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import KeptSplits
from asr_adapt.corpora.readers import READERS
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.recipe import Recipe
from asr_adapt.records import Utterance, counted, describe_duration, read_jsonl, write_jsonl
from asr_adapt.report import curves, render
from asr_adapt.scoring import error_rates
from asr_adapt.scoring.evaluation import HYPOTHESES
from asr_adapt.stages import draft
from asr_adapt.storage import unwritable_as_error, write_text
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.workflows import run_state
from asr_adapt.workflows.run import run

PAGE = "rounds.html"
_DRAFTED = ("elan", "praat")
Start = Literal["last", "base"]


@dataclass(frozen=True)
class Changes:
    """What is different from the data of a round."""

    new: Sequence[Utterance]
    """not there then; drafts that a person corrected, too"""
    changed: Sequence[Utterance]
    """with another text or other times than then"""
    removed: int
    new_recordings: int

    @property
    def corrected(self) -> list[Utterance]:
        """What a person corrected: drafts, and what was transcribed before."""
        return [*self.changed, *(u for u in self.new if u.provenance == "corrected")]

    @property
    def transcribed(self) -> list[Utterance]:
        """What a person transcribed without a draft."""
        return [u for u in self.new if u.provenance != "corrected"]

    @property
    def any(self) -> bool:
        """Whether a further round would learn from anything else."""
        return bool(self.new or self.changed or self.removed)

    def describe(self) -> str:
        """Return them in words, for one line."""
        parts = [
            f"{counted(len(found), 'segment')} {what}, {describe_duration(sum(map(corpora.duration_s, found)))}"
            for what, found in (("corrected", self.corrected), ("transcribed", self.transcribed))
            if found
        ]
        if self.new_recordings:
            parts.append(counted(self.new_recordings, "new recording"))
        if self.removed:
            parts.append(f"{counted(self.removed, 'segment')} removed")
        return "; ".join(parts) or "nothing"


@dataclass(frozen=True)
class Round:
    """A finished round, scored on the utterances of test that all rounds have; rates are fractions."""

    number: int
    minutes: float
    """of speech trained on"""
    wer: float
    cer: float
    correction: Correction | None
    """None for the first round"""


def loop(recipe: Recipe, out: Path, console: Console, *, start: Start = "last", drafts: bool = True) -> list[Round]:
    """Do the next round of a recipe in a folder of its own below `out`, and return all rounds.

    The first round trains from the recipe's base model. A later one says what was transcribed or corrected since,
    measures what correcting the last model's drafts of it takes, trains anew on everything, and keeps the splits of
    the rounds before. At its end, ELAN and Praat corpora get drafts of what has no transcript. A round that was
    interrupted is resumed. Where nothing changed, there is no round, but what has no transcript or draft is drafted.

    Args:
        recipe: The recipe; its corpus is read each time.
        out: Holds `round-01`, `round-02` and so on, each a run folder; beside them what was read for each
            (`round-01.jsonl`), the correction effort (`round-02.json`), and `rounds.html`.
        console: Where to report.
        start: Train from the last round's model, or from the recipe's base model each time.
        drafts: Whether to draft at the end.

    Raises:
        InputError: the recipe or its corpus cannot be used, or a round's folder is damaged.
    """
    finished = _finished(out)
    number = len(finished) + 1
    last = finished[-1] if finished else None
    kept = KeptSplits.of_run(last) if last else None
    found = [u for u in corpora.read_all(corpora.sources(recipe), recipe.language, kept=kept).utterances if u.text]
    correction = None
    if last:
        changes = _changes(_read_snapshot(_snapshot(last)), found)
        console.heading(f"since round {number - 1}: {changes.describe()}")
        if not changes.any and not _folder(out, number).exists():
            console.say(
                f"nothing has changed since round {number - 1}: transcribe or correct something, then run the same "
                "command again"
            )
            rounds = _shown(recipe, out, finished, console)
            if drafts:  # which may have been interrupted, or the recordings are new
                _draft(recipe, last / "model", console)
            return rounds
        correction = _correction(changes, last, recipe, console)
    out.mkdir(parents=True, exist_ok=True)
    folder = _folder(out, number)
    write_jsonl(_snapshot(folder), found)
    if correction is not None:
        correction.write_file(_correction_file(folder))
    if last and start == "last":
        recipe = recipe.model_copy(
            update={"model": recipe.model.model_copy(update={"base": str(last / "model"), "revision": None})}
        )
    console.heading(f"round {number}")
    run(recipe, folder, console, kept=kept)
    rounds = _shown(recipe, out, [*finished, folder], console)
    if drafts:
        _draft(recipe, folder / "model", console)
    return rounds


def _draft(recipe: Recipe, model: Path, console: Console) -> None:
    """Draft what has no transcript in the corpora that are files of ELAN or Praat, in copies beside them."""
    load = functools.cache(functools.partial(Transcriber.from_folder, model))
    for source in corpora.sources(recipe):
        root = source.root
        assert root is not None
        if isinstance(root, str):
            console.warn(f"{root}: not drafted: drafts are written beside recordings on this machine only")
            continue
        kinds = [source.format] if source.format else [kind for kind in _DRAFTED if READERS[kind].recognises(root)]
        if any(kind in _DRAFTED for kind in kinds):
            console.heading(f"draft {root}")
            draft.draft(load, model, root, console, tiers=source.tiers)


def _folder(out: Path, number: int) -> Path:
    return out / f"round-{number:02}"


def _snapshot(folder: Path) -> Path:
    """Return the file of what the corpus held when a round began."""
    return folder.with_suffix(".jsonl")


def _correction_file(folder: Path) -> Path:
    return folder.with_suffix(".json")


def _finished(out: Path) -> list[Path]:
    """Return the folders of the rounds that are done, in order."""
    found: list[Path] = []
    while (folder := _folder(out, len(found) + 1)) and run_state.is_finished(folder):
        found.append(folder)
    return found


def _read_snapshot(path: Path) -> list[Utterance]:
    return [utterance for _, utterance in read_jsonl(path)]


def _changes(before: Sequence[Utterance], now: Sequence[Utterance]) -> Changes:
    known = {u.id: u for u in before}
    recordings = {u.audio for u in before}
    return Changes(
        new=[u for u in now if u.id not in known],
        changed=[u for u in now if u.id in known and _content(known[u.id]) != _content(u)],
        removed=len(known.keys() - {u.id for u in now}),
        new_recordings=len({u.audio for u in now} - recordings),
    )


def _content(utterance: Utterance) -> tuple[object, ...]:
    return utterance.text, utterance.start_s, utterance.end_s


def _correction(changes: Changes, last: Path, recipe: Recipe, console: Console) -> Correction:
    """Return what it takes to correct the last model's drafts of what was transcribed since."""
    normalise = Normaliser(recipe.text, recipe.language)
    speech = SpeechSplit.on_disk("new", changes.new, normalise)
    pairs: list[tuple[str, str]] = []
    seconds = 0.0
    if len(speech):
        transcriber = Transcriber.from_folder(last / "model")
        results = transcriber.transcribe_segments(speech.recordings())
        with console.progress("draft what was transcribed", total=len(speech)) as progress:
            for reference, result in zip(speech.references, progress.over(results), strict=True):
                if isinstance(result, InputError):
                    console.error(str(result))
                    continue
                seconds += result.duration_s
                pairs.append((reference, normalise(result.text)))
    effort = error_rates.pool([error_rates.character_errors(*pair) for pair in pairs])
    if effort.reference_length:
        console.say(
            f"correcting the last model's drafts of it takes {effort.total:,} edits, typing it "
            f"{effort.reference_length:,} characters ({effort.total / effort.reference_length:.0%})"
        )
    return Correction(
        transcribed=len(changes.transcribed),
        corrected=len(changes.corrected),
        minutes=round(seconds / 60, 2),
        edits=effort.total,
        typed=effort.reference_length,
    )


def _shown(recipe: Recipe, out: Path, folders: Sequence[Path], console: Console) -> list[Round]:
    """Print the line of all rounds and write the page; return the rounds."""
    rounds, utterances = _scored(recipe, folders)
    console.table(
        f"all rounds, on the same {utterances:,} utterances of test",
        ("round", "minutes", "WER", "CER", "new minutes", "edits", "typed", "edits / typed"),
        [
            (
                f"{r.number}",
                f"{r.minutes:.1f}",
                f"{r.wer:.3f}",
                f"{r.cer:.3f}",
                *(
                    (f"{c.minutes:.1f}", f"{c.edits:,}", f"{c.typed:,}", f"{c.share:.2f}" if c.typed else "")
                    if (c := r.correction)
                    else ("", "", "", "")
                ),
            )
            for r in rounds
        ],
    )
    page = out / PAGE
    with unwritable_as_error(page, "Make room, or give another --out."):
        write_text(page, _page(recipe, rounds, utterances))
    console.say(f"report: {page}")
    return rounds


def _scored(recipe: Recipe, folders: Sequence[Path]) -> tuple[list[Round], int]:
    """Return the rounds, scored on the utterances that the test split of each has, and how many those are.

    References are those of the last round: what a person corrected counts for all.
    """
    normalise = Normaliser(recipe.text, recipe.language)
    tests = [{u.id: u for _, u in read_jsonl(folder / HYPOTHESES)} for folder in folders]
    common = [name for name in tests[-1] if all(name in test for test in tests)]
    if not common:
        raise InputError(
            "no utterance of test is in all rounds, so that they cannot be compared",
            place=folders[-1] / HYPOTHESES,
            remedy="Restore the recordings of the first round's test, or begin anew in another --out.",
        )
    references = {name: normalise(tests[-1][name].text or "") for name in common}
    found = []
    for number, (folder, test) in enumerate(zip(folders, tests, strict=True), 1):
        wer, cer = error_rates.rates([(references[name], normalise(test[name].hypothesis or "")) for name in common])
        path = _correction_file(folder)
        correction = Correction.read_file(path, "Delete it; the effort is then not shown.") if path.exists() else None
        minutes = PreparationSummary.read(folder / "data").hours["train"] * 60
        found.append(Round(number, minutes, wer, cer, correction))
    return found, len(common)


def _page(recipe: Recipe, rounds: Sequence[Round], utterances: int) -> str:
    efforts = [(r.minutes, 100 * r.correction.share) for r in rounds if r.correction and r.correction.typed]
    charts = [
        curves.chart(
            "Error rates on test by minutes of speech trained on",
            [
                curves.Line("WER", [(r.minutes, r.wer) for r in rounds]),
                curves.Line("CER", [(r.minutes, r.cer) for r in rounds]),
            ],
            "minute",
        ),
        curves.chart(
            "Edits to correct 100 characters of draft, by minutes of speech trained on",
            [curves.Line("edits", efforts)],
            "minute",
        ),
    ]
    return render.render(
        "rounds.html",
        language=recipe.language,
        rounds=rounds,
        utterances=utterances,
        charts=[chart for chart in charts if chart],
        chart_size=(curves.WIDTH, curves.HEIGHT),
    )
