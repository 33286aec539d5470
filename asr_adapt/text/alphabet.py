"""The alphabet: the units that the CTC head can write."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import regex

from asr_adapt.errors import InputError, UnknownLetter
from asr_adapt.recipe import Text
from asr_adapt.text.characters import describe_unit, graphemes

BLANK = "<pad>"


DELIMITER = "|"


BLANK_ID = 0


DELIMITER_ID = 1


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
