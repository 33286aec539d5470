"""The script of a letter, by Unicode's Script property."""

import functools
import itertools
import unicodedata

import regex

COMMON = "Common"
"""of what no script owns: combining marks, digits, punctuation, modifier letters such as U+02BC"""

# Scripts of which some letters' names hold another word.
_NAMED_OTHERWISE = ("Latin", "Greek", "Han", "Hiragana", "Canadian_Aboriginal", "Egyptian_Hieroglyphs",
                    "Anatolian_Hieroglyphs", "Meroitic_Cursive", "Meroitic_Hieroglyphs")  # fmt: skip


@functools.cache
def script(char: str) -> str:
    """Return a character's script as Unicode names it (`Latin`, `Ol Chiki`, `Han`), or `Common`."""
    # No library gives a character's script directly, but regex tests for one, and names of characters nearly always
    # hold the name of their script: `OL CHIKI LETTER LA`.
    words = unicodedata.name(char, "").replace("-", " ").split()
    named = ("_".join(words[start:end]) for start, end in itertools.combinations(range(min(len(words), 4) + 1), 2))
    candidates = itertools.chain(named, _NAMED_OTHERWISE)
    found = next((name for name in candidates if (pattern := _pattern(name)) and pattern.match(char)), COMMON)
    return found.replace("_", " ").title()


@functools.cache
def _pattern(name: str) -> regex.Pattern | None:
    try:
        return regex.compile(rf"\p{{Script={name}}}")
    except regex.error:  # no script of this name
        return None
