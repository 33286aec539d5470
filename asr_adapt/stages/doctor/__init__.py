"""doctor: find the problems of a corpus before training."""

import json
import os
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr_adapt import audio, corpora
from asr_adapt.console import Console
from asr_adapt.corpora import checks
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import DiskFull, InputError, printable
from asr_adapt.recipe import Recipe, Source, Text
from asr_adapt.recipe_script import Edit, edit
from asr_adapt.records import SPLITS, LeftOut, Utterance, describe_duration
from asr_adapt.stages.doctor import channels, fix, markup_findings, outlook, sound, splits, transcripts
from asr_adapt.stages.doctor.finding import SEVERITIES, Finding, always, found
from asr_adapt.stages.doctor.fix import Fix
from asr_adapt.stages.doctor.sound import Measurements
from asr_adapt.storage import disk_full_as_error, write_text
from asr_adapt.text import markup
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.characters import describe_unit
from asr_adapt.text.markup import Markup
from asr_adapt.text.normaliser import Normaliser

if TYPE_CHECKING:
    from asr_adapt.stages.doctor import machine

# The reasons of `checks.untrainable`, in words, with what to do; unknown letters are a finding of their own.
UNTRAINABLE = {
    "unreadable_audio": ("recordings that cannot be read", "Copy or convert them again."),
    "unclear": ("transcripts with a mark of text.unclear", "Transcribe them, or leave them out."),
    "empty_text": ("clips without a transcript", "Transcribe them, or leave them out."),
    "too_short": ("clips too short to train on", "Cut them again, or change --corpus.min_duration_s."),
    "too_long": ("clips too long to train on", "Cut them at pauses, or raise --corpus.max_duration_s."),
    "silent": ("silent clips", "Find the right recordings."),
    "text_too_long": ("texts that need more frames than the clip has, so that CTC cannot be trained",
                      "The text belongs to another clip, or the clip is cut off."),
}  # fmt: skip
_COLUMNS = 24  # of a histogram
_MAKE_ROOM = "Make room, then start the same command."


@dataclass(frozen=True)
class Examined:
    """All that was found; `as_json` is what --json writes."""

    root: str
    language: str
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    letters: tuple[tuple[str, str, int], ...]
    """(unit, its Unicode name, count in all splits), after normalisation"""
    hours: dict[str, float]
    speakers: dict[str, dict[str, float]]
    """split → speaker → hours; an unknown speaker is the empty name"""
    durations_s: tuple[float, ...]
    snrs_db: tuple[float, ...]
    letters_s: tuple[float, ...]
    utterances: tuple[Utterance, ...]
    """all of them"""
    rules: Text
    """the recipe's text rules with the proposed ones added, by which everything was judged"""
    markup: Markup
    """markup that the recipe does not handle, and the proposed rules"""
    fix: Fix
    """what --fix does"""
    left_out: tuple[LeftOut, ...]
    """parts of the corpus that were not read, such as other tiers"""
    outlook: str
    """what so much speech brings, in words; empty where the corpus cannot be trained on"""
    decoded: int
    """clips that were decoded: all, or the size of --sample"""
    is_sample: bool
    """whether only some of the clips were decoded; `hours` and `speakers` are estimates then"""
    estimate: "machine.Estimate | None" = None

    def known_speakers(self, split: str) -> int:
        """Return how many named speakers a split has."""
        return len({*self.speakers[split]} - {""})

    @property
    def fatal(self) -> bool:
        """Whether the corpus cannot be trained on."""
        return any(f.severity == "fatal" for f in self.findings)

    def as_json(self) -> dict:
        """Return plain values, whose keys docs/doctor.md describes."""
        return {
            "corpus": self.root,
            "trainable": not self.fatal,
            "findings": [
                {key: value for key, value in asdict(f).items() if key != "usable"} | {"count": f.count}
                for f in self.findings
            ],
            "alphabet": [{"unit": unit, "name": name, "count": count} for unit, name, count in self.letters],
            "hours": self.hours,
            "speakers": self.speakers,
            "decoded": self.decoded,
            "left_out": [part.model_dump() for part in self.left_out],
            "outlook": self.outlook,
            "text": {"drop": self.markup.drop, "unclear": self.markup.unclear, "replace": dict(self.markup.replace)},
            "estimate": asdict(self.estimate) if self.estimate else None,
        }


