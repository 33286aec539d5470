"""compare: two or more systems on the same references, with paired intervals.

A system is what one model wrote for a test set: a run folder or its model, the output folder of `evaluate`, or a file
of hypotheses.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from asr_adapt.artifacts import MODEL_METADATA, Artifact, Contamination, ModelMetadata
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.recipe import Text
from asr_adapt.records import Utterance, read_jsonl
from asr_adapt.report import sounds
from asr_adapt.report.render import render
from asr_adapt.scoring import comparison, error_analysis, error_rates
from asr_adapt.scoring.error_rates import Errors
from asr_adapt.scoring.verdict import too_little
from asr_adapt.storage import read_lines
from asr_adapt.text.normaliser import Normaliser

_LENGTHS_S = (2.0, 5.0, 10.0, 20.0)
_SHOWN = 12
_UTTERANCES = 100
_GROUP_DRAWS = 1_000
_TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)")


@dataclass(frozen=True)
class System:
    """The hypotheses of one model, by utterance id."""

    name: str
    path: Path
    utterances: dict[str, Utterance]
    normaliser: Normaliser | None
    """None where no model is beside them"""
    contamination: Contamination | None = None
    """which utterances the model was trained on; None where that is not beside them"""

    @classmethod
    def read(cls, path: Path, baseline: "System | None" = None) -> "System":
        """Return the system at `path`: a folder with hypotheses.jsonl, such a file, or the model of a run.

        A `.trn` file (NIST: the words, then the id in parentheses) and a `.txt` or a file `text` (Kaldi: the id, then
        the words) hold hypotheses alone; references and recordings are then the baseline's.

        Args:
            path: The system's.
            baseline: For hypotheses without references.

        Raises:
            InputError: there are no hypotheses, or an utterance has none, or two have one id.
        """
        if path.is_file() and (path.suffix in {".trn", ".txt"} or path.name == "text"):
            return cls(path.stem, path, _without_references(path, baseline), None)
        if (path / MODEL_METADATA).is_file() and (path.resolve().parent / "hypotheses.jsonl").is_file():
            path = path.resolve().parent  # a run's model: what it wrote for the run's test set
        file = path / "hypotheses.jsonl" if path.is_dir() else path
        if not file.is_file():
            remedy = "Give a run folder, an --out folder of evaluate, or a hypotheses.jsonl."
            if (path / MODEL_METADATA).is_file():
                remedy = f"This is a model: asr-adapt evaluate --model {path} --corpus DIR, then compare its --out."
            raise InputError("no hypotheses here", place=path, remedy=remedy)
        utterances: dict[str, Utterance] = {}
        for number, utterance in read_jsonl(file):
            if utterance.hypothesis is None or utterance.text is None:
                lacks = "hypothesis" if utterance.hypothesis is None else "text"
                raise InputError(f"field '{lacks}' is missing", place=f"{file}:{number}")
            if utterance.id in utterances:
                raise InputError(f"id '{utterance.id}' occurs twice", place=f"{file}:{number}")
            utterances[utterance.id] = utterance
        if not utterances:
            raise InputError("holds no utterance", place=file)
        model = file.parent / "model"
        normaliser = None
        if (model / MODEL_METADATA).is_file():
            metadata = ModelMetadata.read(model)
            normaliser = Normaliser(metadata.normaliser, metadata.language)
        name = path.name if path.is_dir() else path.stem if path.stem != "hypotheses" else path.resolve().parent.name
        found = Contamination.read(file.parent)
        return cls(name or path.resolve().name, path, utterances, normaliser, found)


def _without_references(path: Path, baseline: System | None) -> dict[str, Utterance]:
    """Return the utterances of a NIST or Kaldi file of hypotheses, with the baseline's references."""
    if baseline is None:
        raise InputError(
            "holds hypotheses without references",
            place=path,
            remedy="Name a run folder or a hypotheses.jsonl of the same test set first.",
        )
    utterances: dict[str, Utterance] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        if path.suffix == ".trn":
            found = _TRN_LINE.fullmatch(line.strip())
            if found is None:
                raise InputError("does not end with an id in parentheses", place=f"{path}:{number}")
            id, text = found["id"], found["text"]
        else:
            id, *rest = line.split(maxsplit=1)
            text = "".join(rest)
        if id in utterances:
            raise InputError(f"id '{id}' occurs twice", place=f"{path}:{number}")
        known = baseline.utterances.get(id) or Utterance(id=id, audio=id, text="")
        utterances[id] = known.model_copy(update={"hypothesis": text.strip()})
    if not utterances:
        raise InputError("holds no utterance", place=path)
    return utterances


