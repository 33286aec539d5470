"""ELAN: .eaf files, each beside its recording; every annotation of the chosen tiers is an utterance.

The recording is not cut: an utterance has its times. Several speakers are tiers of one type, with a participant each,
or named `TIER@SPEAKER`; where they speak at once, both pieces hold both voices.
https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from asr_adapt.audio import media
from asr_adapt.corpora import tiers
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.tiers import Tier
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

LAYOUT = ".eaf files"


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(_files(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the annotations of the tiers that `source.tiers` names, by name or by type.

    Raises:
        InputError: a file is damaged, its tiers have to be chosen, or an annotation has no times.
    """
    base = root.parent if root.is_file() else root
    found = [tier for path in _files(root) for tier in _tiers(path, source.tiers)]
    for tier in tiers.chosen(found, source.tiers):
        for name, start_s, end_s, text in tier.annotations:
            yield utterance_at(
                f"{tier.file}, tier '{tier.name}', annotation {name}",
                id=f"{tier.file.relative_to(base).as_posix()}#{name}",
                audio=tier.audio,
                start_s=start_s,
                end_s=end_s,
                language=language,
                speaker=tier.speaker,
                text=text,
            )


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".eaf" else []
    return [path for path in media.visible(root) if path.suffix.lower() == ".eaf"]


def _tiers(path: Path, wanted: tuple[str, ...]) -> Iterator[Tier]:
    """Yield a file's tiers; those below others only where tiers are named, since they repeat what is above."""
    from pympi import Eaf

    try:
        eaf = Eaf(str(path), suppress_version_warning=True)
    except Exception as error:  # pympi raises bare ones, and KeyError where an attribute is missing
        raise InputError(f"cannot be read as ELAN ({error or type(error).__name__})", place=path) from error
    audio, shift_s = _media(path, eaf.media_descriptors)
    for name, (aligned, references, attributes, _) in eaf.tiers.items():
        if attributes.get("PARENT_REF") and not wanted:
            continue
        speaker = attributes.get("PARTICIPANT") or name.partition("@")[2] or None
        # Words below one sentence are put together again: they share its times.
        sentences: dict[tuple[str, str], tuple[str, list[str]]] = {}
        for identifier, (_, value, *_) in references.items():
            _, words = sentences.setdefault(_slots(eaf, identifier, path), (identifier, []))
            words.append(value or "")
        for identifier, (first, last, value, _) in aligned.items():
            sentences[first, last] = identifier, [value]
        annotations = [
            (identifier, *_times_s(eaf, slots, shift_s, f"{path}, annotation {identifier}"), " ".join(words).strip())
            for slots, (identifier, words) in sentences.items()
            if any(word.strip() for word in words)
        ]
        yield Tier(path, name, attributes.get("LINGUISTIC_TYPE_REF", ""), speaker, audio, annotations)


def _slots(eaf: Any, identifier: str, path: Path) -> tuple[str, str]:
    """Return the time slots of the aligned annotation above one that has no times of its own."""
    try:
        aligned, references = eaf.tiers[eaf.annotations[identifier]][:2]
        while identifier in references:
            identifier = references[identifier][0]
            aligned, references = eaf.tiers[eaf.annotations[identifier]][:2]
        return aligned[identifier][:2]
    except KeyError as error:
        raise InputError(f"annotation {error} is referred to, and is not there", place=path) from error


def _times_s(eaf: Any, slots: tuple[str, str], shift_s: float, place: str) -> tuple[float, float]:
    start_ms, end_ms = (eaf.timeslots.get(slot) for slot in slots)
    if start_ms is None or end_ms is None:
        raise InputError("has no times", place=place, remedy="Align it in ELAN, or choose another tier.")
    return start_ms / 1000 + shift_s, end_ms / 1000 + shift_s


def _media(path: Path, descriptors: list[dict[str, str]]) -> tuple[str, float]:
    """Return the recording, and the seconds of it that lie before the annotations' zero.

    Files are moved between machines: the relative path goes first, then the name beside the .eaf, then the absolute
    path, then a recording of the .eaf's own name.
    """
    ranked = sorted(descriptors, key=lambda d: not d.get("MIME_TYPE", "").startswith("audio"))
    for descriptor in ranked:
        relative, absolute = (_plain(descriptor.get(key, "")) for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL"))
        names = [relative, *(PurePosixPath(name).name for name in (relative, absolute)), absolute]
        for name in names:
            if name and (path.parent / name).is_file():
                return str(path.parent / name), int(descriptor.get("TIME_ORIGIN") or 0) / 1000
    own = media.beside(path)
    named = [_plain(d.get("RELATIVE_MEDIA_URL") or d.get("MEDIA_URL", "")) for d in ranked]
    return str(own if own.is_file() or not any(named) else path.parent / next(filter(None, named))), 0.0


def _plain(url: str) -> str:
    """Return the path in a media URL: `file:///C:/a%20b.wav` and `..\\a b.wav` alike."""
    return urllib.parse.unquote(url).removeprefix("file://").replace("\\", "/")
