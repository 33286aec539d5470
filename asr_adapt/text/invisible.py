"""Characters that are invisible by design (Unicode's Default_Ignorable_Code_Point), such as the soft hyphen."""

import functools

import regex

# Scripts in which a zero-width joiner or non-joiner decides the shape of letters.
_JOINING = (
    "Arabic", "Syriac", "Mandaic", "Mongolian", "Nko", "Adlam", "Phags_Pa", "Devanagari", "Bengali", "Gurmukhi",
    "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Khmer", "Myanmar", "Tibetan", "Thai",
    "Lao", "Javanese", "Balinese", "Sundanese", "Chakma", "Grantha", "Meetei_Mayek", "Sharada", "Newa", "Tirhuta",
)  # fmt: skip
# Scripts without spaces between words, in which a zero-width space separates words for line breaks.
_UNSPACED = (
    "Khmer", "Thai", "Lao", "Myanmar", "Tibetan", "Javanese", "Balinese", "Tai_Le", "New_Tai_Lue", "Tai_Tham",
    "Tai_Viet", "Cham", "Han", "Hiragana", "Katakana", "Yi", "Lepcha", "Limbu",
)  # fmt: skip


def remove(text: str, kept: str = "") -> str:
    """Return a text without characters that are invisible by design.

    Letters (Hangul fillers) and Mongolian variation selectors stay; so do zero-width (non-)joiners and spaces beside
    letters of the scripts that use them. Nothing else is changed, and removing twice changes nothing more.

    Args:
        text: Any text.
        kept: Characters that stay everywhere, because the recipe names them.
    """
    return text if text.isascii() else _beside_others(kept).sub("", _everywhere(kept).sub("", text))


def removed(text: str) -> str:
    """Return the characters that `remove` takes out, in order."""
    if text.isascii():
        return ""
    return "".join(_everywhere("").findall(text) + _beside_others("").findall(_everywhere("").sub("", text)))


@functools.cache
def _everywhere(kept: str) -> regex.Pattern:
    staying = r"\p{L}\u180b-\u180d\u180f\u200b-\u200d" + regex.escape(kept)
    return regex.compile(rf"[\p{{Default_Ignorable_Code_Point}}--[{staying}]]", regex.V1)


@functools.cache
def _beside_others(kept: str) -> regex.Pattern:
    """Match a joiner or zero-width space with no letter of a script that uses it on either side."""
    patterns = []
    for characters, scripts in (("\u200c\u200d", _JOINING), ("\u200b", _UNSPACED)):
        if removed := "".join(char for char in characters if char not in kept):
            users = "[" + "".join(rf"\p{{Script={script}}}" for script in scripts) + "]"
            patterns.append(rf"(?<!{users}\p{{M}}*)[{removed}](?!{users})")
    return regex.compile("|".join(patterns) or r"(?!)")
