"""What transcripts show of a writing: script, direction, case, marks, and what normalisation does to them."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import regex

from asr_adapt.text.characters import describe_unit, graphemes
from asr_adapt.text.normaliser import Normaliser, changes
from asr_adapt.text.scripts import script

_EDGE_APOSTROPHE = regex.compile(r"(?<![\p{L}\p{M}])['’‘ʻ`´](?=\p{L})|(?<=\p{L}\p{M}*)['’‘`´](?![\p{L}\p{M}])")
_INSIDE_WORDS = regex.compile(r"(?<=[\p{L}\p{M}])[^\p{L}\p{M}\p{N}\s'’‘`´](?=\p{L})")
_LETTERS = frozenset({"Lu", "Ll", "Lt", "Lo"})  # categories
_UNITS_SHOWN = 200
_SHOWN = 12  # of a list, the commonest
# A label needs examples: where clusters of a letter with its vowel signs are many times the signs, signs are learned.
_MANY_CLUSTERS = 100


@dataclass(frozen=True)
class Orthography:
    """A writing, as its transcripts show it. Counts are of code points in the transcripts as they are."""

    scripts: tuple[tuple[str, int], ...]
    """the scripts of the letters with their counts, the commonest first: `Latin`, `Ol Chiki`"""
    strays: tuple[tuple[str, int], ...]
    """letters of the other scripts, which may be look-alikes"""
    right_to_left: bool
    case: str
    """`cased`, `in lower case`, `in capitals` or `without case`"""
    units: tuple[str, ...]
    """the graphemes of the normalised text"""
    signs: int
    """how many different code points those graphemes are made of"""
    marks: tuple[tuple[str, int], ...]
    """accents and other marks (taken apart, NFD), the commonest first"""
    spaced: bool
    """whether words are separated: a space among every 25 characters"""
    digits: int
    """transcripts that hold a digit"""
    dropped: tuple[tuple[str, int], ...]
    """characters that normalisation drops, the commonest first"""
    inside: tuple[tuple[str, int], ...]
    """of these, what occurs inside words"""
    edges: int
    """apostrophes that begin or end a word, which are dropped as quotation marks"""

    @property
    def wants_code_points(self) -> bool:
        """Whether graphemes are too many to be learned one by one, as in scripts that write vowels around letters."""
        return len(self.units) > _MANY_CLUSTERS and len(self.units) > 2 * self.signs

    def sentences(self) -> list[str]:
        """Return it in words, a fact in each."""
        (main, _), *_ = self.scripts
        way = "right to left" if self.right_to_left else "left to right"
        lines = [f"{main} script, {way}, {self.case}"]
        if self.wants_code_points:
            lines.append(f"{len(self.units)} clusters of letters and signs, made of {self.signs} code points")
        else:
            shown = " ".join(_shown(unit) for unit in self.units[:_UNITS_SHOWN])
            lines.append(f"{len(self.units):,} letters: {shown}{' …' if len(self.units) > _UNITS_SHOWN else ''}")
        if self.strays:
            lines.append(f"Of another script, so perhaps look-alikes: {_listed(self.strays)}")
        if self.marks:
            lines.append(f"Marks, which may write tone, length or nasality: {_listed(self.marks)}")
        if not self.spaced:
            lines.append("Words are not separated by spaces, so CER is the relevant figure")
        if self.digits:
            lines.append(
                f"{self.digits:,} transcripts hold digits: write numbers as they are spoken, if they are numbers"
            )
        if self.dropped:
            lines.append(f"Normalisation drops {_listed(self.dropped)}")
        if self.inside:
            lines.append(
                f"Inside words there are {_listed(self.inside)}: a sign of the orthography belongs in text.keep"
            )
        if self.edges:
            lines.append(
                f"{self.edges:,} apostrophes begin or end a word, and are dropped there as quotation marks: one that "
                "is a letter belongs in text.replace, as U+02BC"
            )
        return lines


def described(texts: Sequence[str], normalise: Normaliser) -> Orthography:
    """Return what transcripts (as they are) show.

    Raises:
        ValueError: they hold no letter.
    """
    letters = Counter(char for text in texts for char in text if unicodedata.category(char) in _LETTERS)
    if not letters:
        raise ValueError("no letter")
    scripts: Counter[str] = Counter()
    for char, count in letters.items():
        scripts[script(char)] += count
    (main, _), *_ = scripts.most_common()
    directions = Counter[str]()
    for char, count in letters.items():
        directions[unicodedata.bidirectional(char)] += count
    normalised = [normalise(text) for text in texts]
    units = sorted({unit for text in normalised for unit in graphemes(text)} - {" "})
    marks = Counter(
        char for text in texts for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) == "Mn"
    )
    dropped = [(change.character, change.before) for change in changes(texts, normalise)
               if not change.after and unicodedata.category(change.character)[0] in "PSZC"
               and not change.character.isspace()]  # fmt: skip
    inside = Counter(found for text in texts for found in _INSIDE_WORDS.findall(text))
    gone = {char for char, _ in dropped}
    return Orthography(
        scripts=tuple(scripts.most_common()),
        strays=_most(Counter({char: count for char, count in letters.items() if script(char) != main})),
        right_to_left=directions["R"] + directions["AL"] > directions["L"],
        case=_case(letters),
        units=tuple(units),
        signs=len({char for unit in units for char in unit}),
        marks=_most(marks),
        spaced=25 * sum(text.count(" ") for text in normalised) >= sum(map(len, normalised)),
        digits=sum(any(char.isdigit() for char in text) for text in texts),
        dropped=tuple(dropped[:_SHOWN]),
        inside=_most(Counter({char: count for char, count in inside.items() if char in gone})),
        edges=sum(len(_EDGE_APOSTROPHE.findall(text)) for text in texts),
    )


def _case(letters: Counter[str]) -> str:
    upper = any(char.isupper() for char in letters)
    lower = any(char != char.upper() for char in letters)
    return {(True, True): "cased", (False, True): "in lower case", (True, False): "in capitals"}.get(
        (upper, lower), "without case"
    )


def _most(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(counts.most_common(_SHOWN))


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{describe_unit(char)} × {count:,}" for char, count in counts)


def _shown(unit: str) -> str:
    """Return a unit so that it can be seen: a mark on its own gets a dotted circle as its base."""
    return "\u25cc" + unit if unicodedata.category(unit[0]).startswith("M") else unit
