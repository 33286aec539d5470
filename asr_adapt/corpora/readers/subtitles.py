"""Subtitles, `.srt` and `.vtt`, beside their media: each subtitle is an utterance.

The recording is not cut: an utterance has its times. Tags of style are taken out, and `<v NAME>` is the speaker.
`film.en.srt` belongs to `film.mp4`. https://www.w3.org/TR/webvtt1/
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.provenance import Drafts, Span
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import iterate_lines

LAYOUT = ".srt or .vtt files beside recordings of the same name"
_SUFFIXES = (".srt", ".vtt")
_ARROW = re.compile(r"^\s*([\d:.,]+)\s*-->\s*([\d:.,]+)(?:\s.*)?$")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
# Tags of both formats, and the position codes of SubStation Alpha that many players understand in .srt.
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(_files(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the subtitles of each file that are not empty; a folder named as a split is that split.

    Raises:
        InputError: a time cannot be read, or a subtitle ends before it begins.
    """
    base = root.parent if root.is_file() else root
    finder, drafts = AudioFinder(root), Drafts()
    for path in _files(root):
        audio = finder.annotated(path, _stems(path))
        relative = path.relative_to(base)
        found = list(_subtitles(path))
        texts = [shown(text) for _, _, _, text in found]
        spans = [
            Span(round(s * 1000), round(e * 1000), text) for (_, s, e, _), text in zip(found, texts, strict=True)
        ]
        judged = drafts.judge(path, spans)
        for number, (place, start_s, end_s, written) in enumerate(found, start=1):
            voice = _VOICE.search(written)
            if text := texts[number - 1]:
                yield utterance_at(
                    place,
                    id=f"{relative.as_posix()}#{number}",
                    audio=audio,
                    start_s=start_s,
                    end_s=end_s,
                    split=innermost_split(relative.parts[:-1], source.splits),
                    language=language,
                    speaker=html.unescape(voice[1]).strip() if voice else None,
                    text=text,
                    provenance=judged[number - 1],
                )


def shown(text: str) -> str:
    """Return what a viewer sees of a subtitle: without tags, on one line."""
    return " ".join(html.unescape(_TAG.sub("", text)).split())


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() in _SUFFIXES else []
    return media.below(root, _SUFFIXES)


def _stems(path: Path) -> list[str]:
    """Return what the recording may be called: `film.en` or `film`, of `film.en.srt`."""
    stem, dot, last = path.stem.rpartition(".")
    return [path.stem, stem] if dot and len(last) <= len("zh-Hant-HK") else [path.stem]


def _subtitles(path: Path) -> Iterator[tuple[str, float, float, str]]:
    """Yield `(place, start_s, end_s, text)`; what precedes a line of times is a number, a name or a note."""
    current: tuple[str, float, float] | None = None
    lines: list[str] = []
    for number, raw in iterate_lines(path):
        line = raw.rstrip("\r\n")
        place = f"{path}:{number}"
        if match := _ARROW.match(line):
            if current:
                yield *current, "\n".join(lines)
            times = [seconds(match[group], field, place) for group, field in ((1, "start"), (2, "end"))]
            if times[1] < times[0]:
                raise InputError(f"a subtitle ends before it begins: {line.strip()}", place=place)
            current, lines = (place, times[0], times[1]), []
        elif "-->" in line:
            raise InputError(f"no times of a subtitle: {line.strip()[:80]!r}", place=place)
        elif not line.strip():
            if current:
                yield *current, "\n".join(lines)
            current = None
        elif current:
            lines.append(line)
    if current:
        yield *current, "\n".join(lines)
