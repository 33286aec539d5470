"""Spans of text that are not speech: what `text.drop` and `text.unclear` of a recipe match."""

import unicodedata
from collections.abc import Sequence

import regex

from asr_adapt.errors import InputError

_WORD = r"[\p{L}\p{M}\p{N}]"


class Spans:
    """Compiled entries of `text.drop` or `text.unclear`.

    An entry is one of three:

    - a bracket pair, such as `[]`: the brackets with what is between them, innermost first;
    - a regular expression between slashes, such as `/&=\\S+/`, in the syntax of the regex module;
    - any other text, such as `xxx` or `(laughs)`: itself, in upper or lower case, not inside a longer word.

    Args:
        entries: The entries, matched against NFC text before lower-casing.
        place: The recipe's field, for errors.

    Raises:
        InputError: an entry is blank, is no valid regular expression, or matches the empty text.
    """

    def __init__(self, entries: Sequence[str], place: str) -> None:
        self.entries = tuple(entries)
        self._pattern = regex.compile("|".join(_compiled(entry, place) for entry in entries)) if entries else None

    def find(self, text: str) -> str | None:
        """Return the first match in an NFC text, or None."""
        match = self._pattern.search(text) if self._pattern else None
        return match[0] if match else None

    def remove(self, text: str) -> str:
        """Return an NFC text with a space in place of each match, then of each match that this brings about."""
        while self._pattern and self._pattern.search(text):
            removed = self._pattern.sub(" ", text).strip()
            if removed == text:  # a pattern that matches a space
                break
            text = removed
        return text


def is_bracket_pair(entry: str) -> bool:
    """Whether an entry is an opening and a closing bracket: `[]`, `()`, `<>`, `【】`."""
    if len(entry) != 2:
        return False
    opens = entry[0] == "<" or unicodedata.category(entry[0]) == "Ps"
    return opens and (entry[1] == ">" or unicodedata.category(entry[1]) == "Pe")


def _compiled(entry: str, place: str) -> str:
    """Return the pattern of an entry."""
    if not entry.strip():
        raise InputError("an entry is blank", place=place, remedy="Give a bracket pair, a text, or /a regex/.")
    if is_bracket_pair(entry):
        opening, closing = map(regex.escape, entry)
        return f"{opening}[^{opening}{closing}]*{closing}"
    if len(entry) > 2 and entry[0] == entry[-1] == "/":
        pattern = entry[1:-1]
        try:
            compiled = regex.compile(pattern)
        except regex.error as error:
            raise InputError(f"{entry!r} is no valid regular expression ({error})", place=place) from error
        if compiled.fullmatch(""):
            raise InputError(f"{entry!r} matches the empty text", place=place, remedy="Use + in place of *.")
        return f"(?:{pattern})"
    text = unicodedata.normalize("NFC", entry.strip())
    before = f"(?<!{_WORD})" if regex.match(_WORD, text) else ""
    after = f"(?!{_WORD})" if regex.match(_WORD, text[-1]) else ""
    return f"{before}(?i:{regex.escape(text, literal_spaces=True)}){after}"
