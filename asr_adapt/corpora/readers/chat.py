"""CHAT, the format of CLAN and TalkBank: .cha files beside their media; each main line with times is an utterance.

The recording is not cut: an utterance has the times of its bullets. Dependent tiers (`%mor`, `%gra`, …) are left out;
codes in the main line stay for `text.drop` and `text.unclear`. https://talkbank.org/manuals/CHAT.html
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import iterate_lines

LAYOUT = ".cha files of CLAN or TalkBank beside their media"
_BULLET = re.compile(r'\x15(?:%(?:snd|mov):"[^"\x15]*"_)?(\d{1,9})_(\d{1,9})-?\x15')
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(_files(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the main lines that have times; a folder named as a split is that split.

    Raises:
        InputError: a line has no colon after its speaker, or ends before it begins.
    """
    base = root.parent if root.is_file() else root
    finder = AudioFinder(root)
    for path in _files(root):
        relative = path.relative_to(base)
        names: dict[str, str] = {}
        sources = [path.stem]
        audio: str | None = None
        untimed = 0
        for number, line in _logical_lines(path):
            place = f"{path}:{number}"
            tag, colon, rest = line.partition(":")
            if tag == "@Participants":
                names = _participants(rest)
            elif tag == "@Media":
                sources.insert(0, rest.split(",")[0].strip().strip('"') or path.stem)
            elif line.startswith("*"):
                if not colon:
                    raise InputError("a main line has no ':' after its speaker", place=place)
                times = [(int(start), int(end)) for start, end in _BULLET.findall(rest)]
                if not times:
                    untimed += 1
                    continue
                if audio is None:
                    audio = finder.annotated(path, sources)
                if (start_ms := times[0][0]) >= (end_ms := times[-1][1]):
                    raise InputError(
                        f"an utterance from {start_ms} to {end_ms} ms ends before it begins", place=place
                    )
                code = tag[1:].strip()
                yield utterance_at(
                    place,
                    id=f"{relative.as_posix()}#{number}",
                    audio=audio,
                    start_s=start_ms / 1000,
                    end_s=end_ms / 1000,
                    split=innermost_split(relative.parts[:-1], source.splits),
                    language=language,
                    speaker=names.get(code, code) or None,
                    text=" ".join(_BULLET.sub(" ", rest).split()),
                )
        if untimed:
            _log.warning("%s: %d main lines have no times, and are left out", path, untimed)


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".cha" else []
    return media.below(root, (".cha",))


def _logical_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield `(number, line)` with the lines that continue it, which begin with a tab."""
    begun, parts = 0, []
    for number, raw in iterate_lines(path):
        line = raw.rstrip("\r\n")
        if line.startswith("\t"):
            parts.append(line.strip())
            continue
        if parts:
            yield begun, " ".join(parts)
        begun, parts = number, [line]
    if parts:
        yield begun, " ".join(parts)


def _participants(rest: str) -> dict[str, str]:
    """Return code → name of `CHI Ross Target_Child, MOT Mother`; a code without a name stays what it is."""
    words = [participant.split() for participant in rest.split(",")]
    return {one[0]: one[1] for one in words if len(one) == 3}
