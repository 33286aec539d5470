"""What to transcribe next: the speech whose letter sequences the known text lacks, for the time that it takes.

A feature-based submodular function (Wei et al. 2014, "Submodular subset selection for large-scale speech training
data") over the letters, pairs and triples of drafts: each is worth log(1 + count), so that what is known often adds
little, and what is chosen makes its like less worth choosing. Greedy choice by gain per second is within a constant
factor of the best (Khuller et al. 1999).
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asr_adapt.text.characters import graphemes

_ORDERS = (1, 2, 3)
_VOICE_WEIGHT, _VOICE_S = 50.0, 10.0
_RARE, _SHOWN = 5, 4
_LEAST_S = 1.0  # a shorter rest of the budget is left unused


@dataclass(frozen=True)
class Candidate:
    """A stretch of speech that may be transcribed."""

    duration_s: float
    draft: str
    """what the model writes, normalised"""
    confidence: float
    """mean probability of its letters, in [0, 1]; 0 without a letter"""
    voice: str | None = None
    """who speaks, or the recording, where that is what voices are told apart by"""


@dataclass(frozen=True)
class Chosen:
    """A candidate that is worth its time."""

    index: int
    gain_per_s: float
    """what it adds to the coverage of letter sequences, for each second"""
    rare: tuple[str, ...]
    """letter sequences in its draft that were rarest so far, the rarest first"""


def sequences(text: str) -> Counter[str]:
    """Count the letters, pairs and triples of a normalised text; its ends count as spaces."""
    units = [" ", *graphemes(text), " "] if text else []
    return Counter("".join(units[i : i + n]) for n in _ORDERS for i in range(len(units) - n + 1))


def choose(
    candidates: Sequence[Candidate],
    budget_s: float,
    known_texts: Iterable[str] = (),
    known_s: Mapping[str, float] | None = None,
) -> list[Chosen]:
    """Return the candidates to transcribe within a time, the most useful first.

    Args:
        candidates: Speech without a transcript.
        budget_s: Seconds of speech to choose; a candidate that no longer fits is passed over.
        known_texts: Normalised transcripts that the model was, or will be, trained on.
        known_s: Voice → seconds of it that are transcribed.
    """
    counts: Counter[str] = Counter()
    for text in known_texts:
        counts.update(sequences(text))
    heard_s = defaultdict(float, known_s or {})
    found = [sequences(candidate.draft) for candidate in candidates]

    def gain_per_s(index: int) -> float:
        one = candidates[index]
        new = sum(math.log1p(count / (1 + counts[gram])) for gram, count in found[index].items())
        voice = math.log1p(one.duration_s / (_VOICE_S + heard_s[one.voice])) if one.voice is not None else 0.0
        return (new + _VOICE_WEIGHT * voice) / one.duration_s

    # Gains only fall as more is chosen, so that an old gain is an upper bound (lazy greedy, Minoux 1978).
    heap = [(-gain_per_s(i), i) for i, one in enumerate(candidates) if one.duration_s > 0]
    heapq.heapify(heap)
    chosen: list[Chosen] = []
    left_s = budget_s
    while heap and left_s >= _LEAST_S:
        _, index = heapq.heappop(heap)
        one = candidates[index]
        if one.duration_s > left_s:
            continue
        gain = gain_per_s(index)
        if heap and gain < -heap[0][0]:
            heapq.heappush(heap, (-gain, index))
            continue
        rare = sorted(
            (gram for gram in found[index] if gram.strip()), key=lambda gram: (counts[gram], len(gram), gram)
        )
        chosen.append(Chosen(index, gain, tuple(gram for gram in rare if counts[gram] < _RARE)[:_SHOWN]))
        counts.update(found[index])
        if one.voice is not None:
            heard_s[one.voice] += one.duration_s
        left_s -= one.duration_s
    return chosen
