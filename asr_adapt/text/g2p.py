"""Grapheme-to-phoneme tables of a language from Epitran, eSpeak NG or uroman, none of which the package needs.

Epitran and eSpeak NG transcribe words, so that what stands beside a letter counts. Which phones are a letter's is
found by aligning words with their transcriptions (as in Jiampojamarn et al. 2007, ACL N07-1047).
"""

import importlib.util
import math
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import regex

from asr_adapt.errors import InputError
from asr_adapt.text import letters as letter_shapes
from asr_adapt.text.characters import graphemes
from asr_adapt.text.scripts import COMMON, script

SOURCES = ("epitran", "espeak", "uroman")
_WORDS = 1_000  # the commonest; more do not change a table of letters
_ROUNDS = 4
_PER_LETTER = 2  # phones
_SHARE = 0.8  # of the places where two letters stand together, for a digraph
_COUNT = 3
_TIMEOUT_S = 120
_SCRIPTS = {"Latin": "Latn", "Cyrillic": "Cyrl", "Devanagari": "Deva", "Ethiopic": "Ethi", "Bengali": "Beng",
            "Tamil": "Taml", "Telugu": "Telu", "Hebrew": "Hebr", "Greek": "Grek", "Lao": "Laoo", "Khmer": "Khmr",
            "Georgian": "Geor", "Armenian": "Armn", "Myanmar": "Mymr", "Sinhala": "Sinh", "Gujarati": "Gujr",
            "Gurmukhi": "Guru", "Malayalam": "Mlym"}  # fmt: skip
"""ISO 15924 codes of scripts that do not begin with the letters of their name"""
Phones = tuple[str, ...]
_PHONE = regex.compile(r"\p{L}\p{M}*(?:\u0361\p{L}\p{M}*)?[ʰʱʲʷˠˤʼːˑⁿˡ˞]*|\p{L}")


def transcribed(source: str, words: Counter[str], language: str) -> dict[str, str]:
    """Return the IPA of letters and digraphs.

    Args:
        source: Of `SOURCES`; a name of the language there may follow: `epitran:swa-Latn`, `espeak:sw`, `uroman:amh`.
        words: Normalised words with their counts.
        language: BCP-47 tag.

    Raises:
        InputError: the program is not installed or does not know the language.
    """
    name, _, named = source.partition(":")
    commonest = [word for word, _ in words.most_common(_WORDS)]
    if name == "uroman":
        return _romanised(commonest, named or _alpha3(language))
    if name == "epitran":
        readings = _by_epitran(commonest, named or f"{_alpha3(language)}-{_script_code(commonest)}")
    else:
        readings = _by_espeak(commonest, named or language)
    return aligned([(graphemes(word), phones) for word, phones in zip(commonest, readings, strict=True) if phones])


def aligned(pairs: Sequence[tuple[Sequence[str], Phones]]) -> dict[str, str]:
    """Return each letter's usual phones, and the pairs of letters that are read as one phone.

    Args:
        pairs: Letters of a word, and its phones.
    """
    words = [list(letters) for letters, _ in pairs]
    readings = [phones for _, phones in pairs]
    paths, chances = _fit(words, readings, {}, _ROUNDS)
    while (pair := _one_sound(words, paths)) is not None:
        words = [_merged(word, pair) for word in words]
        paths, chances = _fit(words, readings, chances, 1)
    chunks: dict[str, Counter[Phones]] = defaultdict(Counter)
    for word, path in zip(words, paths, strict=True):
        for letter, chunk in zip(word, path, strict=True):
            chunks[letter][chunk] += 1
    # What a letter is where it isn't silent.
    return {letter: "".join((Counter({c: n for c, n in found.items() if c}) or found).most_common(1)[0][0])
            for letter, found in chunks.items()}  # fmt: skip


def _fit(
    words: Sequence[Sequence[str]], readings: Sequence[Phones], chances: dict[tuple[str, Phones], float], rounds: int
) -> tuple[list[list[Phones]], dict[tuple[str, Phones], float]]:
    """Return the phones of each letter of each word, and the log-probabilities that follow from them."""
    paths: list[list[Phones]] = []
    for _ in range(rounds):
        paths = [_path(word, phones, chances) for word, phones in zip(words, readings, strict=True)]
        counts = Counter((letter, chunk) for word, path in zip(words, paths, strict=True)
                         for letter, chunk in zip(word, path, strict=True))  # fmt: skip
        totals: Counter[str] = Counter()
        for (letter, _), count in counts.items():
            totals[letter] += count
        chances = {key: math.log(count / totals[key[0]]) for key, count in counts.items()}
    return paths, chances


def _one_sound(words: Sequence[Sequence[str]], paths: Sequence[Sequence[Phones]]) -> tuple[str, str] | None:
    """Return the commonest pair of letters that nearly always are one phone together, one of them being silent.

    The commonest first: in `lla` read as `ʎa`, `ll` is the pair and not `la`, which occurs no more often.
    """
    together: dict[tuple[str, str], Counter[Phones]] = defaultdict(Counter)
    for word, path in zip(words, paths, strict=True):
        for index in range(1, len(word)):
            together[word[index - 1], word[index]][path[index - 1] + path[index]] += 1
    found = {pair: count for pair, chunks in together.items() for phones, count in chunks.most_common(1)
             if len(phones) == 1 and count >= max(_COUNT, _SHARE * chunks.total())}  # fmt: skip
    return max(found, key=lambda pair: found[pair], default=None)