class Rate(BaseModel):
    """An error rate with its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float


class DifferenceOf(BaseModel):
    """The error rate minus the baseline's, with its paired 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    probability_of_improvement: float


class Group(BaseModel):
    """Utterances of one speaker or length, and the difference there."""

    model_config = ConfigDict(frozen=True)

    name: str
    utterances: int
    words: int
    baseline_wer: float
    wer: float
    difference: DifferenceOf | None
    """in WER; None in groups that are too small for an interval"""


class LetterChange(BaseModel):
    """Errors in one letter of the references (substituted or deleted), or in the marks of its letters."""

    model_config = ConfigDict(frozen=True)

    letter: str
    """of marks: their names, or `no mark`"""
    occurrences: int
    baseline_errors: int
    errors: int


class UtteranceChange(BaseModel):
    """An utterance in which the two systems differ."""

    model_config = ConfigDict(frozen=True)

    id: str
    line: int
    """of the baseline's hypotheses, from 1"""
    reference: str
    baseline: str
    hypothesis: str
    baseline_errors: int
    errors: int


class Comparison(BaseModel):
    """One system against the baseline."""

    model_config = ConfigDict(frozen=True)

    name: str
    wer: Rate
    cer: Rate
    wer_difference: DifferenceOf
    cer_difference: DifferenceOf
    cer_without_marks_difference: float
    mapsswe_p: float
    mapsswe_segments: int
    verdict: str
    by_speaker: tuple[Group, ...]
    by_length: tuple[Group, ...]
    letters: tuple[LetterChange, ...]
    """whose errors differ, most first"""
    marks: tuple[LetterChange, ...]
    """combinations of tone marks and other diacritics on letters that were written, right or wrong"""
    utterances: tuple[UtteranceChange, ...]


class Comparisons(Artifact):
    """What `compare --json` writes. Error rates are fractions; a difference below 0 is an improvement."""

    baseline: str
    baseline_wer: Rate
    baseline_cer: Rate
    utterances: int
    words: int
    drawn: str
    """what the bootstrap draws: speakers, recordings or utterances"""
    blocks: int
    draws: int
    normaliser: str
    too_little: str | None = None
    """that the test set is too small for the intervals to mean anything; None where it is large enough"""
    systems: tuple[Comparison, ...]
    trained_on: int = 0
    """how many of the utterances a system was trained on; compared because that was allowed"""
    left_out: int = 0
    """how many more utterances were left out because a system was trained on them"""

    @property
    def of_which(self) -> str:
        """`, of which 12 were trained on,`; empty if none was."""
        return f", of which a system was trained on {self.trained_on:,}" * bool(self.trained_on)


@dataclass(frozen=True)
class _Scored:
    """A system's errors on every utterance, in the baseline's order."""

    references: list[str]
    hypotheses: list[str]
    words: list[Errors]
    characters: list[Errors]
    word_errors_at: list[list[int]]

    @classmethod
    def of(cls, system: System, ids: Sequence[str], normalise: Callable[[str], str]) -> "_Scored":
        references = [normalise(system.utterances[id].text or "") for id in ids]
        hypotheses = [normalise(system.utterances[id].hypothesis or "") for id in ids]
        pairs = list(zip(references, hypotheses, strict=True))
        return cls(
            references,
            hypotheses,
            [error_rates.word_errors(*pair) for pair in pairs],
            [error_rates.character_errors(*pair) for pair in pairs],
            [_errors_at(*pair) for pair in pairs],
        )


