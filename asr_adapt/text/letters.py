"""Which phones a language's letters stand for: a table that is given, or a guess from the shapes of the letters."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import regex

from asr_adapt.errors import InputError
from asr_adapt.storage import read_lines, write_text
from asr_adapt.text.characters import describe_unit, graphemes

# Letters that usually do not stand for the IPA symbol of their shape. Dots below are read as in West Africa and in
# transliterations of Semitic and Indic scripts; epsilon and omega as linguists type them for open e and open o.
_LETTERS = {
    "c": "tʃ", "g": "ɡ", "j": "dʒ", "y": "j", "ı": "ɯ", "ñ": "ɲ", "ç": "tʃ", "č": "tʃ", "š": "ʃ", "ş": "ʃ", "ž": "ʒ",
    "ț": "ts", "ţ": "ts", "ė": "e", "ẹ": "ɛ", "ọ": "ɔ", "ị": "ɪ", "ụ": "ʊ", "ṣ": "ʃ", "ḥ": "ħ", "ḍ": "ɖ", "ṭ": "ʈ",
    "ṇ": "ɳ", "ḷ": "ɭ", "ṅ": "ŋ", "ö": "ø", "ü": "y", "ä": "æ", "å": "ɔ", "þ": "θ", "đ": "d", "ƙ": "k", "ƴ": "j",
    "ɩ": "ɪ", "ʋ": "ʊ", "ε": "ɛ", "ω": "ɔ", "ə": "ə", "ǝ": "ə", "'": "ʔ", "ʻ": "ʔ", "ʼ": "ʔ", "ꞌ": "ʔ", "ɂ": "ʔ",
}  # fmt: skip
_DIGRAPHS = {"sh": "ʃ", "ch": "tʃ", "zh": "ʒ", "kh": "x", "gh": "ɣ", "ny": "ɲ", "ll": "ʎ"}
_DIGRAPH_COUNT = 3  # in fewer places two letters may stand together by chance

# IPA symbols by what is nearest to them among the commoner ones, for a base model that lacks them.
_NEAREST = {
    "ɡ": "g", "g": "ɡ", "ɓ": "b", "ɠ": "ɡ", "ʛ": "ɡ", "ɢ": "ɡ", "ʄ": "ɟ", "ɱ": "m", "ɴ": "ŋ", "ʙ": "b", "ʀ": "ʁ",
    "ɻ": "ɹ", "ɺ": "ɾ", "ɮ": "l", "ʟ": "l", "ɫ": "l", "ɦ": "h", "ħ": "h", "ɧ": "ʃ", "ɥ": "j", "ʍ": "w", "ɰ": "ɣ",
    "ʝ": "j", "ɘ": "ə", "ɚ": "ə", "ɝ": "ɜ", "ɜ": "ə", "ɞ": "ɜ", "ɶ": "œ", "ʏ": "y", "ɪ": "i", "ʊ": "u", "ɐ": "a",
    "ɑ": "a", "ɒ": "ɔ", "æ": "a", "ʌ": "a", "ɔ": "o", "ɛ": "e", "ɤ": "o", "ɯ": "u", "ɨ": "i", "ʉ": "u", "ɵ": "ø",
    "ø": "o", "œ": "ø", "ə": "e", "r": "ɾ", "ɾ": "r", "ɽ": "ɾ", "ʁ": "r", "ɹ": "r", "q": "k", "χ": "x", "x": "h",
    "ʕ": "ʔ", "ʈ": "t", "ɖ": "d", "ɗ": "d", "ɳ": "n", "ɲ": "n", "ŋ": "n", "ɭ": "l", "ɬ": "l", "ʎ": "l", "ɸ": "f",
    "β": "v", "ʋ": "v", "v": "w", "w": "u", "j": "i", "θ": "s", "ð": "z", "ʂ": "ʃ", "ʐ": "ʒ", "ɕ": "ʃ", "ʑ": "ʒ",
    "ç": "ʃ", "c": "k", "ɟ": "ɡ", "ɣ": "ɡ", "ʒ": "ʃ", "z": "s", "ʣ": "z", "ʤ": "ʒ", "ʦ": "s", "ʧ": "ʃ",
}  # fmt: skip
_LIGATURES = {"ʣ": "dz", "ʤ": "dʒ", "ʥ": "dʑ", "ʦ": "ts", "ʧ": "tʃ", "ʨ": "tɕ"}
_MODIFIERS = "ʰʱʲʷˠˤʼːˑⁿˡ˞"
"""length, aspiration and the like: how the phone before them is said"""
_TONE_MARKS = "\u0300\u0301\u0302\u0304\u030b\u030c\u030d\u030f\u0303\u1dc4\u1dc5\u1dc6\u1dc7\u1dc8"


@dataclass(frozen=True)
class Letter:
    """A letter, or two or three that are written for one sound, and the phones that it stands for."""

    unit: str
    phones: tuple[str, ...]
    """units of the base model; empty where no phone is known"""
    source: str
    """where the phones are from, in words: `given`, `looks alike`, `without its marks`"""


def phones_of(ipa: str, known: Collection[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return an IPA transcription as units of a base model, and the symbols that have no counterpart there.

    Stress, tones, tie bars and diacritics are ignored, and modifiers (length, aspiration) too, unless the base has a
    unit of phone and modifier. A symbol that the base lacks is replaced by the nearest that it has.
    """
    text = unicodedata.normalize("NFD", "".join(_LIGATURES.get(char, char) for char in ipa))
    text = "".join(char for char in text if not unicodedata.combining(char) and char not in "ˈˌ.‿ \u2060")
    found: list[str] = []
    missing: list[str] = []
    longest = max(map(len, known), default=1)
    start = 0
    while start < len(text):
        end = next((end for end in range(min(len(text), start + longest), start + 1, -1) if text[start:end] in known),
                   start + 1)  # fmt: skip
        symbol, start = text[start:end], end
        if symbol in _MODIFIERS and (found or missing):
            continue
        tried: list[str] = []
        while symbol not in known and symbol in _NEAREST and symbol not in tried:
            tried.append(symbol)
            symbol = _NEAREST[symbol]
        (found if symbol in known else missing).append(symbol if symbol in known else (tried or [symbol])[0])
    return tuple(found), missing