def _merged(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for letter in word:
        if merged and (merged[-1], letter) == pair:
            merged[-1] += letter
        else:
            merged.append(letter)
    return merged


def _path(letters: Sequence[str], phones: Phones, chances: dict[tuple[str, Phones], float]) -> list[Phones]:
    """Return the likeliest phones of each letter (Viterbi); at first, those at its place in the word."""
    total = len(phones)
    best = [[-math.inf] * (total + 1) for _ in range(len(letters) + 1)]
    taken = [[0] * (total + 1) for _ in range(len(letters) + 1)]
    best[0][0] = 0.0
    for row, letter in enumerate(letters, 1):
        for end in range(total + 1):
            # What no letter takes otherwise goes to the last, or a word with more phones than that has no path.
            most = end if row == len(letters) else min(_PER_LETTER, end)
            for size in range(most + 1):
                chunk = phones[end - size : end]
                if chances:
                    score = chances.get((letter, chunk), -9.0 - 3.0 * max(0, size - _PER_LETTER))
                else:
                    middle = total * (row - 0.5) / len(letters)
                    same = size == 1 and chunk[0][0] == letter[0]
                    score = -abs(end - size / 2 - middle) - abs(size - 1) + 2 * same
                if best[row - 1][end - size] + score > best[row][end]:
                    best[row][end], taken[row][end] = best[row - 1][end - size] + score, size
    path: list[Phones] = []
    end = total
    for row in range(len(letters), 0, -1):
        size = taken[row][end]
        path.append(tuple(phones[end - size : end]))
        end -= size
    return path[::-1]


def _by_epitran(words: Sequence[str], code: str) -> list[Phones]:
    epitran: Any = _module("epitran", "epitran")
    try:
        transliterate = epitran.Epitran(code).transliterate
    except Exception as error:  # its DatafileError, and others for a malformed code
        maps = Path(str(epitran.__file__)).parent / "data" / "map"
        near = sorted(path.stem for path in maps.glob(f"{code[:3]}-*.csv"))
        raise InputError(
            f"Epitran has no table of {code!r}", place="--letters",
            remedy=f"It has {', '.join(near)}: --letters epitran:{near[0]}." if near
            else "Name one that is near as epitran:CODE, or write a table (--letters FILE).",
        ) from error  # fmt: skip
    return [tuple(_PHONE.findall(transliterate(word))) for word in words]


def _by_espeak(words: Sequence[str], voice: str) -> list[Phones]:
    program = shutil.which("espeak-ng")
    if program is None:
        raise InputError(
            "eSpeak NG is not installed (no espeak-ng on the PATH)",
            place="--letters",
            remedy="Install it (`apt install espeak-ng`), or write a table: --letters FILE.",
        )
    # A full stop after each word, so that each is a clause and so a line of its own.
    answer = subprocess.run(
        [program, "-v", voice, "-q", "--ipa", "--sep=_", "--stdin"], input="".join(f"{word}.\n" for word in words),
        capture_output=True, text=True, encoding="utf-8", timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode or "does not exist" in answer.stderr:
        raise InputError(f"eSpeak NG has no voice {voice!r}", place="--letters",
                         remedy="`espeak-ng --voices` lists them: --letters espeak:NAME.")  # fmt: skip
    if len(lines) != len(words):
        raise InputError(
            f"eSpeak NG transcribed {len(lines)} of {len(words)} words",
            place="--letters",
            remedy="Remove digits and signs from the words, or write a table: --letters FILE.",
        )
    split = (line.replace(" ", "_").replace("ˈ", "").replace("ˌ", "").split("_") for line in lines)
    return [tuple(phone for phone in phones if phone) for phones in split]


def _romanised(words: Sequence[str], code: str) -> dict[str, str]:
    romanise = _module("uroman", "uroman").Uroman().romanize_string
    letters = sorted({letter for word in words for letter in graphemes(word)})
    return {letter: letter_shapes.ipa_of_latin(romanise(letter, lcode=code)) for letter in letters}


def _module(name: str, extra: str) -> Any:
    if importlib.util.find_spec(name) is None:
        raise InputError(f"{name} is not installed", place="--letters", remedy=f"pip install 'asr-adapt[{extra}]'")
    return importlib.import_module(name)


def _alpha3(language: str) -> str:
    import langcodes

    try:
        return langcodes.Language.get(language, normalize=False).to_alpha3()
    except (LookupError, ValueError):
        return language


def _script_code(words: Sequence[str]) -> str:
    """Return the ISO 15924 code of the words' main script: `Latn`, `Cyrl`."""
    counts = Counter(name for word in words for char in word if (name := script(char)) != COMMON)
    main = counts.most_common(1)[0][0] if counts else "Latin"
    return _SCRIPTS.get(main, main[:4])
