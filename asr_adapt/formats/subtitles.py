"""Cues: speech cut into what a subtitle shows at once, with the limits that subtitlers keep.

Lengths and times follow Netflix's Timed Text Style Guide (general requirements, English): 42 characters a line, two
lines, five sixths of a second to seven seconds, two frames between cues; a second and 17 characters a second are
the older, slower figures, for readers to whom the written language may be new.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from asr_adapt.formats.spans import Span

LINE_WIDTH = 42
LINES = 2
MIN_MS, MAX_MS = 1_000, 7_000
CHARACTERS_PER_S = 17
_BETWEEN_MS = 80
# A cue never spans a pause of this length, and is as well cut at the second as anywhere.
_LONG_PAUSE_MS = 1_000
_PAUSE_MS = 500


@dataclass(frozen=True)
class Cue:
    """At most two lines, shown from `start_ms` to `end_ms`."""

    lines: tuple[str, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class _Piece:
    """A word, or a part of a word that is longer than a line; `glue` is what stands before it."""

    text: str
    start_ms: int
    end_ms: int
    glue: str
    width: int


def width(text: str) -> int:
    """Return how many columns a text fills: one a grapheme cluster, two where it is East Asian and wide."""
    return sum(1 + (unicodedata.east_asian_width(cluster[0]) in "WF") for cluster in regex.findall(r"\X", text))


def cues(words: Sequence[Span], end_ms: int) -> list[Cue]:
    """Return the cues of a recording: as few as the limits allow, cut where the pauses are longest.

    A cue begins with its first word and stays for as long as it takes to read, if the next one leaves time. A word
    longer than a line (writing without spaces) is cut between grapheme clusters, its time shared out among them.

    Args:
        words: Of the whole recording, in order, none overlapping.
        end_ms: When the recording ends.
    """
    pieces = [piece for word in words for piece in _pieces(word)]
    # The cheapest way to cut the first n pieces: its cost, and where its last cue begins.
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * len(pieces)
    for first in range(len(pieces)):
        lines, line, total = 1, 0, 0
        for last in range(first, len(pieces)):
            piece = pieces[last]
            space = len(piece.glue) if last > first else 0
            total += space + piece.width
            line += space + piece.width
            if line > LINE_WIDTH:
                lines, line = lines + 1, piece.width
            too_long = lines > LINES or piece.end_ms - pieces[first].start_ms > MAX_MS
            if last > first and (too_long or piece.start_ms - pieces[last - 1].end_ms > _LONG_PAUSE_MS):
                break
            cost = best[first][0] + _cost(pieces, first, last, total, end_ms)
            best[last + 1] = min(best[last + 1], (cost, first))
    found, stop = [], len(pieces)
    while stop:
        first = best[stop][1]
        found.append(_cue(pieces, first, stop, end_ms))
        stop = first
    return found[::-1]


def _cost(pieces: Sequence[_Piece], first: int, last: int, total: int, end_ms: int) -> float:
    """Return what a cue costs: one, a cut in running speech two more, and two for each second that is missing."""
    following = pieces[last + 1] if last + 1 < len(pieces) else None
    until = min(following.start_ms - _BETWEEN_MS if following else end_ms, pieces[first].start_ms + MAX_MS)
    lack_s = max(0, _wanted_ms(total) - (until - pieces[first].start_ms)) / 1000
    if following is None:
        return 1 + 2 * lack_s
    cut = max(0.0, 1 - (following.start_ms - pieces[last].end_ms) / _PAUSE_MS)
    return 1 + 2 * lack_s + 2 * cut


def _cue(pieces: Sequence[_Piece], first: int, stop: int, end_ms: int) -> Cue:
    shown = pieces[first:stop]
    start = shown[0].start_ms
    until = pieces[stop].start_ms - _BETWEEN_MS if stop < len(pieces) else end_ms
    end = max(shown[-1].end_ms, min(start + _wanted_ms(_width(shown)), until))
    return Cue(_lines(shown), start, min(end, start + MAX_MS))


def _wanted_ms(characters: int) -> int:
    return max(MIN_MS, characters * 1000 // CHARACTERS_PER_S)


def _lines(pieces: Sequence[_Piece]) -> tuple[str, ...]:
    """Return one line if it fits, else two that are as equal as can be, between words if there are two."""
    if _width(pieces) <= LINE_WIDTH or len(pieces) == 1:
        return (_text(pieces),)

    def badness(at: int) -> tuple[int, bool, int]:
        longer = max(_width(pieces[:at]), _width(pieces[at:]))
        return max(LINE_WIDTH, longer), not pieces[at].glue, longer

    at = min(range(1, len(pieces)), key=badness)
    return _text(pieces[:at]), _text(pieces[at:])


def _width(pieces: Sequence[_Piece]) -> int:
    return sum(len(piece.glue) * bool(number) + piece.width for number, piece in enumerate(pieces))


def _text(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.glue * bool(number) + piece.text for number, piece in enumerate(pieces))


def _pieces(word: Span) -> list[_Piece]:
    """Return the word as it is if a line holds it, else in parts of half a line that last seven seconds at most."""
    columns = width(word.text)
    if columns <= LINE_WIDTH:
        return [_Piece(word.text, word.start_ms, word.end_ms, " ", columns)]
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
        found.append(_Piece(text, start, end, "" if number else " ", width(text)))
    return found
