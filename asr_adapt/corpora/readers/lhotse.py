"""Cuts of lhotse: `cuts.jsonl` or `cuts.jsonl.gz`; each supervision of a cut is an utterance.

The recording is not cut: an utterance has its times, a supervision's being counted from its cut's beginning.
https://lhotse.readthedocs.io/en/latest/cuts.html
"""

import logging
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from asr_adapt.audio import media
from asr_adapt.corpora import json_lines
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source, Splits
from asr_adapt.records import LeftOut, Split, Utterance

LAYOUT = "lhotse cuts (.jsonl or .jsonl.gz), or a file of them for each split"
_SUFFIXES = (".jsonl", ".jsonl.gz")
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether `root` is a file of cuts, or a folder with one or with one for each split."""
    return bool(_files(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the supervisions of each cut; a word of a file's name such as `cuts_train` says the split.

    Raises:
        InputError: a cut is mixed of several, is changed when it is loaded, or has no audio file; a value is
            impossible.
    """
    finder = AudioFinder(root)
    files = _files(root)
    left_out = [path for path in files if source.splits not in ("own", "made") and not _split(path, source.splits)]
    for path in (path for path in files if path not in left_out):
        untranscribed, split = 0, _split(path, source.splits)
        for place, cut in json_lines.objects(path):
            audio = finder.find(_source(cut, place), place, path.parent)
            start_s = seconds(cut.get("start", 0), "start", place)
            for supervision in _objects(cut, "supervisions", place):
                if not supervision.get("text"):
                    untranscribed += 1
                    continue
                # A supervision may begin before its cut, and is cut off there.
                offset = supervision.get("start", 0)
                begin_s = start_s + (
                    offset if isinstance(offset, int | float) and offset < 0 else seconds(offset, "start", place)
                )
                yield utterance_at(
                    place,
                    id=supervision.get("id"),
                    audio=audio,
                    start_s=max(0.0, begin_s),
                    end_s=begin_s + seconds(supervision.get("duration"), "duration", place),
                    split=split,
                    language=supervision.get("language") or language,
                    speaker=supervision.get("speaker"),
                    text=supervision["text"],
                )
        if untranscribed:
            _log.warning("%s: %d supervisions have no text and are left out", path, untranscribed)
    return [LeftOut.of("split", path.name, [path]) for path in left_out]


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.name.endswith(_SUFFIXES) and _is_cut(json_lines.first(root)) else []
    found = [path for path in media.visible(root, "*") if path.name.endswith(_SUFFIXES) and path.is_file()]
    found = [path for path in found if _is_cut(json_lines.first(path))]
    return [path for path in found if _split(path)] or (found if len(found) == 1 else [])


def _is_cut(found: dict[str, Any]) -> bool:
    return "supervisions" in found or found.get("type") in ("MonoCut", "MultiCut", "MixedCut")


def _split(path: Path, choice: Splits = "own") -> Split | None:
    """Return the split in a name such as `librispeech_cuts_train-clean-100.jsonl.gz`."""
    if choice != "own":
        stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
        return split_named(stem, choice) or split_named(path.name, choice)
    words = path.name.removesuffix(".gz").removesuffix(".jsonl").split("_")
    return next((split for word in reversed(words) if (split := split_named(word))), None)


def _source(cut: dict[str, Any], place: str) -> str:
    """Return the audio file of a cut."""
    kind = cut.get("type", "MonoCut")
    recording = cut.get("recording")
    if kind not in ("MonoCut", "MultiCut") or not isinstance(recording, dict):
        what = f"a cut of type {kind!r}" if isinstance(recording, dict) else "a cut without a recording"
        raise InputError(f"{what} is not read", place=place, remedy="Save MonoCuts that have their recordings.")
    if recording.get("transforms"):
        raise InputError(
            "the recording is changed when lhotse loads it (transforms)",
            place=place,
            remedy="Give the cuts before augmentation, or save their audio with lhotse.",
        )
    sources = _objects(recording, "sources", place)
    if len(sources) != 1 or sources[0].get("type") not in ("file", "url"):
        kinds = ", ".join(str(source.get("type")) for source in sources) or "nothing"
        raise InputError(f"the recording's source is {kinds}, not one file", place=place)
    return json_lines.text(sources[0], "source", place)


def _objects(found: dict[str, Any], key: str, place: str) -> list[dict[str, Any]]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"field '{key}' is no list of objects", place=place)
    return value
