"""The normaliser: makes two spellings of the same words equal, and keeps orthography."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from asr_adapt.artifacts import CharacterChange
from asr_adapt.errors import InputError
from asr_adapt.recipe import Text
from asr_adapt.text.characters import describe_unit

# Shapes in which people type the apostrophe. U+02BC is a letter of its own and stays as it is.
_APOSTROPHES = "\u2019\u2018\uff07\u00b4`"
# Joiners decide the shape of letters in Persian and in the Indic scripts.
_JOINERS = "\u200c\u200d"
# Tone letters and the modifier colon are letters of an orthography, although Unicode files them under symbols.
_TONE_LETTERS = "\u02c2-\u02df\u02e5-\u02ff\ua700-\ua721\ua789-\ua78a"
# Normalisation is repeated until nothing changes: two or three passes, but a table can be made that never rests.
_PASSES = 16
# Turkish and its relatives write dotless ı, and I is its capital.
_DOTLESS_I = frozenset({"az", "ba", "crh", "gag", "kk", "tr", "tt"})


@dataclass(frozen=True)
class Normaliser:
    """Makes two spellings of the same words equal, for training and for scoring alike.

    NFC, lower case, the replacement table, then everything that is no letter, mark, number or kept sign
    becomes a space, and runs of spaces become one. References and hypotheses both go through it, so a table whose
    values would be replaced again is refused, and a key that comes about by normalising is replaced too.

    Raises:
        InputError: such a table.
    """

    rules: Text
    language: str

    def __post_init__(self) -> None:
        for old, new in self._table.items():
            if self._replace(new) != new:
                raise InputError(
                    f"{old!r} → {new!r} would be replaced again", place="text.replace", remedy="Name the last form."
                )

    def __call__(self, text: str) -> str:
        """Return the normalised text, in NFC. Normalising it again changes nothing."""
        for _ in range(_PASSES if self._table else 1):
            once = self._pass(text)
            if once == text:
                break
            text = once
        return text

    def _pass(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        text = self._replace(self._fold(text))
        text = self._apostrophes.sub("'", text)
        text = self._dropped.sub(" ", text)
        return unicodedata.normalize("NFC", " ".join(text.split()))

    def describe(self) -> str:
        """Return the rules in one line, as `metrics.json` prints them."""
        parts = ["NFC"]
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
    def _table(self) -> dict[str, str]:
        def same(text: str) -> str:
            return self._fold(unicodedata.normalize("NFC", text))

        return {same(old): same(new) for old, new in self.rules.replace.items()}

    def _replace(self, text: str) -> str:
        return self._replacements.sub(lambda match: self._table[match[0]], text) if self._replacements else text

    @functools.cached_property
    def _replacements(self) -> regex.Pattern | None:
        keys = sorted(self._table, key=len, reverse=True)
        return regex.compile("|".join(regex.escape(key) for key in keys)) if keys else None

    @functools.cached_property
    def _apostrophes(self) -> regex.Pattern:
        """Match a typographic apostrophe between two letters that the recipe does not keep as it is."""
        shapes = "".join(set(_APOSTROPHES) - set(self.rules.keep)) or "'"
        return regex.compile(rf"(?<=[\p{{L}}\p{{M}}])[{shapes}](?=[\p{{L}}\p{{M}}])")

    @functools.cached_property
    def _dropped(self) -> regex.Pattern:
        """Match what is no letter, mark, number, joiner or kept sign, and an apostrophe not between letters."""
        kept = regex.escape(self.rules.keep)
        lone_apostrophe = "" if "'" in self.rules.keep else r"|(?<![\p{L}\p{M}])'|'(?![\p{L}\p{M}])"
        return regex.compile(rf"[^\p{{L}}\p{{M}}\p{{N}}\s'{_TONE_LETTERS}{_JOINERS}{kept}]{lone_apostrophe}")


def changes(texts: Iterable[str], normalise: Normaliser) -> list[CharacterChange]:
    """Return every character whose count normalisation changed, the largest change first.

    Counts are of code points, so that a mixture of NFC and NFD shows itself.
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
