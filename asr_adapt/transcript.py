"""`Transcript`: what was said in a recording, and when."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its times in the original recording; `confidence` is in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech that was read in one piece."""

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A recording's text; silence has the empty text and no segments."""

    text: str
    language: str
    duration_s: float
    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(word for segment in self.segments for word in segment.words)