def compare(
    systems: Sequence[System], console: Console, *, names: bool = False, allow_trained: bool = False
) -> Comparisons:
    """Compare systems with the first, the baseline, on the same references; print and return the result.

    Every system is normalised like the first one whose model is beside its hypotheses.

    Args:
        systems: The baseline, and at least one other.
        console: Where to report.
        names: Whether speakers and clips are named; else they are numbered.
        allow_trained: Keep utterances that a system was trained on and all of them were scored on.

    Raises:
        InputError: the systems were not scored on the same utterances and references, no reference has a word, or
            systems were trained on all utterances.
    """
    lines = {id: line for line, id in enumerate(systems[0].utterances, start=1)}
    systems, trained, left_out = _untrained(systems, console, allow_trained)
    baseline, *others = systems
    ids = list(baseline.utterances)
    for other in others:
        _refuse_other_references(baseline, other)
    normalise = next((s.normaliser for s in systems if s.normaliser), None)
    if normalise is None:
        normalise = Normaliser(Text(), next(iter(baseline.utterances.values())).language or "und")
        console.warn("no model is beside the hypotheses: the default text normalisation is used")
    elif any(s.normaliser and s.normaliser != normalise for s in systems):
        console.warn("the models normalise text differently: all are scored with the first one's rules")
    members = [baseline.utterances[id] for id in ids]
    drawn, blocks = comparison.block_labels([u.speaker for u in members], [u.audio for u in members])
    at = [lines[id] for id in ids]
    members = members if names else _numbered(members, at)
    reference = _Scored.of(baseline, ids, normalise)
    durations_s = [u.duration_s for u in members if u.duration_s is not None]
    little = too_little(len(ids), sum(durations_s) if len(durations_s) == len(ids) else None)
    found = [
        _compared(other, _Scored.of(other, ids, normalise), reference, members, at, blocks, little)
        for other in others
    ]
    result = Comparisons(
        baseline=baseline.name,
        baseline_wer=_rate(reference.words),
        baseline_cer=_rate(reference.characters),
        utterances=len(ids),
        words=error_rates.pool(reference.words).reference_length,
        drawn=drawn,
        blocks=len(set(blocks)),
        draws=comparison.DRAWS,
        normaliser=normalise.describe(),
        too_little=little,
        systems=tuple(found),
        trained_on=trained,
        left_out=left_out,
    )
    _show(result, console)
    return result


def _untrained(systems: Sequence[System], console: Console, allow_trained: bool) -> tuple[Sequence[System], int, int]:
    """Return the systems on what none was trained on, how many are kept that one was, and how many are left out."""
    unknown = [system.name for system in systems if system.contamination is None or not system.contamination.known]
    if unknown:
        console.say(f"what {', '.join(unknown)} or a base model was trained on is unknown")
    heard: dict[str, set[str]] = {}
    for system in systems:
        found = system.contamination or Contamination(known=False)
        for id in (*found.left_out, *found.scored):
            heard.setdefault(id, set()).add(system.name)
    present = {id for system in systems for id in system.utterances}
    scored_by_all = {id for id in heard if all(id in system.utterances for system in systems)}
    kept = scored_by_all if allow_trained else set()
    gone = {id: names for id, names in heard.items() if id in present and id not in kept}
    for name in dict.fromkeys(system.name for system in systems):
        if count := sum(name in names for names in gone.values()):
            console.warn(f"{count} of {len(present)} utterances are left out: {name} was trained on them")
        if count := sum(name in heard[id] for id in kept):
            console.warn(f"{name} was trained on {count} of {len(present)} utterances: its rates are no measure of "
                         "new speech")  # fmt: skip
    if gone.keys() >= present:
        raise InputError(
            f"all {len(present)} utterances were trained on by one of these systems",
            place=systems[0].path,
            remedy="Compare on other speech, or use --allow-trained here and in evaluate.",
        )
    left = [
        replace(system, utterances={id: u for id, u in system.utterances.items() if id not in gone})
        for system in systems
    ]
    return left, len(kept), len(gone)


def _numbered(members: Sequence[Utterance], lines: Sequence[int]) -> list[Utterance]:
    """Return the utterances with numbers in place of the names of speakers, and with lines in place of ids."""
    speakers = {
        name: f"speaker {n}" for n, name in enumerate(dict.fromkeys(u.speaker for u in members if u.speaker), 1)
    }
    return [
        u.model_copy(update={"id": f"utterance {n}", "speaker": u.speaker and speakers[u.speaker]})
        for n, u in zip(lines, members, strict=True)
    ]


