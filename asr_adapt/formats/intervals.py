"""Segments and words in whole milliseconds, as file formats require: in order, without overlaps, none empty."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asr_adapt.records import Transcript, Word


@dataclass(frozen=True)
class Interval:
    """Text spoken from `start_ms` to `end_ms`, at least 1 ms; a segment's words are inside it."""

    text: str
    start_ms: int
    end_ms: int
    words: tuple["Interval", ...] = ()


def intervals(transcript: Transcript) -> list[Interval]:
    """Return the segments with their words.

    No two words overlap, nor two segments, and none ends after the recording: where rounding, or a frame that
    begins before the end, would cause that, times move, by a millisecond for each word of no length.
    """
    end_ms = max(math.floor(transcript.duration_s * 1000 + 1e-6), len(transcript.words))
    times = iter(apart(transcript.words, end_ms))
    segments = [segment for segment in transcript.segments if segment.words]
    words_of = [tuple(Interval(word.text, *next(times)) for word in segment.words) for segment in segments]
    found: list[Interval] = []
    earliest = 0
    for number, (segment, words) in enumerate(zip(segments, words_of, strict=True), start=1):
        latest = words_of[number][0].start_ms if number < len(words_of) else end_ms
        start = min(words[0].start_ms, max(earliest, round(segment.start_s * 1000)))
        earliest = max(words[-1].end_ms, min(latest, round(segment.end_s * 1000)))
        found.append(Interval(segment.text, start, earliest, words))
    return found


def apart(words: Sequence[Word], end_ms: int) -> list[tuple[int, int]]:
    """Return `(start, end)` of each word, every one after the one before and all before `end_ms`."""
    times: list[tuple[int, int]] = []
    earliest = 0
    for word in words:
        start = max(round(word.start_s * 1000), earliest)
        earliest = max(round(word.end_s * 1000), start + 1)
        times.append((start, earliest))
    moved, latest = [], end_ms
    for start, end in reversed(times):
        end = min(end, latest)
        latest = min(start, end - 1)
        moved.append((latest, end))
    return moved[::-1]
