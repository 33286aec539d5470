"""ELAN: .eaf files, each beside its recording; every annotation of the chosen tiers is an utterance.

The recording is not cut: an utterance has its times. Several speakers are tiers of one type, with a participant each,
or named `TIER@SPEAKER`; where they speak at once, both pieces hold both voices. `NAME.draft.eaf` beside `NAME.eaf` is
what `asr-adapt draft` made of it: what is the same in both is read once.
https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

import itertools
import urllib.parse
import xml.parsers.expat as expat
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from asr_adapt.artifacts import Draft
from asr_adapt.audio import media
from asr_adapt.corpora import provenance, tiers
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.provenance import Drafted, Drafts, Span
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.tiers import Annotation, Tier
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import LeftOut, Provenance, Utterance
from asr_adapt.storage import open_regular

LAYOUT = ".eaf files"
AUTHOR = "asr-adapt"
"""of the documents that `transcribe` writes"""
# ELAN nests tiers: sentence, word, morpheme, gloss. More levels than this are references in a circle.
_MAX_DEPTH = 100
_LATEST_MS = 10**12  # 30 years


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(files(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the annotations of the tiers that `source.tiers` names, by name or by type; return what was not taken.

    Raises:
        InputError: a file is damaged, its tiers have to be chosen, or an annotation of a chosen tier has no times.
    """
    base = root.parent if root.is_file() else root
    finder, drafts = AudioFinder(root), Drafts()
    found, differing = tiers.without_copies(files(root), lambda path: annotated(path, finder, drafts))
    selection = tiers.chosen(found, source.tiers)
    for tier in selection.taken:
        for annotation in tier.annotations:
            place = f"{tier.file}, tier '{tier.name}', annotation {annotation.name}"
            if annotation.problem:
                raise InputError(
                    annotation.problem, place=place, remedy="Correct it in ELAN, or choose another tier."
                )
            yield utterance_at(
                place,
                id=f"{tier.file.relative_to(base).as_posix()}#{annotation.name}",
                audio=tier.audio,
                start_s=annotation.start_s,
                end_s=annotation.end_s,
                language=language,
                speaker=tier.speaker,
                text=annotation.text,
                provenance=annotation.provenance,
            )
    return [*selection.left_out, *differing]


def files(root: Path) -> list[Path]:
    """Return the .eaf files below a folder, or the one that `root` is."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".eaf" else []
    return media.below(root, (".eaf",))


@dataclass(frozen=True)
class AnnotatedFile:
    """What an .eaf file holds."""

    tiers: list[Tier]
    """with all their annotations, empty ones too, and where their texts come from"""
    audio: str
    """the recording"""
    start_s: float
    """seconds of the recording that lie before the annotations' zero"""
    media: set[Path]
    """all recordings and videos that are linked and there"""
    draft: Draft | None
    """what a model wrote into it"""


@dataclass
class _Item:
    """An annotation as it is in the file: aligned by two time slots, or referring to the one above it."""

    name: str
    slots: tuple[str, str] | None = None
    above: str = ""
    previous: str | None = None
    text: str = ""


@dataclass
class _Document:
    """What an .eaf file holds of media, times and tiers."""

    attributes: dict[str, str] = field(default_factory=dict)
    media: list[dict[str, str]] = field(default_factory=list)
    slots: dict[str, int | None] = field(default_factory=dict)
    """time slot → milliseconds; None where ELAN left the time open; in the order of time"""
    tiers: list[tuple[dict[str, str], list[_Item]]] = field(default_factory=list)
    """attributes and annotations"""
    draft: str | None = None
    """the property in which `asr-adapt` keeps what a model wrote"""
    has_properties: bool = False
    """ELAN writes some when it saves"""