def _refuse_other_references(baseline: System, other: System) -> None:
    ours, theirs = baseline.utterances, other.utterances
    here, there = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    changed = [id for id in ours.keys() & theirs.keys() if ours[id].text != theirs[id].text]
    problems = [
        f"{len(names)} {what}, such as '{sorted(names)[0]}'"
        for names, what in (
            (here, f"utterances are only in {baseline.name}"),
            (there, f"utterances are only in {other.name}"),
            (changed, "references differ"),
        )
        if names
    ]
    if problems:
        raise InputError(
            f"not the same test set as {baseline.path}: {'; '.join(problems)}",
            place=other.path,
            remedy="Evaluate both on the same split of the same corpus.",
        )


def _compared(
    system: System,
    scored: _Scored,
    baseline: _Scored,
    members: Sequence[Utterance],
    lines: Sequence[int],
    blocks: Sequence[Hashable],
    little: str | None,
) -> Comparison:
    words = _difference(scored.words, baseline.words, blocks)
    characters = _difference(scored.characters, baseline.characters, blocks)
    matched = comparison.mapsswe(scored.word_errors_at, baseline.word_errors_at)
    without = [
        error_rates.cer_without_marks(zip(each.references, each.hypotheses, strict=True))
        for each in (scored, baseline)
    ]
    return Comparison(
        name=system.name,
        wer=_rate(scored.words),
        cer=_rate(scored.characters),
        wer_difference=words,
        cer_difference=characters,
        cer_without_marks_difference=without[0] - without[1],
        mapsswe_p=matched.p,
        mapsswe_segments=matched.segments,
        verdict=verdict(system.name, words, characters, little),
        by_speaker=_groups([u.speaker or "unknown" for u in members], scored, baseline),
        by_length=_by_length([u.duration_s for u in members], scored, baseline),
        letters=_letters(scored, baseline),
        marks=_marks(scored, baseline),
        utterances=_utterances(members, lines, scored, baseline),
    )


def verdict(name: str, wer: DifferenceOf, cer: DifferenceOf, little: str | None) -> str:
    """Return in a sentence whether a system is better than the baseline: only where an interval leaves out 0.

    Args:
        name: Of the system.
        wer: Its difference from the baseline.
        cer: The same in characters.
        little: That the test set is too small, of `too_little`; then neither is called better.
    """
    if little:
        return f"{name} and the baseline cannot be told apart: {little}."
    better = [what for what, of in (("WER", wer), ("CER", cer)) if of.high < 0]
    worse = [what for what, of in (("WER", wer), ("CER", cer)) if of.low > 0]
    if better and not worse:
        return f"{name} is better than the baseline ({' and '.join(better)})."
    if worse and not better:
        return f"{name} is worse than the baseline ({' and '.join(worse)})."
    if better and worse:
        return f"{name} has a lower {better[0]} and a higher {worse[0]} than the baseline."
    return f"No difference between {name} and the baseline that this test set can show."


def _difference(
    errors: Sequence[Errors], baseline: Sequence[Errors], blocks: Sequence[Hashable], draws: int = comparison.DRAWS
) -> DifferenceOf:
    try:
        found = comparison.paired_difference(
            [e.total for e in errors],
            [e.total for e in baseline],
            [e.reference_length for e in baseline],
            blocks,
            draws=draws,
        )
    except ValueError as error:
        raise InputError(str(error), remedy="Compare on a split with transcripts.") from error
    return DifferenceOf(
        value=found.value,
        low=found.low,
        high=found.high,
        probability_of_improvement=found.probability_of_improvement,
    )


def _rate(errors: Sequence[Errors]) -> Rate:
    low, high = error_rates.rate_interval(errors)
    return Rate(value=error_rates.rate(errors), low=low, high=high)


def _errors_at(reference: str, hypothesis: str) -> list[int]:
    """Return the insertions before each word of the reference and the errors at it, as `mapsswe` takes them."""
    counts, word = [0] * (2 * len(reference.split()) + 1), 0
    for kind, *_ in error_rates.align_words(reference, hypothesis):
        if kind == "insert":
            counts[2 * word] += 1
        else:
            counts[2 * word + 1] = int(kind != "equal")
            word += 1
    return counts


