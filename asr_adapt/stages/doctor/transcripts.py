"""What transcripts show: look-alikes, other scripts, digits, capitals, and how characters are composed."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import regex

from asr_adapt.records import Utterance
from asr_adapt.stages.doctor.finding import Finding, found
from asr_adapt.text import invisible
from asr_adapt.text.characters import describe_unit
from asr_adapt.text.scripts import COMMON, script

# Letters that look alike in most typefaces, by script. Greek β, θ, χ are letters of Latin orthographies, too, and
# look like no other; they are not here.
_PAIRS = {
    ("Latin", "Greek"): ("aoivnuABEHIKMNOPTXYZɛ", "αοινηυΑΒΕΗΙΚΜΝΟΡΤΧΥΖε"),
    ("Latin", "Cyrillic"): ("aceopxyijsABCEHIJKMOPSTX", "асеорхуіјѕАВСЕНІЈКМОРЅТХ"),
    ("Greek", "Cyrillic"): ("αορΑΒΕΗΙΚΜΟΡΤΧ", "аорАВЕНІКМОРТХ"),
}
_WORD = regex.compile(r"[\p{L}\p{M}]+")
# Below it a transcript in capitals is an abbreviation or a name.
_LETTERS_OF_SHOUTING = 8


def look_alikes(main: str) -> dict[str, str]:
    """Return `{letter of another script: the letter of `main` that looks like it}`."""
    table: dict[str, str] = {}
    for (one, other), (ones, others) in _PAIRS.items():
        if main == one:
            table |= dict(zip(others, ones, strict=True))
        elif main == other:
            table |= dict(zip(ones, others, strict=True))
    return table


def main_script(texts: Sequence[str]) -> str:
    """Return the script of most letters; `Common` where there is no letter."""
    letters = Counter(char for text in texts for char in text if char.isalpha())
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[script(letter)] += count
    return scripts.most_common(1)[0][0] if scripts else COMMON


def confused(texts: Sequence[str], main: str) -> dict[str, str]:
    """Return those of `look_alikes` whose twin in `main` is written, too: one letter that was typed in two ways.

    An orthography that always writes Greek ε, as many do for the open e, has one letter there.
    """
    letters = {char for text in texts for char in unicodedata.normalize("NFD", text)}
    return {other: own for other, own in look_alikes(main).items() if {other, own} <= letters}


def repaired(text: str, main: str, table: dict[str, str]) -> str:
    """Return a transcript in NFC, with `confused` letters inside words of `main` replaced by its own."""

    def word(match: regex.Match) -> str:
        return match[0].translate(str.maketrans(table)) if any(script(c) == main for c in match[0]) else match[0]

    return unicodedata.normalize("NFC", _WORD.sub(word, unicodedata.normalize("NFD", text)))


def check(utterances: Sequence[Utterance], cleaned: Sequence[str]) -> list[Finding]:
    """Return what is wrong with transcripts.

    Args:
        utterances: With the transcripts as they are.
        cleaned: The transcripts without markup and invisible characters.
    """
    texts = [(u.id, text) for u, text in zip(utterances, cleaned, strict=True)]
    main = main_script([text for _, text in texts])
    alike = confused([text for _, text in texts], main)
    words = {word for _, text in texts for word in _WORD.findall(unicodedata.normalize("NFD", text))}
    mixed = [word for word in words if any(script(char) == main for char in word)]
    borrowed = {char for word in mixed for char in word if script(char) not in (main, COMMON)} - alike.keys()
    strange, foreign, digits, shouted, apart, lent = [], [], [], [], [], []
    some_lower = any(char.islower() for _, text in texts for char in text)
    as_written = {u.id: u.text or "" for u in utterances}
    composed = any(unicodedata.normalize("NFD", text) != text for text in as_written.values())
    hidden = []
    for id, text in texts:
        for word in _WORD.findall(unicodedata.normalize("NFD", text)):
            scripts = {script(char) for char in word} - {COMMON}
            odd = [char for char in word if char in alike]
            if main in scripts and odd:
                strange.append((id, f"{describe_unit(odd[0])} in a {main} word"))
                break
            if scripts and main not in scripts and not {*word} <= borrowed | {*filter(unicodedata.combining, word)}:
                foreign.append((id, f"a word in {' and '.join(sorted(scripts))} letters"))
                break
        if odd := sorted(borrowed & {*unicodedata.normalize("NFD", text)}):
            lent.append((id, describe_unit(odd[0])))
        if number := next((char for char in text if char.isdigit()), None):
            digits.append((id, f"the digit {number!r}"))
        letters = [char for char in text if char.isupper() or char.islower()]
        if some_lower and len(letters) >= _LETTERS_OF_SHOUTING and all(char.isupper() for char in letters):
            shouted.append((id, "all capitals"))
        if unicodedata.normalize("NFC", as_written[id]) != as_written[id]:
            apart.append((id, "letters and marks as separate code points"))
        if removed := invisible.removed(as_written[id]):
            hidden.append((id, describe_unit(removed[0])))
    return [
        *found("look_alikes", "error", f"letters of another script inside {main} words: the model learns two letters",
               "--fix replaces them, or map them in text.replace.", strange),
        *found("borrowed_letters", "note", f"letters of another script as letters of {main} words, always the same",
               "Nothing, if the orthography has them; text that is added later must be typed alike.", lent),
        *found("other_script", "warning", f"words in another script than {main}",
               "Spell them as they are pronounced, or leave the clips out.", foreign),
        *found("digits", "warning", "transcripts with digits, whose pronunciation is unknown",
               "Write numbers as words.", digits),
        *found("capitals", "note", "transcripts in capitals among others that are not",
               "Nothing where text.lower is true, the default; else write them alike.", shouted),
        *found("composition", "warning" if composed and len(apart) < len(texts) else "note",
               "transcripts that are not in NFC" + (", mixed with others that are" if composed else ""),
               "Training puts all into NFC; --fix writes it so.", apart),
        *found("invisible_characters", "note", "transcripts with characters that are invisible by design",
               "Training removes them; --fix does too.", hidden),
    ]  # fmt: skip
