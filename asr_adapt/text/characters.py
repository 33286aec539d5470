"""Grapheme clusters, code points and diacritics."""

import unicodedata

import regex


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