def _by_length(durations_s: Sequence[float | None], scored: _Scored, baseline: _Scored) -> tuple[Group, ...]:
    """Return a group for each range of durations, the shortest first; utterances of unknown duration come last."""
    longest = math.inf
    order = {_length_range(d): d for d in sorted(d for d in durations_s if d is not None)} | {"unknown": longest}
    groups = _groups([_length_range(d) for d in durations_s], scored, baseline)
    return tuple(sorted(groups, key=lambda group: order[group.name]))


def _length_range(duration_s: float | None) -> str:
    if duration_s is None:
        return "unknown"
    lower = [edge for edge in _LENGTHS_S if duration_s >= edge]
    upper = [edge for edge in _LENGTHS_S if duration_s < edge]
    if not upper:
        return f"{lower[-1]:g} s and more"
    return f"{lower[-1]:g} to {upper[0]:g} s" if lower else f"under {upper[0]:g} s"


def _groups(names: Sequence[str], scored: _Scored, baseline: _Scored) -> tuple[Group, ...]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    groups = []
    for name, of_group in places.items():
        theirs, ours = ([each.words[i] for i in of_group] for each in (baseline, scored))
        if words := sum(e.reference_length for e in theirs):
            groups.append(
                Group(
                    name=name,
                    utterances=len(of_group),
                    words=words,
                    baseline_wer=error_rates.rate(theirs),
                    wer=error_rates.rate(ours),
                    difference=None
                    if too_little(len(of_group), None)
                    else _difference(ours, theirs, range(len(of_group)), _GROUP_DRAWS),
                )
            )
    return tuple(groups)


def _letters(scored: _Scored, baseline: _Scored) -> tuple[LetterChange, ...]:
    """Return the letters whose errors changed most."""
    errors: list[Counter[str]] = []
    occurrences: Counter[str] = Counter()
    for number, each in enumerate((baseline, scored)):
        wrong: Counter[str] = Counter()
        for pair in zip(each.references, each.hypotheses, strict=True):
            for kind, letter, *_ in error_rates.align_characters(*pair):
                if letter and number == 0:
                    occurrences[letter] += 1
                if letter and kind != "equal":
                    wrong[letter] += 1
        errors.append(wrong)
    before, after = errors
    ranked = sorted(occurrences, key=lambda letter: (-abs(after[letter] - before[letter]), letter))
    return tuple(
        LetterChange(
            letter=letter, occurrences=occurrences[letter], baseline_errors=before[letter], errors=after[letter]
        )
        for letter in ranked
        if after[letter] != before[letter]
    )


def _marks(scored: _Scored, baseline: _Scored) -> tuple[LetterChange, ...]:
    """Return the marks of the references, with the errors in them on letters whose base letter is right."""
    occurrences: Counter[str] = Counter()
    errors: list[Counter[str]] = []
    for number, each in enumerate((baseline, scored)):
        wrong: Counter[str] = Counter()
        for pair in zip(each.references, each.hypotheses, strict=True):
            for kind, letter, heard in error_rates.align_characters(*pair):
                if kind == "insert" or letter == error_rates.SPACE:
                    continue
                marks = error_analysis.marks_of(letter)
                occurrences[marks] += number == 0
                if kind == "substitute" and error_analysis.differs_only_in_marks(letter, heard):
                    wrong[marks] += 1
        errors.append(wrong)
    before, after = errors
    if occurrences.keys() <= {""} and not before and not after:
        return ()
    return tuple(
        LetterChange(
            letter=error_analysis.names_of_marks(marks),
            occurrences=count,
            baseline_errors=before[marks],
            errors=after[marks],
        )
        for marks, count in occurrences.most_common()
    )


def _utterances(
    members: Sequence[Utterance], lines: Sequence[int], scored: _Scored, baseline: _Scored
) -> tuple[UtteranceChange, ...]:
    """Return the utterances that differ most, by word errors, then by letters."""

    def change(i: int) -> tuple[int, int]:
        return scored.words[i].total - baseline.words[i].total, scored.characters[i].total - baseline.characters[
            i
        ].total

    ranked = sorted(range(len(members)), key=lambda i: tuple(-abs(part) for part in change(i)))
    return tuple(
        UtteranceChange(
            id=members[i].id,
            line=lines[i],
            reference=scored.references[i],
            baseline=baseline.hypotheses[i],
            hypothesis=scored.hypotheses[i],
            baseline_errors=baseline.words[i].total,
            errors=scored.words[i].total,
        )
        for i in ranked[:_UTTERANCES]
        if change(i) != (0, 0)
    )