def _parse(path: Path) -> _Document:
    """Return the document.

    Raises:
        InputError: the file cannot be read, is not XML or not ELAN's, or declares entities (which can expand to
            any size; ELAN writes none).
    """
    document = _Document()
    value: list[str] | None = None
    is_draft = False
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal value, depth, is_draft
        depth += 1
        if depth == 1:
            if tag != "ANNOTATION_DOCUMENT":
                raise ValueError(f"the root element is {tag}")
            document.attributes = attributes
        elif tag == "HEADER" and attributes.get("TIME_UNITS", "milliseconds") != "milliseconds":
            raise ValueError(f"its time unit is {attributes['TIME_UNITS']}, not milliseconds")
        elif tag == "MEDIA_DESCRIPTOR":
            _milliseconds(attributes.get("TIME_ORIGIN"))
            document.media.append(attributes)
        elif tag == "TIME_SLOT":
            document.slots[attributes["TIME_SLOT_ID"]] = _milliseconds(attributes.get("TIME_VALUE"))
        elif tag == "TIER":
            attributes["TIER_ID"]  # an error if it is missing
            document.tiers.append((attributes, []))
        elif tag in {"ALIGNABLE_ANNOTATION", "REF_ANNOTATION"}:
            if not document.tiers:
                raise ValueError("an annotation is outside of a tier")
            item = _Item(attributes["ANNOTATION_ID"], previous=attributes.get("PREVIOUS_ANNOTATION"))
            if tag == "REF_ANNOTATION":
                item.above = attributes["ANNOTATION_REF"]
            else:
                item.slots = attributes["TIME_SLOT_REF1"], attributes["TIME_SLOT_REF2"]
            document.tiers[-1][1].append(item)
        elif tag == "PROPERTY":
            document.has_properties = True
            if is_draft := attributes.get("NAME") == provenance.PROPERTY:
                value = []
        elif tag == "ANNOTATION_VALUE":
            value = []

    def end(tag: str) -> None:
        nonlocal value, depth
        depth -= 1
        if tag == "ANNOTATION_VALUE" and value is not None:
            if document.tiers and document.tiers[-1][1]:
                document.tiers[-1][1][-1].text = "".join(value)
            value = None
        elif tag == "PROPERTY" and is_draft and value is not None:
            document.draft, value = "".join(value), None

    def characters(data: str) -> None:
        if value is not None:
            value.append(data)

    def refuse(*_: object) -> None:
        raise ValueError("it declares entities")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.EntityDeclHandler = refuse
    try:
        with open_regular(path) as file:
            parser.ParseFile(file)
    except KeyError as error:
        raise InputError(f"cannot be read as ELAN (attribute {error} is missing)", place=path) from error
    except (expat.ExpatError, ValueError, LookupError, OSError) as error:  # LookupError: an unknown encoding
        raise InputError(f"cannot be read as ELAN ({error})", place=path) from error
    return document


def _milliseconds(value: str | None) -> int | None:
    """Return a time as a number; None where there is none."""
    if not value:
        return None
    milliseconds = int(value)
    if abs(milliseconds) > _LATEST_MS:
        raise ValueError(f"a time has {len(value)} digits")
    return milliseconds


def annotated(path: Path, finder: AudioFinder, drafts: Drafts) -> list[Tier]:
    """Return the tiers of a file with all their annotations; see `examined`."""
    return examined(path, finder, drafts).tiers


