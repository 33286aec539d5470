"""Text: normalisation that keeps orthography, and the `Alphabet` that the head can write."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import regex

from asr_adapt.errors import InputError, UnknownLetter
from asr_adapt.recipe import Text

BLANK = "<pad>"
DELIMITER = "|"
BLANK_ID = 0
DELIMITER_ID = 1

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


@dataclass(frozen=True)
class CharacterChange:
    """How often a character stands in the texts before and after normalisation."""

    character: str
    before: int
    after: int

    @property
    def name(self) -> str:
        """Code points and Unicode names: `U+2019 RIGHT SINGLE QUOTATION MARK`."""
        return describe_unit(self.character)


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
        CharacterChange(char, before[char], after[char])
        for char in before.keys() | after.keys()
        if before[char] != after[char]
    ]
    return sorted(changed, key=lambda change: (-abs(change.before - change.after), change.character))


def describe_unit(unit: str) -> str:
    """Return `U+0254 LATIN SMALL LETTER OPEN O`, joined by ` + ` for a unit of several code points."""
    return " + ".join(f"U+{ord(char):04X} {unicodedata.name(char, 'unnamed')}" for char in unit)


def graphemes(text: str) -> list[str]:
    """Return the extended grapheme clusters of a text: what a reader calls its letters (UAX #29).

    A space stands alone, also before a stray mark or joiner, which UAX #29 would join to it.
    """
    return regex.findall(r" |\X", text)


def without_marks(text: str) -> str:
    """Return a text without accents, tone marks and macrons (U+0300 to U+036F); other scripts' vowel signs stay."""
    bare = "".join(char for char in unicodedata.normalize("NFD", text) if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", bare)


@dataclass(frozen=True)
class Alphabet:
    """What the head can write: `units[0]` is the CTC blank, `units[1]` the word delimiter.

    A unit may be several code points, such as a letter with a tone mark that has no composed form.
    """

    units: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.units[:2] != (BLANK, DELIMITER):
            raise InputError(f"an alphabet begins with {BLANK!r} and {DELIMITER!r}, but is {self.units[:2]!r}")
        if len(set(self.units)) != len(self.units):
            twice = [unit for unit, count in Counter(self.units).items() if count > 1]
            raise InputError(f"units stand twice in the alphabet: {twice!r}", place="text.alphabet")
        object.__setattr__(self, "_ids", {unit: index for index, unit in enumerate(self.units)})

    @classmethod
    def from_texts(cls, texts: Iterable[str], rules: Text = Text()) -> "Alphabet":  # noqa: B008 (frozen)
        """Build the alphabet of normalised training texts.

        Raises:
            InputError: the texts hold no letter at all.
        """
        found: set[str] = set()
        for text in texts:
            found.update(graphemes(text) if rules.units == "graphemes" else text)
        units = sorted((found | {unicodedata.normalize("NFC", unit) for unit in rules.alphabet}) - {" "})
        if not units:
            raise InputError("the training text holds no letter", remedy="Look at the transcripts.")
        return cls((BLANK, DELIMITER, *units))

    def __len__(self) -> int:
        return len(self.units)

    def split(self, text: str) -> list[str]:
        """Return the text's units, the longest that fits first; what the alphabet lacks, letter by letter."""
        return self._pattern.findall(text)

    def encode(self, text: str) -> list[int]:
        """Return the label ids of a normalised text; a space is the word delimiter.

        Raises:
            UnknownLetter: a letter is not in the alphabet.
        """
        if unknown := self.unknown(text):
            unit = next(iter(unknown))
            raise UnknownLetter(
                f"{unit!r} ({describe_unit(unit)}) is not in the alphabet",
                remedy="Add it to text.alphabet, or map it in text.replace.",
            )
        return [DELIMITER_ID if unit == " " else self._ids[unit] for unit in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of collapsed label ids: blanks left out, delimiters as spaces, none at the ends.

        Two delimiters with a blank between them stay two spaces, as transformers' tokenizer writes them.
        """
        pieces = (" " if index == DELIMITER_ID else self.units[index] for index in ids if index != BLANK_ID)
        return "".join(pieces).strip()

    def unknown(self, text: str) -> Counter[str]:
        """Return the letters of a normalised text that the alphabet cannot write, with their counts."""
        return Counter(unit for unit in self.split(text) if unit != " " and unit not in self._ids)

    @functools.cached_property
    def _pattern(self) -> regex.Pattern:
        longest_first = sorted(self.units[2:], key=len, reverse=True)
        return regex.compile("|".join([" ", *map(regex.escape, longest_first), r"\X"]))