def _show(result: Comparisons, console: Console) -> None:
    little = result.too_little
    drawn = f"paired 95 % intervals, {result.draws:,} draws of {result.blocks} {result.drawn}"
    console.table(
        f"baseline {result.baseline}: WER {result.baseline_wer.value:.3f}, CER {result.baseline_cer.value:.3f}; "
        f"{result.utterances:,} utterances{result.of_which}, {result.words:,} words; {little or drawn}",
        ("", "WER", "difference", "P(better)", "MAPSSWE p", "CER", "difference"),
        [
            (
                system.name,
                f"{system.wer.value:.3f}",
                _with_interval(system.wer_difference, little),
                "" if little else f"{system.wer_difference.probability_of_improvement:.3f}",
                "" if little else f"{system.mapsswe_p:.3f}",
                f"{system.cer.value:.3f}",
                _with_interval(system.cer_difference, little),
            )
            for system in result.systems
        ],
        is_result=True,
    )
    for system in result.systems:
        console.result(system.verdict)
        if system.letters:
            shown = ", ".join(
                f"{'space' if c.letter == error_rates.SPACE else c.letter} {c.errors - c.baseline_errors:+d}"
                for c in system.letters[:_SHOWN]
            )
            console.result(f"errors by letter, {system.name} against the baseline: {shown}")
        if system.marks:
            shown = ", ".join(
                f"{c.letter} {c.baseline_errors} -> {c.errors} of {c.occurrences}" for c in system.marks
            )
            console.result(f"wrong marks on right letters: {shown}")
        for title, groups in (("by length", system.by_length), ("by speaker", system.by_speaker)):
            if len(groups) > 1:
                _show_groups(f"{system.name} {title}", groups, console)
        for one in system.utterances[:3]:
            console.result(
                f"  {one.id}: {one.baseline_errors} -> {one.errors} word errors\n    reference:  {one.reference}\n"
                f"    baseline:   {one.baseline}\n    {'hypothesis:':11} {one.hypothesis}"
            )


def _show_groups(title: str, groups: Sequence[Group], console: Console) -> None:
    """Print the first groups, those with the most words."""
    shown = sorted(groups, key=lambda group: -group.words)[:_SHOWN]
    console.table(
        title + (f", {_SHOWN} of {len(groups)}" if len(groups) > _SHOWN else ""),
        ("", "utterances", "words", "baseline WER", "WER", "difference"),
        [
            (
                group.name,
                f"{group.utterances:,}",
                f"{group.words:,}",
                f"{group.baseline_wer:.3f}",
                f"{group.wer:.3f}",
                _with_interval(group.difference, None) if group.difference else "too little to measure",
            )
            for group in groups
            if group in shown
        ],
        is_result=True,
    )


def page(result: Comparisons, baseline: System, *, sound: bool = True) -> str:
    """Return the comparison as one self-contained page, with the recordings of the utterances that differ most.

    Args:
        result: Of `compare`.
        baseline: The first of its systems.
        sound: Whether the page contains recordings, of as many as fit; those that cannot be decoded are left out.

    Raises:
        InputError: the prepared corpus of the baseline's run is damaged.
    """
    recordings: dict[int, str] = {}
    if sound:
        utterances = list(baseline.utterances.values())
        folder = baseline.path if baseline.path.is_dir() else baseline.path.parent
        speech = sounds.speech_of(folder, utterances[0].split or "test", utterances, [""] * len(utterances))
        first = dict.fromkeys(one.line - 1 for system in result.systems for one in system.utterances)
        recordings = sounds.sounds(speech, list(first))
    return render("compare.html", result=result, recordings=recordings, with_sound=sound)


def _with_interval(difference: DifferenceOf, little: str | None) -> str:
    interval = "" if little else f" ({difference.low:+.3f} to {difference.high:+.3f})"
    return f"{difference.value:+.3f}{interval}"
