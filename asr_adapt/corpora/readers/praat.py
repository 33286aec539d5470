"""Praat: .TextGrid files, long or short, beside their recordings; each interval of the chosen tiers is an utterance.

The recording is not cut: an utterance has its times. Of several chosen tiers each is a speaker.
https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr_adapt.audio import media
from asr_adapt.corpora import tiers
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.provenance import OK, Drafted, Drafts, Mark, Span, share_time, without_draft_suffix
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.tiers import Annotation, Tier
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import LeftOut, Provenance, Utterance
from asr_adapt.storage import read_text

LAYOUT = ".TextGrid files"


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(files(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the intervals of the tiers that `source.tiers` names; of the only tier where it names none.

    Tiers of one name in a file are `NAME`, `NAME (2)` and so on; `NAME` chooses all of them. Returns what was not
    taken.

    Raises:
        InputError: a file is damaged, or its tiers have to be chosen.
    """
    base = root.parent if root.is_file() else root
    finder, drafts = AudioFinder(root), Drafts()
    found, differing = tiers.without_copies(files(root), lambda path: annotated(path, finder, drafts))
    selection = tiers.chosen(found, source.tiers)
    several = len({tier.draft_of or tier.name for tier in selection.taken}) > 1
    for tier in selection.taken:
        for annotation in tier.annotations:
            yield utterance_at(
                f"{tier.file}, tier '{tier.name}', interval {annotation.name}",
                id=f"{tier.file.relative_to(base).as_posix()}#{tier.name}:{annotation.name}",
                audio=tier.audio,
                start_s=annotation.start_s,
                end_s=annotation.end_s,
                language=language,
                speaker=(tier.draft_of or tier.name) if several else None,
                text=annotation.text,
                provenance=annotation.provenance,
            )
    return [*selection.left_out, *differing]


def files(root: Path) -> list[Path]:
    """Return the .TextGrid files below a folder, or the one that `root` is."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".textgrid" else []
    return media.below(root, (".textgrid",))


def annotated(path: Path, finder: AudioFinder, drafts: Drafts) -> Iterator[Tier]:
    """Yield the interval tiers of a file with all their intervals, empty ones too, and where their texts come from.

    Raises:
        InputError: the file is damaged.
    """
    from praatio.utilities import constants

    grid = parsed(path)
    audio = recording(path, finder)
    written = drafts.of(path)
    used: set[str] = set()
    confirmed: dict[str, list[Mark]] = {}
    found: list[Tier] = []
    for tier in grid["tiers"]:
        if tier["class"] == constants.INTERVAL_TIER:
            try:
                intervals = [
                    Annotation(str(number), float(start), float(end), label.strip())
                    for number, (start, end, label) in enumerate(tier["entries"], start=1)
                ]
            except ValueError as error:
                raise InputError(f"cannot be read as a TextGrid ({error})", place=path) from error
            candidates = (f"{tier['name']} ({number})" for number in itertools.count(2))
            name = next(n for n in itertools.chain([tier["name"]], candidates) if n not in used)
            used.add(name)
            found.append(Tier(path, name, tier["name"], None, audio, intervals))
            confirmed[name] = [Mark.of(_span(a)) for a in intervals if a.text.casefold() == OK]
    for tier in found:
        yield _judged(tier, written, confirmed) if written else tier


def recording(path: Path, finder: AudioFinder) -> str:
    """Return the recording of a file."""
    return finder.annotated(path, [without_draft_suffix(path).stem])


def _judged(tier: Tier, written: Drafted, confirmed: Mapping[str, Sequence[Mark]]) -> Tier:
    of = written.draft.tiers.get(tier.name)
    taken = confirmed.get(of.status, ()) if of and of.status else ()
    full = [a for a in tier.annotations if a.text]
    spans = [_span(a) for a in full]
    judged: dict[str, Provenance | None] = {
        # Praat's tiers have times of their own: those of a status are only about those of its segment.
        a.name: "corrected" if found == "machine" and any(share_time(span, ok) for ok in taken) else found
        for a, span, found in zip(full, spans, written.judge(tier.name, spans), strict=True)
    }
    return replace(
        tier,
        annotations=[replace(a, provenance=judged.get(a.name)) for a in tier.annotations],
        kind=(of.of if of else None) or tier.kind,
        above=tier.name if written.is_below(tier.name) else None,
        draft_of=of.of if of else None,
    )


def _span(annotation: Annotation) -> Span:
    start_ms, end_ms = (round((at or 0.0) * 1000) for at in (annotation.start_s, annotation.end_s))
    return Span(start_ms, end_ms, annotation.text)


def parsed(path: Path) -> dict[str, Any]:
    """Return a TextGrid as praatio reads it: `xmin`, `xmax` and `tiers`, with empty intervals.

    Raises:
        InputError: the file is damaged.
    """
    from praatio.utilities import constants, textgrid_io

    text = read_text(path, legacy=True).replace("\r\n", "\n").replace("\r", "\n")
    try:
        grid: dict[str, Any] = textgrid_io.parseTextgridStr(text, includeEmptyIntervals=True)
    except Exception as error:  # praatio's own errors, and those of the lists that it takes apart
        raise InputError(f"cannot be read as a TextGrid ({type(error).__name__}: {error})", place=path) from error
    if "item [1]:" in text:  # praatio 6.2 leaves the quotation marks of points doubled, in the long format alone
        for tier in grid["tiers"]:
            if tier["class"] == constants.POINT_TIER:
                tier["entries"] = [(time, label.replace('""', '"')) for time, label in tier["entries"]]
    return grid
