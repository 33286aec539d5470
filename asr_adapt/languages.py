"""Languages by tag and by name, from IANA's language subtag registry, which langcodes ships."""

import difflib
import functools
import re
import unicodedata
from dataclasses import dataclass

from asr_adapt.errors import InputError

_WELL_FORMED = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_SHOWN = 5
_LONGEST = 100  # characters of a tag or name; the longest name has 60

UNDETERMINED = "und"
"""the tag of a language that is not known"""


@dataclass(frozen=True)
class Language:
    """A registered language: its BCP-47 subtag and one of its English names."""

    tag: str
    name: str

    def __str__(self) -> str:
        """Return `abz (Abui)`."""
        return f"{self.tag} ({self.name})"


def find(tag_or_name: str) -> str:
    """Return the BCP-47 tag of a language that is given by tag or by English name; case and accents do not matter.

    A valid tag is returned as it is, a lone subtag in lower case.

    Raises:
        InputError: neither a valid tag nor the name of exactly one language; the error lists the nearest languages.
    """
    if tag_or_name == UNDETERMINED:
        return tag_or_name
    if len(tag_or_name) > _LONGEST:  # no name is as long, and the search for the nearest would take minutes
        raise InputError(f"{tag_or_name[:_LONGEST]!r}… is no language's name", place="language",
                         remedy="Give a tag such as mi or sat-Olck.")  # fmt: skip

    import langcodes

    if is_well_formed(tag_or_name) and langcodes.tag_is_valid(tag_or_name):
        return tag_or_name if "-" in tag_or_name else tag_or_name.lower()
    named = {language.tag for language in _registered() if _key(language.name) == _key(tag_or_name)}
    if len(named) == 1:
        return named.pop()
    raise InputError(f"{tag_or_name!r} is neither a BCP-47 tag nor one language's name", place="language",
                     remedy=nearest_in_words(tag_or_name))  # fmt: skip


def nearest_in_words(tag_or_name: str) -> str:
    """Return the nearest languages as the remedy of an error."""
    near = nearest(tag_or_name[:_LONGEST])
    return f"Nearest: {', '.join(map(str, near))}." if near else "Give a tag such as mi or sat-Olck."


def is_well_formed(tag: str) -> bool:
    """Whether a text has the shape of a BCP-47 tag. It may still name no registered language."""
    return _WELL_FORMED.fullmatch(tag) is not None


def name(tag: str) -> str | None:
    """Return the English name of a tag's language, or None if it is not registered."""
    import langcodes

    primary = langcodes.standardize_tag(tag.partition("-")[0])  # `eng` is `en` there
    return next((language.name for language in _registered() if language.tag == primary), None)


def nearest(tag_or_name: str, count: int = _SHOWN) -> list[Language]:
    """Return the languages whose name or tag is most like a text, the nearest first."""
    wanted = _key(tag_or_name)
    by_key: dict[str, Language] = {}
    for language in _registered():
        by_key.setdefault(_key(language.name), language)
    names = difflib.get_close_matches(wanted, by_key, n=count, cutoff=0.7)
    containing = sorted((key for key in by_key if wanted and re.search(rf"\b{re.escape(wanted)}\b", key)), key=len)
    found = [
        by_key[key] for key in dict.fromkeys([*[key for key in containing if key == wanted], *names, *containing])
    ]
    # A tag with a wrong script, region or variant: its language is the nearest there is.
    primary = tag_or_name.partition("-")[0].lower()
    tags = {language.tag: language for language in reversed(_registered())}
    near_tags = difflib.get_close_matches(primary, tags, n=count, cutoff=0.6) if len(primary) <= 3 else []
    found = [tags[tag] for tag in near_tags if tag == primary] + found + [tags[tag] for tag in near_tags]
    return list({language.tag: language for language in found}.values())[:count]


def _key(text: str) -> str:
    bare = "".join(char for char in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(char))
    words = re.sub(r"[^\w\s]", " ", bare).split()
    return " ".join(words[:-1] if words[1:] and words[-1] == "language" else words)


@functools.cache
def _registered() -> tuple[Language, ...]:
    """Return every registered language under each of its names; deprecated tags are left out."""
    from langcodes.registry_parser import parse_registry

    found = []
    for entry in parse_registry():
        if entry["Type"] == "language" and "Deprecated" not in entry and ".." not in entry["Subtag"]:
            found += [Language(entry["Subtag"], description) for description in entry["Description"]]
    return tuple(found)