def examine(
    recipe: Recipe,
    console: Console,
    *,
    grid: FrameGrid | None = None,
    estimate: bool = False,
    sample: int | None = None,
) -> Examined:
    """Read a whole corpus, decode its clips, and return what is wrong with it.

    Args:
        recipe: Its corpus, language, text rules and base model are used.
        console: Where to show progress.
        grid: The frames of the model that would be trained; None: those of the recipe's base model.
        estimate: Time training steps on this machine, unless the corpus cannot be trained on.
        sample: Decode only so many clips, chosen at random but always alike; all transcripts are examined.

    Raises:
        InputError: the corpus cannot be read at all.
    """
    _require_temporary_folder()
    reading = corpora.read_all(corpora.sources(recipe), recipe.language, allow_unsplit=True)
    texts_as_written = [u.text or "" for u in reading.utterances]
    proposed = markup.find(texts_as_written, recipe.text, recipe.language)
    marks = _unclear(reading.utterances, Normaliser(recipe.text, recipe.language))
    # Everything else is judged as it will be with the proposed fields in the recipe.
    recipe = recipe.model_copy(update={"text": proposed.applied(recipe.text)})
    normalise = Normaliser(recipe.text, recipe.language)
    unclear = _unclear(reading.utterances, normalise)
    utterances = [u for u in reading.utterances if u.id not in unclear]
    texts = [normalise(u.text or "") for u in utterances]
    if not any(texts):
        raise InputError("no utterance has a transcript", place=recipe.corpus.root)
    from asr_adapt.stages.doctor import machine  # torch and transformers, which take seconds: after the corpus

    grid = grid or machine.grid(recipe)
    judged_by = [t for u, t in zip(utterances, texts, strict=True) if u.split in ("train", None)]
    alphabet = Alphabet.from_texts(judged_by if any(judged_by) else texts, recipe.text)
    chosen = _sample(len(utterances), sample)
    to_decode = [utterances[i] for i in chosen], [texts[i] for i in chosen]
    outcomes = _measured(recipe, *to_decode, alphabet, grid, console)

    reasons: dict[str, list[tuple[str, str]]] = defaultdict(list)
    if marks:
        reasons["unclear"] = list(marks.items())
    clips: list[tuple[Utterance, Measurements, str, float | None]] = []
    for utterance, text, (measured, claimed_s, problem) in zip(*to_decode, outcomes, strict=True):
        if problem and problem[0] != "unknown_letter":
            reasons[problem[0]].append((utterance.id, problem[1]))
        if measured:
            clips.append((utterance, measured, text, claimed_s))
    bad = {id for where in reasons.values() for id, _ in where}
    findings = [
        f for reason, where in reasons.items() for f in found(reason, "error", *UNTRAINABLE[reason], where, always)
    ]
    findings += markup_findings.check(reading.utterances, proposed)
    findings += transcripts.check(utterances, [proposed.cleaned(u.text or "", normalise) for u in utterances])
    findings += sound.check(clips, frozenset(bad))
    findings += channels.check(to_decode[0])
    digests = {u.id: measured.digest for u, measured, _, _ in clips if measured.peak >= checks.SILENCE_PEAK}
    findings += splits.check(utterances, texts, digests)
    findings += _unknown_letters(utterances, texts, alphabet)
    hours = _hours(utterances, {u.id: measured.duration_s for u, measured, _, _ in clips}, bad)
    findings += _unusable(reading, bad | unclear.keys(), sum(hours.get("train", {}).values()))
    ordered = in_order(findings)
    fatal = any(finding.severity == "fatal" for finding in ordered)
    units = Counter(unit for text in texts for unit in alphabet.split(text) if unit != " ")
    examined = Examined(
        root=str(recipe.corpus.root),
        language=recipe.language,
        notes=reading.notes,
        findings=ordered,
        letters=tuple((unit, describe_unit(unit), count) for unit, count in sorted(units.items())),
        hours={split: sum(spoken.values()) for split, spoken in hours.items()},
        speakers={split: dict(spoken) for split, spoken in hours.items()},
        durations_s=tuple(measured.duration_s for _, measured, _, _ in clips),
        snrs_db=tuple(min(measured.snr_db, 80.0) for _, measured, _, _ in clips),
        letters_s=tuple(len(text.replace(" ", "")) / measured.duration_s for _, measured, text, _ in clips),
        utterances=tuple(reading.utterances),
        rules=recipe.text,
        markup=proposed,
        fix=fix.plan(reading.utterances, ordered, proposed, normalise),
        left_out=reading.left_out,
        outlook="" if fatal else outlook.expectation(sum(hours["train"].values())),
        decoded=len(chosen),
        is_sample=len(chosen) < len(utterances),
    )
    if not estimate or examined.fatal:
        return examined
    return replace(examined, estimate=machine.estimate(recipe, utterances, examined.hours["train"]))


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, the worst first."""
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.count, f.name)))


def show(examined: Examined, console: Console) -> None:
    """Print the results on standard output: the corpus, then one line for each finding, the worst first."""
    for note in examined.notes:
        console.result(note)
    if examined.is_sample:
        console.result(
            f"sample: {examined.decoded:,} clips were decoded; audio was judged by these, durations are estimates"
        )
    for split, hours in examined.hours.items():
        known = examined.known_speakers(split)
        about = "about " if examined.is_sample else ""
        count = sum((u.split or "none") == split for u in examined.utterances)
        speakers = f", {known} speaker{'s' if known > 1 else ''}" if known else ""
        console.result(f"{split}: {about}{describe_duration(hours * 3600)}, {count:,} utterances{speakers}")
    for part in examined.left_out:
        console.result(f"not read: {part.describe()}")
    console.result(f"alphabet: {len(examined.letters)} letters: " + " ".join(unit for unit, _, _ in examined.letters))
    for finding in examined.findings:
        headline = f"{finding.severity}: {finding.name} × {finding.count}: {finding.problem}."
        console.result(f"{headline} {finding.example}. {finding.remedy}")
    if not examined.findings:
        console.result("no problems found" + (" in the sample" if examined.is_sample else ""))
    if examined.markup.fields():
        console.result(f"proposed settings: {examined.markup.fields()}")
    if examined.outlook:
        console.result(f"outlook: {examined.outlook}")
    if examined.fix.changes_anything:
        console.result(f"--fix FILE.jsonl writes {examined.fix.summary()}")
    if examined.estimate:
        console.result(_training(examined.estimate))


def _training(estimate: "machine.Estimate") -> str:
    """Return the estimate in words."""
    return (
        f"training here: about {describe_duration(estimate.hours * 3600)}, {estimate.memory_gb:.1f} GB "
        f"({estimate.free_gb:.1f} GB are "
        f"free): {estimate.how}"
    )


def refuse_places(places: Sequence[Path], fix: Path | None) -> None:
    """Refuse files that could not be written, before minutes of listening.

    Args:
        places: Files that may be written over.
        fix: The manifest of --fix.

    Raises:
        InputError: a place is no file's, or in no folder that can be written; or see `apply_fix`.
    """
    for place in (*places, *([fix] if fix else [])):
        if place.is_dir() or not os.access(place.absolute().parent, os.W_OK):
            raise InputError("cannot be written", place=place, remedy="Name a file in a folder that is yours.")
    if fix:
        _refuse_manifest(fix)


def _refuse_manifest(path: Path) -> None:
    if path.exists():
        raise InputError("already exists, and is not written over", place=path, remedy="Give --fix another name.")
    if path.suffix != ".jsonl":
        raise InputError("must end with .jsonl", place=path, remedy="A manifest is JSONL.")


def write_json(examined: Examined, path: Path) -> None:
    """Write `as_json`."""
    text = json.dumps(examined.as_json(), ensure_ascii=False, indent=1)
    with disk_full_as_error(path, _MAKE_ROOM):
        write_text(path, text.encode("utf-8", "backslashreplace").decode())  # names that are not UTF-8


def write_page(examined: Examined, path: Path) -> None:
    """Write what was found as one HTML file that reaches for nothing else."""
    from asr_adapt.report import render

    charts = [
        histogram("Duration of clips, s", examined.durations_s),
        histogram("Letters per second", examined.letters_s),
        histogram("Signal-to-noise ratio, dB", examined.snrs_db),
    ]
    page = render.render("doctor.html", examined=examined, charts=[c for c in charts if c])
    with disk_full_as_error(path, _MAKE_ROOM):
        write_text(path, "\n".join(map(printable, page.split("\n"))))


def recipe_edit(script: Path, recipe: Recipe, examined: Examined, manifest: Path) -> Edit:
    """Return the recipe script, reading the manifest of --fix in place of its corpora, with the proposed settings.

    Args:
        script: The recipe script.
        recipe: Its recipe, overridden by the command line.
        examined: Its corpus.
        manifest: The manifest of --fix.

    Raises:
        InputError: the script cannot be edited automatically.
    """
    read_as_manifest = {name: getattr(Source(), name) for name in Source.model_fields if name != "licence"}
    sections: dict = {"corpus": recipe.corpus.model_copy(update=read_as_manifest | {"root": manifest})}
    if recipe.corpora:
        sections["corpora"] = ()
    if examined.markup.fields():
        sections["text"] = examined.rules
    return edit(script, sections, {"text": examined.markup.describe()})


def apply_fix(examined: Examined, manifest: Path, recipe: Edit | None, console: Console) -> None:
    """Say what --fix does, then write the manifest and the recipe.

    Args:
        examined: The corpus.
        manifest: The `.jsonl` file to write.
        recipe: Of `recipe_edit`; None where no recipe was given.
        console: Where to say it.

    Raises:
        InputError: the manifest exists or is no .jsonl, or a split would be empty; nothing is written.
    """
    _refuse_manifest(manifest)
    examined.fix.show(console, examined.left_out)
    if examined.fix.emptied:
        raise InputError(
            f"nothing of {' and '.join(examined.fix.emptied)} can be used, so nothing is written",
            place=manifest, remedy="See the findings above.",
        )  # fmt: skip
    console.result(f"{manifest}: {examined.fix.summary()}")
    if note := examined.fix.note_on_cache():
        console.result(note)
    if recipe:
        for section, code in recipe.sections.items():
            console.result(f"{recipe.script}: {section}={code}")
    with disk_full_as_error(manifest, _MAKE_ROOM):
        examined.fix.write(manifest)
        if recipe:
            recipe.write()
    if recipe:
        console.result(f"next: asr-adapt run {recipe.script}")


@dataclass(frozen=True)
class Histogram:
    """Bars, as high as their share of the highest."""

    title: str
    counts: tuple[int, ...]
    low: float
    high: float


def histogram(title: str, values: Sequence[float]) -> Histogram | None:
    """Return values counted in equal columns; None where there are none."""
    if not values:
        return None
    low, high = min(values), max(values)
    width = (high - low) / _COLUMNS or 1.0
    counts = Counter(min(int((value - low) / width), _COLUMNS - 1) for value in values)
    return Histogram(title, tuple(counts[column] for column in range(_COLUMNS)), low, high)


def _unclear(utterances: Sequence[Utterance], normalise: Normaliser) -> dict[str, str]:
    """Return utterance's id → detail, for those with a mark of `text.unclear`."""
    if not normalise.rules.unclear:
        return {}
    marks = ((u.id, normalise.unclear(u.text or "")) for u in utterances)
    return {id: f"the transcript has {mark!r}" for id, mark in marks if mark is not None}