def examined(path: Path, finder: AudioFinder, drafts: Drafts) -> AnnotatedFile:
    """Return what a file holds.

    Raises:
        InputError: the file is damaged.
    """
    document = _parse(path)
    audio, shift_s = _media(path, document.media, finder)
    written = _drafted(document, path, drafts)
    by_name = {item.name: item for _, items in document.tiers for item in items}
    position: dict[int, int] = {}  # by identity: names may occur twice
    times: dict[int, tuple[float, float]] = {}
    for _, items in document.tiers:
        position |= _positions(items)
        times |= _times_s(items, document.slots, shift_s)
    confirmed = _confirmed(document, written)
    tiers = []
    for attributes, items in document.tiers:
        name = attributes["TIER_ID"]
        annotations = list(_annotations(items, by_name, position, times))
        of = written.draft.tiers[name].of if written and name in written.draft.tiers else None
        if written:
            annotations = _judged(name, annotations, written, confirmed, shift_s)
        tiers.append(
            Tier(
                file=path,
                name=name,
                kind=attributes.get("LINGUISTIC_TYPE_REF", ""),
                speaker=attributes.get("PARTICIPANT") or (of or name).partition("@")[2] or None,
                audio=audio,
                annotations=annotations,
                above=attributes.get("PARENT_REF") or None,
                draft_of=of,
            )
        )
    names = {_plain(d.get(key, "")) for d in document.media for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL")} - {""}
    places = {path.parent / part for name in names for part in (name, PurePosixPath(name).name)} | {Path(audio)}
    linked = {place.resolve() for place in places if _is_file(place)}
    return AnnotatedFile(tiers, audio, shift_s, linked, written.draft if written else None)


def _drafted(document: _Document, path: Path, drafts: Drafts) -> Drafted | None:
    """Return what a model wrote into a document, by its property or by the record beside it."""
    if document.draft is not None:
        return provenance.parse_property(document.draft, path)
    if document.attributes.get("AUTHOR") == AUTHOR and not document.has_properties:
        return Drafted(Draft(), all_machine=True)  # of an older version, and never saved by ELAN
    return drafts.of(path)


def _confirmed(document: _Document, written: Drafted | None) -> set[str]:
    """Return the names of the annotations that a person takes as they are."""
    status = {tier.status for tier in written.draft.tiers.values()} if written else set()
    return {
        item.above
        for attributes, items in document.tiers if attributes["TIER_ID"] in status
        for item in items if item.text.strip().casefold() == provenance.OK
    }  # fmt: skip


def _judged(
    tier: str, annotations: Sequence[Annotation], written: Drafted, confirmed: set[str], shift_s: float
) -> list[Annotation]:
    spans = {
        number: Span(round((a.start_s - shift_s) * 1000), round((a.end_s - shift_s) * 1000), a.text)
        for number, a in enumerate(annotations) if a.text and a.start_s is not None and a.end_s is not None
    }  # fmt: skip
    found: dict[int, Provenance | None] = dict(zip(spans, written.judge(tier, [*spans.values()]), strict=True))
    return [
        replace(a, provenance="corrected" if found.get(n) == "machine" and a.name in confirmed else found.get(n))
        for n, a in enumerate(annotations)
    ]


def _annotations(
    items: Sequence[_Item],
    by_name: Mapping[str, _Item],
    position: Mapping[int, int],
    times: Mapping[int, tuple[float, float]],
) -> Iterator[Annotation]:
    """Yield the annotations of a tier; words below one sentence are joined, since they share its times."""
    sentences: dict[int, list[tuple[tuple[int, ...], _Item]]] = defaultdict(list)
    origin_of: dict[int, _Item] = {}
    for item in items:
        if item.slots is None and (found := _origin(item, by_name, position)) is not None:
            origin, way = found
            origin_of[id(origin)] = origin
            sentences[id(origin)].append((way, item))
    for key, words in sentences.items():
        text = " ".join(item.text for _, item in sorted(words, key=lambda word: word[0])).strip()
        # Its name is that of the first in the file, as it always was: runs know utterances by their names.
        yield _annotation(words[0][1], times.get(key), text)
    for item in items:
        if item.slots is not None:
            yield _annotation(item, times.get(id(item)), item.text.strip())
        elif _origin(item, by_name, position) is None:
            problem = f"refers to '{item.above}', which does not lead to an annotation with times"
            yield Annotation(item.name, None, None, item.text.strip(), problem)


def _annotation(item: _Item, times_s: tuple[float, float] | None, text: str) -> Annotation:
    if times_s is None:
        return Annotation(item.name, None, None, text, "has no times")
    return Annotation(item.name, *times_s, text)


def _origin(
    item: _Item, by_name: Mapping[str, _Item], position: Mapping[int, int]
) -> tuple[_Item, tuple[int, ...]] | None:
    """Return the aligned annotation that an item leads to, and its position among its siblings at each level.

    None where a reference leads nowhere, or in a circle.
    """
    way: list[int] = []
    current: _Item | None = item
    while current is not None and current.slots is None and len(way) < _MAX_DEPTH:
        way.append(position[id(current)])
        current = by_name.get(current.above)
    return None if current is None or current.slots is None else (current, tuple(reversed(way)))


def _positions(items: Sequence[_Item]) -> dict[int, int]:
    """Return the position of each item in its tier: as PREVIOUS_ANNOTATION says, else as in the file."""
    names = {item.name for item in items}
    following: dict[str | None, list[_Item]] = defaultdict(list)
    for item in items:
        following[item.previous if item.previous in names else None].append(item)
    position: dict[int, int] = {}
    # A circle of predecessors has no beginning: what is not reached from one keeps the file's order, at the end.
    for begin in itertools.chain(following[None], items):
        waiting = [begin]
        while waiting:
            item = waiting.pop()
            if id(item) not in position:
                position[id(item)] = len(position)
                waiting.extend(reversed(following[item.name]))
    return position


def _times_s(
    items: Sequence[_Item], slots: Mapping[str, int | None], shift_s: float
) -> dict[int, tuple[float, float]]:
    """Return the times of a tier's aligned annotations, as far as they are known.

    A time that ELAN left open, in a subdivision of an annotation, is interpolated as ELAN does: the open times
    between two that are known are spaced evenly.
    """
    used = {slot for item in items for slot in item.slots or ()}
    # A tier's slots in the order of time.
    known = {slot: time for slot, time in slots.items() if slot in used}
    ordered = list(known)
    last: int | None = None
    for index, slot in enumerate(ordered):
        time_ms = known[slot]
        if time_ms is None:
            continue
        if last is not None and index - last > 1 and (begin_ms := known[ordered[last]]) is not None:
            for step, between in enumerate(ordered[last + 1 : index], start=1):
                known[between] = begin_ms + (time_ms - begin_ms) * step // (index - last)
        last = index
    found = {}
    for item in items:
        start_ms, end_ms = (known.get(slot) for slot in item.slots or ("", ""))
        if start_ms is not None and end_ms is not None:
            found[id(item)] = start_ms / 1000 + shift_s, end_ms / 1000 + shift_s
    return found


def _media(path: Path, descriptors: list[dict[str, str]], finder: AudioFinder) -> tuple[str, float]:
    """Return the recording, and the seconds of it that lie before the annotations' zero.

    Files are moved between machines. Tried in this order: the relative path, which may lead out of the corpus; the
    name beside the .eaf; the absolute path; a recording of the .eaf's own name beside it; these names by the rule of
    `audio_files`.
    """
    ranked = [
        (
            [_plain(descriptor.get(key, "")) for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL")],
            (_milliseconds(descriptor.get("TIME_ORIGIN")) or 0) / 1000,
        )
        for descriptor in sorted(descriptors, key=lambda d: not d.get("MIME_TYPE", "").startswith("audio"))
    ]
    for (relative, absolute), shift_s in ranked:
        for name in (relative, *(PurePosixPath(name).name for name in (relative, absolute)), absolute):
            if name and _is_file(path.parent / name):
                return str(path.parent / name), shift_s
    own = media.beside(provenance.without_draft_suffix(path))
    if own.is_file():
        return str(own), 0.0
    for names, shift_s in (*ranked, ([provenance.without_draft_suffix(path).stem], 0.0)):
        # Without what leads out of the corpus: that was tried as it is written.
        below = ["/".join(part for part in name.split("/") if part not in ("", ".", "..")) for name in names]
        if any(below) and _is_file(Path(found := finder.annotated(path, filter(None, below)))):
            return found, shift_s
    named = [name for names, _ in ranked for name in names if name]
    return str(path.parent / named[0] if named else own), 0.0


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _plain(url: str) -> str:
    """Return the path in a media URL: `file:///C:/a%20b.wav` and `..\\a b.wav` alike."""
    return urllib.parse.unquote(url).removeprefix("file://").replace("\\", "/")
