"""Subtitles: speech divided into what is shown at once, with the limits that subtitlers keep.

Lengths and times follow Netflix's Timed Text Style Guide (general requirements, English): 42 characters a line, two
lines, five sixths of a second to seven seconds, two frames between subtitles; a second and 17 characters a second are
the older, slower figures, for readers to whom the written language may be new.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from asr_adapt.formats.intervals import Interval

LINE_WIDTH = 42
LINES = 2
MIN_MS, MAX_MS = 1_000, 7_000
CHARACTERS_PER_S = 17
_BETWEEN_MS = 80
# A subtitle never spans a pause of this length, and a pause of the second costs nothing to divide at.
_LONG_PAUSE_MS = 1_000
_PAUSE_MS = 500


@dataclass(frozen=True)
class Subtitle:
    """At most two lines, shown from `start_ms` to `end_ms`."""

    lines: tuple[str, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class _Part:
    """A word, or a part of a word that is longer than a line; `glue` is the text before it."""

    text: str
    start_ms: int
    end_ms: int
    glue: str
    width: int


def width(text: str) -> int:
    """Return how many columns a text fills: one a grapheme cluster, two where it is East Asian and wide."""
    return sum(1 + (unicodedata.east_asian_width(cluster[0]) in "WF") for cluster in regex.findall(r"\X", text))


def of_words(words: Sequence[Interval], end_ms: int) -> list[Subtitle]:
    """Return the subtitles of a recording: as few as the limits allow, divided where the pauses are longest.

    A subtitle begins with its first word and stays for as long as it takes to read, if the next one leaves time. A
    word longer than a line (writing without spaces) is divided between grapheme clusters, and its time among them.

    Args:
        words: Of the whole recording, in order, none overlapping.
        end_ms: When the recording ends.
    """
    parts = [part for word in words for part in _parts(word)]
    # The cheapest division of the first n parts: its cost, and where its last subtitle begins.
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * len(parts)
    for first in range(len(parts)):
        lines, line, total = 1, 0, 0
        for last in range(first, len(parts)):
            part = parts[last]
            space = len(part.glue) if last > first else 0
            total += space + part.width
            line += space + part.width
            if line > LINE_WIDTH:
                lines, line = lines + 1, part.width
            too_long = lines > LINES or part.end_ms - parts[first].start_ms > MAX_MS
            if last > first and (too_long or part.start_ms - parts[last - 1].end_ms > _LONG_PAUSE_MS):
                break
            cost = best[first][0] + _cost(parts, first, last, total, end_ms)
            best[last + 1] = min(best[last + 1], (cost, first))
    found, stop = [], len(parts)
    while stop:
        first = best[stop][1]
        found.append(_subtitle(parts, first, stop, end_ms))
        stop = first
    return found[::-1]


def _cost(parts: Sequence[_Part], first: int, last: int, total: int, end_ms: int) -> float:
    """Return a subtitle's cost: one, two more for a break in running speech, two for each second that is missing."""
    following = parts[last + 1] if last + 1 < len(parts) else None
    until = min(following.start_ms - _BETWEEN_MS if following else end_ms, parts[first].start_ms + MAX_MS)
    lack_s = max(0, _wanted_ms(total) - (until - parts[first].start_ms)) / 1000
    if following is None:
        return 1 + 2 * lack_s
    at_break = max(0.0, 1 - (following.start_ms - parts[last].end_ms) / _PAUSE_MS)
    return 1 + 2 * lack_s + 2 * at_break


def _subtitle(parts: Sequence[_Part], first: int, stop: int, end_ms: int) -> Subtitle:
    shown = parts[first:stop]
    start = shown[0].start_ms
    until = parts[stop].start_ms - _BETWEEN_MS if stop < len(parts) else end_ms
    end = max(shown[-1].end_ms, min(start + _wanted_ms(_width(shown)), until))
    return Subtitle(_lines(shown), start, min(end, start + MAX_MS))


def _wanted_ms(characters: int) -> int:
    return max(MIN_MS, characters * 1000 // CHARACTERS_PER_S)


def _lines(parts: Sequence[_Part]) -> tuple[str, ...]:
    """Return one line if it fits, else two that are as equal as can be, between words if there are two."""
    if _width(parts) <= LINE_WIDTH or len(parts) == 1:
        return (_text(parts),)

    def badness(at: int) -> tuple[int, bool, int]:
        longer = max(_width(parts[:at]), _width(parts[at:]))
        return max(LINE_WIDTH, longer), not parts[at].glue, longer

    at = min(range(1, len(parts)), key=badness)
    return _text(parts[:at]), _text(parts[at:])


def _width(parts: Sequence[_Part]) -> int:
    return sum(len(part.glue) * bool(number) + part.width for number, part in enumerate(parts))


def _text(parts: Sequence[_Part]) -> str:
    return "".join(part.glue * bool(number) + part.text for number, part in enumerate(parts))


def _parts(word: Interval) -> list[_Part]:
    """Return the word as it is if a line holds it, else in parts of half a line that last seven seconds at most."""
    columns = width(word.text)
    if columns <= LINE_WIDTH:
        return [_Part(word.text, word.start_ms, word.end_ms, " ", columns)]
    clusters = regex.findall(r"\X", word.text)
    length_ms = word.end_ms - word.start_ms
    parts = max(math.ceil(columns / (LINE_WIDTH // 2)), math.ceil(length_ms / MAX_MS))
    texts, filled = [""], 0
    for cluster in clusters:
        if texts[-1] and filled * parts >= len(texts) * columns:
            texts.append("")
        texts[-1] += cluster
        filled += width(cluster)
    found, filled = [], 0
    for number, text in enumerate(texts):
        start = word.start_ms + length_ms * filled // columns
        filled += width(text)
        end = word.start_ms + length_ms * filled // columns
        found.append(_Part(text, start, end, "" if number else " ", width(text)))
    return found