def _require_temporary_folder() -> None:
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise DiskFull(
            "no temporary folder can be written", place="TMPDIR", remedy="Make room, or set TMPDIR."
        ) from error


def _sample(count: int, size: int | None) -> list[int]:
    """Return the indices of the clips to decode, ascending."""
    if size is None or size >= count:
        return list(range(count))
    return sorted(random.Random(0).sample(range(count), size))


def _hours(
    utterances: Sequence[Utterance], measured_s: dict[str, float], unusable: set[str]
) -> dict[str, dict[str, float]]:
    """Return split → speaker → hours; a clip that was not decoded counts as the mean of those that were."""
    mean_s = statistics.fmean(measured_s.values()) if measured_s else 0.0
    hours: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for utterance in utterances:
        duration_s = measured_s.get(utterance.id)
        if duration_s is None and utterance.id not in unusable:
            duration_s = _stated_s(utterance) or mean_s
        if duration_s is not None:
            hours[utterance.split or "none"][utterance.speaker or ""] += duration_s / 3600
    return hours


def _stated_s(utterance: Utterance) -> float | None:
    """Return the duration that the corpus states, without opening the recording."""
    if utterance.end_s is not None:
        return utterance.end_s - (utterance.start_s or 0.0)
    return utterance.duration_s


