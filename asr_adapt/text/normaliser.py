"""The normaliser: makes different spellings of the same words equal, and keeps the orthography."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from asr_adapt.artifacts import CharacterChange
from asr_adapt.errors import InputError
from asr_adapt.recipe import Text
from asr_adapt.text import invisible
from asr_adapt.text.characters import describe_unit
from asr_adapt.text.spans import Spans

# Characters that people type as an apostrophe. U+02BC is a letter of its own and stays.
_APOSTROPHES = "\u2019\u2018\uff07\u00b4`"
# Joiners decide the shape of letters in Persian and in the Indic scripts; `invisible` removes them elsewhere.
_JOINERS = "\u200c\u200d"
# Tone letters and the modifier colon belong to orthographies, although Unicode classifies them as symbols.
_TONE_LETTERS = "\u02c2-\u02df\u02e5-\u02ff\ua700-\ua721\ua789-\ua78a"
# Normalisation is repeated until nothing changes: two or three passes. A table may never converge, hence the limit.
_PASSES = 16
# Turkish and its relatives write dotless ı, and I is its capital.
_DOTLESS_I = frozenset({"az", "ba", "crh", "gag", "kk", "tr", "tt"})


@dataclass(frozen=True)
class Normaliser:
    """Makes different spellings of the same words equal, in training and in scoring.

    Invisible characters are removed, then: NFC, `text.drop`, lower case, the replacement table. Everything that is
    not a letter, mark, number or kept sign becomes a space, and runs of spaces become one. References and
    hypotheses both go through it, so a key that appears only after normalisation is replaced as well, and a table
    whose values would be replaced again is refused.

    Raises:
        InputError: the table is such a table, or an entry of `text.drop` or `text.unclear` is invalid.
    """

    rules: Text
    language: str

    def __post_init__(self) -> None:
        _ = self._drop, self._unclear
        for old, new in self._table.items():
            if self._replace(new) != new:
                raise InputError(
                    f"{old!r} → {new!r} would be replaced again", place="text.replace", remedy="Give the final form."
                )

    def __call__(self, text: str) -> str:
        """Return the normalised text, in NFC. Normalising it again changes nothing."""
        for _ in range(_PASSES if self._table or self.rules.drop else 1):
            once = self._pass(text)
            if once == text:
                break
            text = once
        return text

    def unclear(self, text: str) -> str | None:
        """Return the first mark of `text.unclear` in a transcript, as it stands there, or None."""
        return self._unclear.find(self.visible(text))

    def without_markup(self, text: str) -> str:
        """Return a transcript in NFC without invisible characters and `text.drop`; case and punctuation stay."""
        return self._drop.remove(self.visible(text))

    def visible(self, text: str) -> str:
        """Return a transcript in NFC without invisible characters."""
        return unicodedata.normalize("NFC", invisible.remove(text, self._named))

    def _pass(self, text: str) -> str:
        text = self._replace(self._fold(self.without_markup(text)))
        text = self._apostrophes.sub("'", text)
        text = self._dropped.sub(" ", text)
        return unicodedata.normalize("NFC", " ".join(text.split()))

    def describe(self) -> str:
        """Return the rules on one line, as in `metrics.json`."""
        parts = ["NFC without invisible characters"]
        if self.rules.unclear:
            parts.append("utterances with " + " or ".join(self.rules.unclear) + " excluded")
        if self.rules.drop:
            parts.append("drop " + ", ".join(self.rules.drop))
        if self.rules.lower:
            parts.append("lower case" + (" (Turkic i)" if self._turkic else ""))
        if self.rules.replace:
            parts.append("replace " + ", ".join(f"{old!r}→{new!r}" for old, new in self.rules.replace.items()))
        parts.append("punctuation and symbols → space, except apostrophes between letters")
        if self.rules.keep:
            parts.append("keep " + " ".join(self.rules.keep))
        return "; ".join(parts)

    @property
    def _turkic(self) -> bool:
        return self.language.lower().split("-")[0] in _DOTLESS_I

    def _fold(self, text: str) -> str:
        if not self.rules.lower:
            return text
        if self._turkic:
            text = text.replace("I", "ı").replace("İ", "i")
        return text.lower()

    @functools.cached_property
    def _named(self) -> str:
        """Characters that the recipe names, which are not removed for being invisible."""
        return "".join(sorted({*self.rules.keep, *"".join(self.rules.replace)}))

    @functools.cached_property
    def _drop(self) -> Spans:
        return Spans(self.rules.drop, "text.drop")

    @functools.cached_property
    def _unclear(self) -> Spans:
        return Spans(self.rules.unclear, "text.unclear")

    @functools.cached_property
    def _table(self) -> dict[str, str]:
        def folded(text: str) -> str:
            return self._fold(unicodedata.normalize("NFC", text))

        return {folded(old): folded(new) for old, new in self.rules.replace.items()}

    def _replace(self, text: str) -> str:
        return self._replacements.sub(lambda match: self._table[match[0]], text) if self._replacements else text

    @functools.cached_property
    def _replacements(self) -> regex.Pattern | None:
        keys = sorted(self._table, key=len, reverse=True)
        return regex.compile("|".join(regex.escape(key) for key in keys)) if keys else None

    @functools.cached_property
    def _apostrophes(self) -> regex.Pattern:
        """Match a typographic apostrophe between two letters, unless the recipe keeps it."""
        shapes = "".join(set(_APOSTROPHES) - set(self.rules.keep)) or "'"
        return regex.compile(rf"(?<=[\p{{L}}\p{{M}}])[{shapes}](?=[\p{{L}}\p{{M}}])")

    @functools.cached_property
    def _dropped(self) -> regex.Pattern:
        """Match anything but letters, marks, numbers, joiners, kept signs and apostrophes between letters."""
        kept = regex.escape(self.rules.keep)
        lone_apostrophe = "" if "'" in self.rules.keep else r"|(?<![\p{L}\p{M}])'|'(?![\p{L}\p{M}])"
        return regex.compile(rf"[^\p{{L}}\p{{M}}\p{{N}}\s'{_TONE_LETTERS}{_JOINERS}{kept}]{lone_apostrophe}")


def changes(texts: Iterable[str], normalise: Normaliser) -> list[CharacterChange]:
    """Return every character whose count changes in normalisation, the largest change first.

    Code points are counted, so a mixture of NFC and NFD is visible.
    """
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for text in texts:
        before.update(text)
        after.update(normalise(text))
    changed = [
        CharacterChange(character=char, before=before[char], after=after[char], name=describe_unit(char))
        for char in before.keys() | after.keys()
        if before[char] != after[char]
    ]
    return sorted(changed, key=lambda change: (-abs(change.before - change.after), change.character))
