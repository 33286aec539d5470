r"""Praat's backslash codes for letters and marks, such as `\ng` for ŋ.

Praat stores in a TextGrid what was typed, and displays the letters. Codes and letters are those of its manual's pages
"Special symbols" and "Phonetic symbols" (https://www.fon.hum.uva.nl/praat/manual/Phonetic_symbols.html).
"""

import functools
import unicodedata

import regex

_ACCENTS = {"`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308"}
_ACCENTED = {"`": "aeiouAEIOU", "'": "aeiouycnszAEIOUYCNSZ", "^": "aeiouAEIOU", "~": "anoANO", '"': "aeiouyAEIOUY"}
_LETTERS = {
    "ae": "æ", "Ae": "Æ", "o/": "ø", "O/": "Ø", "oe": "œ", "OE": "Œ", "ao": "å", "Ao": "Å", "c,": "ç", "C,": "Ç",
    "ss": "ß", "th": "þ", "Th": "Þ", "dh": "ð", "Dh": "Ð", "l/": "ł", "L/": "Ł", "d-": "đ", "D-": "Đ", "i.": "ı",
    "c<": "č", "C<": "Č", "s<": "š", "S<": "Š", "z<": "ž", "Z<": "Ž", "r<": "ř", "R<": "Ř", "e<": "ě", "E<": "Ě",
    "n<": "ň", "N<": "Ň", "g<": "ǧ", "G<": "Ǧ", "a;": "ą", "A;": "Ą", "e;": "ę", "E;": "Ę", "uo": "ů", "Uo": "Ů",
    "o:": "ő", "O:": "Ő", "u:": "ű", "U:": "Ű", "z!": "ż", "Z!": "Ż",
    "at": "ɐ", "as": "ɑ", "ab": "ɒ", "ay": "ɒ", "b^": "ɓ", "bc": "ʙ", "ct": "ɔ", "cc": "ɕ", "d.": "ɖ", "d^": "ɗ",
    "e-": "ɘ", "sw": "ə", "sr": "ɚ", "ef": "ɛ", "er": "ɜ", "kb": "ɞ", "j-": "ɟ", "g^": "ɠ", "gs": "ɡ", "gc": "ɢ",
    "gf": "ɣ", "rh": "ɤ", "G^": "ʛ", "ht": "ɥ", "h^": "ɦ", "hj": "ɧ", "hc": "ʜ", "h-": "ħ", "i-": "ɨ", "ic": "ɪ",
    "jc": "ʝ", "l~": "ɫ", "l-": "ɬ", "l.": "ɭ", "lz": "ɮ", "lc": "ʟ", "mt": "ɯ", "ml": "ɰ", "mj": "ɱ", "ng": "ŋ",
    "nj": "ɲ", "n.": "ɳ", "nc": "ɴ", "o-": "ɵ", "Oe": "ɶ", "|1": "ǀ", "|2": "ǁ", "|-": "ǂ", "ff": "ɸ", "rt": "ɹ",
    "rl": "ɺ", "r.": "ɻ", "f.": "ɽ", "fh": "ɾ", "rc": "ʀ", "ri": "ʁ", "s.": "ʂ", "sh": "ʃ", "j^": "ʄ", "t.": "ʈ",
    "u-": "ʉ", "hs": "ʊ", "vs": "ʋ", "vt": "ʌ", "wt": "ʍ", "yt": "ʎ", "yc": "ʏ", "z.": "ʐ", "zc": "ʑ", "zh": "ʒ",
    "?g": "ʔ", "9e": "ʕ", "O.": "ʘ", "?-": "ʡ", "9-": "ʢ", ":f": "ː", ".f": "ˑ", "hr": "˞", "bf": "β", "tf": "θ",
    "cf": "χ", "ap": "ʼ", "ts": "ʦ", "tS": "ʧ",
    "^h": "ʰ", "^H": "ʱ", "^j": "ʲ", "^w": "ʷ", "^y": "ʸ", "^?": "ˀ", "^9": "ˁ", "^l": "ˡ", "^s": "ˢ", "^g": "ˠ",
    "^x": "ˣ", "^n": "ⁿ", "^m": "ᵐ", "^f": "ᶠ", "^N": "ᵑ",
    "'1": "ˈ", "'2": "ˌ", "'a": "'", "bs": "\\",
    "al": "α", "be": "β", "ga": "γ", "de": "δ", "ep": "ε", "ze": "ζ", "et": "η", "te": "θ", "io": "ι", "ka": "κ",
    "la": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "on": "ο", "pi": "π", "ro": "ρ", "si": "σ", "ta": "τ", "up": "υ",
    "fi": "φ", "ci": "χ", "ps": "ψ", "om": "ω",
}  # fmt: skip
_MARKS = {
    "`^": "\u0300", "'^": "\u0301", "^^": "\u0302", "~^": "\u0303", "-^": "\u0304", ":^": "\u0308", "0^": "\u030a",
    "v^": "\u030c", "N^": "\u0306", "cn": "\u031a", "cv": "\u031c", "3v": "\u0339", "T^": "\u031d", "Tv": "\u031e",
    "T(": "\u0318", "T)": "\u0319", "+v": "\u031f", "-v": "\u0320", ":v": "\u0324", "0v": "\u0325", "|v": "\u0329",
    "Nv": "\u032a", "Uv": "\u033a", "Dv": "\u033b", "nv": "\u032f", "~v": "\u0330", "~<": "\u0334", "li": "\u0361",
}  # fmt: skip


@functools.cache
def codes() -> dict[str, str]:
    r"""Return Praat's codes with their letters in NFC; a mark (`\'^`, after its letter) is a combining character."""
    accented = {
        letter + accent: unicodedata.normalize("NFC", letter + mark)
        for accent, mark in _ACCENTS.items() for letter in _ACCENTED[accent]
    }  # fmt: skip
    return {"\\" + code: letter for code, letter in (_LETTERS | _MARKS | accented).items()}


def decode(text: str) -> str:
    """Return a text with each of Praat's codes replaced by its letter; other backslashes stay. The result is NFC."""
    if "\\" not in text:
        return text
    return unicodedata.normalize("NFC", _pattern().sub(lambda match: codes()[match[0]], text))


@functools.cache
def _pattern() -> regex.Pattern:
    return regex.compile("|".join(map(regex.escape, codes())))


def find(text: str) -> list[str]:
    """Return the codes in a text, in order."""
    return _pattern().findall(text) if "\\" in text else []