def _measured(
    recipe: Recipe,
    utterances: list[Utterance],
    texts: list[str],
    alphabet: Alphabet,
    grid: FrameGrid,
    console: Console,
) -> list[tuple[Measurements | None, float | None, tuple[str, str] | None]]:
    """Return measurements, the stated duration, and why it cannot be trained on, for each utterance."""
    with (
        tempfile.TemporaryDirectory(prefix="asr-adapt-") as scratch,
        console.progress("decode", total=len(utterances)) as progress,
    ):

        def measure(checked: checks.Checked) -> tuple[Measurements | None, float | None, tuple[str, str] | None]:
            if checked.waveform is None:
                return None, None, checked.problem
            return sound.measure(checked.waveform), _claimed_s(checked.utterance), checked.problem

        trainability = checks.Trainability(alphabet, grid, recipe.corpus.min_duration_s, recipe.corpus.max_duration_s)
        workers = checks.threads(utterances, recipe.corpus.workers)
        return list(
            progress.over(checks.decode_and_check(utterances, texts, trainability, Path(scratch), workers, measure))
        )


def _claimed_s(utterance: Utterance) -> float | None:
    stated_s = _stated_s(utterance)
    if stated_s is not None or utterance.start_s is not None:
        return stated_s
    return audio.header_duration_s(utterance.audio)


