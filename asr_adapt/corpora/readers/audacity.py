"""Audacity's label tracks, exported as text beside the recording: `START<tab>END<tab>TEXT` in seconds.

The recording is not cut: an utterance has its times. `a.txt`, `a_labels.txt` and `a labels.txt` belong to `a.wav`.
https://manual.audacityteam.org/man/importing_and_exporting_labels.html
"""

import logging
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import iterate_lines

LAYOUT = "label tracks of Audacity (.txt with START, END and TEXT) beside recordings of the same name"
_LABEL = re.compile(r"[\d.,]+\t[\d.,]+(?:\t.*)?$")
_NAMED_LABELS = re.compile(r"[-_ .]*label(?:s|[-_ ]?track)?$", re.IGNORECASE)
_MOST_LOOKED_AT = 100  # files; a corpus may have a million that are something else
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether `root` is such a file, or one of the first texts in it is."""
    if root.is_file():
        return bool(_files(root))
    return any(is_labels(path) for path in islice(media.below(root, (".txt",)), _MOST_LOOKED_AT))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the labels of each file that have a text; a folder named as a split is that split.

    Raises:
        InputError: a line is no label, or a label ends before it begins.
    """
    base = root.parent if root.is_file() else root
    finder = AudioFinder(root)
    for path in _files(root):
        points = 0
        audio = finder.annotated(path, dict.fromkeys((path.stem, _NAMED_LABELS.sub("", path.stem) or path.stem)))
        relative = path.relative_to(base)
        for number, raw in iterate_lines(path):
            place = f"{path}:{number}"
            line = raw.rstrip("\r\n")
            if not line.strip() or line.startswith("\\"):  # a backslash: the frequencies of the label above
                continue
            start, end, text = (*line.split("\t", 2), "", "")[:3]
            start_s, end_s = seconds(start, "start", place), seconds(end, "end", place)
            if end_s < start_s:
                raise InputError(f"a label ends before it begins: {start} to {end}", place=place)
            if end_s == start_s:
                points += 1
            elif text.strip():
                yield utterance_at(
                    place,
                    id=f"{relative.as_posix()}#{number}",
                    audio=audio,
                    start_s=start_s,
                    end_s=end_s,
                    split=innermost_split(relative.parts[:-1], source.splits),
                    language=language,
                    text=text.strip(),
                )
        if points:
            _log.warning("%s: %d labels mark a point, not a stretch, and are left out", path, points)


def is_labels(path: Path) -> bool:
    """Whether a text file begins with a label."""
    try:
        first = next((line for _, line in iterate_lines(path) if line.strip()), "")
    except InputError:
        return False
    return bool(_LABEL.match(first.rstrip("\r\n")))


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".txt" and is_labels(root) else []
    return [path for path in media.below(root, (".txt",)) if is_labels(path)]
