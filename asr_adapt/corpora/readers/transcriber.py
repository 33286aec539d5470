"""Transcriber: .trs files beside their recordings; what is between two synchronisation points is an utterance.

The recording is not cut: an utterance has its times. Events and comments are left out. Where two speak at once, both
texts are one utterance without a speaker. http://trans.sourceforge.net
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import open_regular

LAYOUT = ".trs files of Transcriber beside their recordings"
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(_files(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the segments of each file that have a text; a folder named as a split is that split.

    Raises:
        InputError: a file is damaged, or its times do not increase.
    """
    base = root.parent if root.is_file() else root
    finder = AudioFinder(root)
    for path in _files(root):
        parsed = _parsed(path)
        names = [path.stem, *([parsed.audio] if parsed.audio else [])]
        audio = finder.annotated(path, names)
        relative = path.relative_to(base)
        for number, segment in enumerate(parsed.segments, start=1):
            text = " ".join("".join(segment.text).split())
            if not text:
                continue
            place = f"{path}:{segment.line}"
            if segment.end_s is None or segment.end_s <= segment.start_s:
                raise InputError(f"the segment at {segment.start_s:g} s does not end after it", place=place)
            yield utterance_at(
                place,
                id=f"{relative.as_posix()}#{number}",
                audio=audio,
                start_s=segment.start_s,
                end_s=segment.end_s,
                split=innermost_split(relative.parts[:-1], source.splits),
                language=language,
                speaker=parsed.speakers.get(segment.speaker, segment.speaker) or None,
                text=text,
            )


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".trs" else []
    return media.below(root, (".trs",))


@dataclass
class _Segment:
    line: int
    start_s: float
    speaker: str
    end_s: float | None = None
    text: list[str] = field(default_factory=list)


class _Parsed:
    """The parts of one file, filled by the parser's events: no tree is kept, and no entity is expanded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.audio = ""
        self.speakers: dict[str, str] = {}
        self.segments: list[_Segment] = []
        self._open = False
        self._turn_end_s: float | None = None
        self._speaker = ""
        self._comment = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._entity

    def _place(self) -> str:
        return f"{self.path}:{self.parser.CurrentLineNumber}"

    def _entity(self, *declaration: object) -> None:
        raise InputError("declares entities, which a .trs file has no need of", place=self._place())

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Trans":
            self.audio = attributes.get("audio_filename", "")
        elif name == "Speaker":
            self.speakers[attributes.get("id", "")] = attributes.get("name", "")
        elif name == "Turn":
            spoken = attributes.get("speaker", "").split()
            self._speaker = spoken[0] if len(spoken) == 1 else ""
            self._turn_end_s = seconds(attributes.get("endTime", ""), "endTime", self._place())
            self._begin(seconds(attributes.get("startTime", ""), "startTime", self._place()))
        elif name == "Sync" and self._open:
            self._begin(seconds(attributes.get("time", ""), "time", self._place()))
        elif name == "Comment":
            self._comment += 1
        elif self._open:
            self.segments[-1].text.append(" ")

    def _begin(self, start_s: float) -> None:
        if self._open:
            self.segments[-1].end_s = start_s
        self._open = True
        self.segments.append(_Segment(self.parser.CurrentLineNumber, start_s, self._speaker))

    def _end(self, name: str) -> None:
        if name == "Turn" and self._open:
            self.segments[-1].end_s = self._turn_end_s
            self._open = False
        elif name == "Comment":
            self._comment -= 1

    def _text(self, text: str) -> None:
        if self._open and not self._comment:
            self.segments[-1].text.append(text)


def _parsed(path: Path) -> _Parsed:
    parsed = _Parsed(path)
    try:
        with open_regular(path) as file:
            parsed.parser.ParseFile(file)
    except expat.ExpatError as error:
        raise InputError(f"cannot be read as Transcriber's XML ({error})", place=path) from error
    except (OSError, LookupError, ValueError) as error:  # LookupError: an unknown encoding
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})", place=path) from error
    return parsed