def _unknown_letters(utterances: list[Utterance], texts: list[str], alphabet: Alphabet) -> list[Finding]:
    where = [
        (u.id, ", ".join(f"{unit} ({describe_unit(unit)})" for unit in unknown))
        for u, text in zip(utterances, texts, strict=True)
        if (unknown := alphabet.unknown(text))
    ]
    return found("unknown_letters", "warning", "letters in dev or test that train lacks: each counts as an error",
                 "Put such words into train, or map the letters in text.replace.", where)  # fmt: skip


def _unusable(reading: corpora.Reading, bad: set[str], train_hours: float) -> list[Finding]:
    """Return why the corpus cannot be trained on, if it cannot."""
    if 0 < train_hours * 3600 < outlook.MIN_TRAIN_S and reading.unsplit is None:
        return [
            Finding("too_little", "fatal", "train has too little speech to learn anything from",
                    "Transcribe more: 10 minutes are the least that was measured, an hour is useful.", (),
                    f"{describe_duration(train_hours * 3600)} of speech in train"),
            *_unusable(reading, bad, 0.0),
        ]  # fmt: skip
    if reading.unsplit is not None:
        return [
            Finding(
                "no_splits", "fatal", "no splits can be made", reading.unsplit.remedy, (), reading.unsplit.problem
            )
        ]
    findings = []
    for split in SPLITS:
        members = [u for u in reading.utterances if u.split == split]
        if not any(u.id not in bad for u in members):
            what = f"none of the {len(members)} utterances of {split} can be used" if members else f"{split} is empty"
            findings.append(
                Finding(
                    f"no_{split}",
                    "fatal",
                    "a split has nothing to use",
                    "Give the corpus train, dev and test.",
                    (),
                    what,
                )
            )
    return findings