def ipa_of_latin(text: str) -> str:
    """Return a romanisation as IPA, by what the letters look like: `sha` as `ʃa`."""
    pairs = regex.findall("|".join([*_DIGRAPHS, r"\X"]), text.lower())
    return "".join(_DIGRAPHS.get(unit) or _LETTERS.get(unit, unit) for unit in pairs)


def guess(unit: str, known: Collection[str]) -> Letter:
    """Return the phones of a letter by its shape, without its marks if need be; none where it resembles no phone."""
    decomposed = unicodedata.normalize("NFD", unit.lower())
    toneless = unicodedata.normalize("NFC", "".join(char for char in decomposed if char not in _TONE_MARKS))
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    # A base that writes letters (romanised ones, say) has them as they are.
    has_ipa = bool({"ʃ", "ɡ", "ŋ"} & set(known))
    shapes = [unit.lower(), toneless, bare]
    for shape, source in zip(shapes, ("looks alike", "without its tone mark", "without its marks"), strict=True):
        has_marks = any(unicodedata.combining(char) for char in unicodedata.normalize("NFD", shape))
        if has_marks and shape not in _LETTERS and shape not in known:
            continue
        ipa = ipa_of_latin(shape) if has_ipa else shape
        phones, missing = phones_of(ipa, known)
        if phones and not missing:
            return Letter(unit, phones, source)
    return Letter(unit, (), "no phone looks alike")


def digraphs(texts: Iterable[str]) -> list[str]:
    """Return the pairs of Latin letters in normalised texts that usually are one sound: `sh`, `ny`."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({pair: text.count(pair) for pair in _DIGRAPHS})
    return [pair for pair, count in counts.items() if count >= _DIGRAPH_COUNT]


def table(
    texts: Sequence[str],
    units: Iterable[str],
    known: Collection[str],
    given: Mapping[str, str] | None = None,
    source: str = "given",
) -> list[Letter]:
    """Return the letters of a language with their phones.

    Args:
        texts: Normalised texts, for the digraphs that occur.
        units: The alphabet's letters, without blank and word delimiter.
        known: Units of the base model.
        given: IPA of letters and digraphs; a letter that is not among them is guessed. None: all are guessed, with
            the usual digraphs of Latin letters.
        source: Where `given` is from.

    Raises:
        InputError: a given transcription has no symbol that the base knows.
    """
    given = given or {}
    letters = {unit: guess(unit, known) for unit in [*units, *([] if given else digraphs(texts))]}
    for unit, ipa in given.items():
        phones, missing = phones_of(ipa, known)
        if ipa and not phones:
            raise InputError(
                f"the base model has no phone like {', '.join(missing)}, which {unit!r} stands for",
                place="--letters",
                remedy="Give the nearest of its own: " + " ".join(sorted(known)) + ".",
            )
        if unit in letters or any(unit in text for text in texts):
            letters[unit] = Letter(unit, phones, source)
    return list(letters.values())


def read_table(path: Path) -> dict[str, str]:
    """Return letter → IPA of a file: a letter or digraph, a tab and its IPA a line; `#` begins a comment.

    A third column, which `write_table` writes, is not read.

    Raises:
        InputError: the file cannot be read, a line has no tab, or a letter stands twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        unit, *rest = (unicodedata.normalize("NFC", cell.strip()) for cell in line.split("\t"))
        if not rest or not unit:
            raise InputError("not a letter, a tab and its IPA", place=f"{path}:{number}", remedy="Such as: sh<TAB>ʃ")
        if unit in found:
            raise InputError(f"{unit!r} stands twice", place=f"{path}:{number}", remedy="Keep one of the lines.")
        found[unit] = rest[0]
    if not found:
        raise InputError("no letter in this file", place=path, remedy="A letter, a tab and its IPA a line.")
    return found


def write_table(letters: Iterable[Letter], path: Path) -> None:
    """Write a table that `read_table` reads, with a third column that says where each line is from."""
    lines = ["# letter\tIPA\tfrom", *(f"{one.unit}\t{''.join(one.phones)}\t{one.source}" for one in letters)]
    write_text(path, "\n".join(lines) + "\n")


def described(letter: Letter) -> str:
    """Return a letter with its code points: `ŋ (U+014B LATIN SMALL LETTER ENG)`."""
    return f"{letter.unit} ({describe_unit(letter.unit)})"


def units_of(texts: Iterable[str]) -> list[str]:
    """Return the letters of normalised texts, sorted, without the space."""
    return sorted({unit for text in texts for unit in graphemes(text)} - {" "})
