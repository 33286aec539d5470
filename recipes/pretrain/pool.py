"""Label a pool of recorded speech in many languages with IPA, as far as its spelling says how it sounds.

    python recipes/pretrain/pool.py POOL --out pool

POOL has a folder for each source, with `SOURCE.md` (repository, commit, licence) and `clips.tsv` (path, text,
language, speaker). Ten sources, 2.5 h:

- `am_israelabebe`, Amharic, MIT; `de_kerstin`, German, CC0; `sw_cate`, Swahili, MIT: by eSpeak NG, which speaks them.
- `cmn_audiocmn`, Mandarin words, CC BY-SA: by eSpeak NG, of the pinyin that pypinyin reads.
- `hsb_zalozbadev`, Upper Sorbian, MIT; `lg_makerere`, Luganda, CC0; `nan_sin1pak8`, Taiwanese Hokkien, MIT;
  `rw_ishimwe`, Kinyarwanda, MIT: by the rules below, since they are spelt nearly as they are spoken.
- `nst-x-tusom_tusom2021`, East Tusom, MIT: the source is in IPA.
- `blk_khunphanduae`, Pa'O, CC0: not labelled. Such clips have an empty text, and serve the teacher alone.

Labels are in the units of `speak.py`, without tones and stress. A clip whose label is not of 2 to 20 units a second,
or has something unknown in it, such as digits, keeps its sound and loses its label; it is counted. Upper Sorbian and
the Luganda speaker `HELD_OUT` names are dev, all else is train.

Languages that a base model is adapted to when it is measured, and the demo's, must never be in it: they are refused.

Needs Debian's espeak-ng, and pypinyin (MIT) from PyPI.
"""

import csv
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import speak
import typer

from asr_adapt import audio, cli
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import Utterance, write_jsonl

NEVER = frozenset({"mdw", "qu", "que", "quh", "quz", "qug", "qvi", "qvo", "qxl", "yo", "yor", "mi", "mri", "haw"})
HELD_OUT = ("hsb", "lg:lug_m_35-30_8")
RATE = (2.0, 0.8 * speak.FRAMES_PER_S)  # units a second: else the recording hardly says this text

# Spelling -> sound, the longest spelling first; what is not listed is its own IPA.
# fmt: off
RULES = {
    # Prenasalised consonants are two units in `speak.py`, too. Tone is not written; r and l are one phoneme.
    "lg": {
        "nny": "ɲː", "ny": "ɲ", "ng'": "ŋ", "ng": "ŋɡ", "nk": "ŋk", "cc": "tʃː", "c": "tʃ", "jj": "dʒː", "j": "dʒ",
        "ky": "tʃ", "gy": "dʒ", "g": "ɡ", "y": "j", "r": "ɾ", "x": "ks", "q": "k", "'": "",
    },
    "rw": {
        "shy": "ç", "sh": "ʃ", "cy": "c", "c": "tʃ", "jy": "ɟ", "j": "ʒ", "nny": "ɲ", "ny": "ɲ", "ng": "ŋɡ",
        "nk": "ŋk", "mb": "mb", "b": "β", "g": "ɡ", "y": "j", "r": "ɾ", "l": "ɾ", "'": "",
    },
    "hsb": {
        "dź": "dʒ", "dž": "dʒ", "ch": "x", "kh": "kʰ", "č": "tʃ", "ć": "tʃ", "c": "ts", "š": "ʃ", "ž": "ʒ", "ř": "ʃ",
        "ń": "ɲ", "ł": "w", "w": "w", "ě": "ɪ", "ó": "ʊ", "y": "ɨ", "r": "ʁ", "g": "ɡ", "ŕ": "ʁʲ", "ź": "ʒ",
    },
    # Tâi-lô: a final h is a glottal stop, nn makes the syllable nasal; tone marks are gone by then.
    "nan-Latn": {
        "tsh": "tsʰ", "ts": "ts", "ph": "pʰ", "th": "tʰ", "kh": "kʰ", "nng": "nŋ", "mng": "mŋ", "ng": "ŋ", "nn": "ⁿ",
        "ok": "ɔk", "oo": "ɔ", "j": "dz", "g": "ɡ", "ing": "iəŋ", "ik": "iək", "-": "",
    },
}
# fmt: on
ESPEAK = {"am": "am", "de": "de", "sw": "sw"}


class Source:
    """A folder of the pool.

    Args:
        folder: With `clips.tsv` and `SOURCE.md`.

    Raises:
        InputError: one of them is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("clips.tsv", "SOURCE.md"):
            if not (folder / name).is_file():
                raise InputError(f"{name} is missing", place=folder, remedy="It says what the clips are.")
        said = (folder / "SOURCE.md").read_text(encoding="utf-8")
        facts = dict(re.findall(r"^- (Repository|Licence as stated): (.+)$", said, re.MULTILINE))
        if len(facts) < 2:
            raise InputError("no repository or no licence is named", place=folder / "SOURCE.md")
        self.repository, self.licence = facts["Repository"], facts["Licence as stated"]

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the rows of `clips.tsv`.

        Raises:
            InputError: a clip is of a language that must not be in a base model.
        """
        table = self.folder / "clips.tsv"
        with table.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=2):
                if row["language"].split("-")[0] in NEVER:
                    raise InputError(
                        f"language '{row['language']}' is one that base models are measured on",
                        place=f"{table}:{number}",
                        remedy="Remove the folder from the pool.",
                    )
                yield row


def labels(text: str, language: str) -> str:
    """Return the IPA of a text, empty where nothing here knows how the language is read.

    Raises:
        speak.Unspeakable: there is something in it whose sound is not known.
    """
    if language in ESPEAK:
        return by_espeak(text, ESPEAK[language])
    if language == "cmn-Hans":
        return by_espeak(pinyin(text), "cmn-latn-pinyin")
    if language in RULES:
        return by_rules(text, language)
    if language == "nst-x-tusom":
        return speak.labels_of(re.sub("[˥˦˧˨˩]", "", text), language)
    return ""


def by_espeak(text: str, voice: str) -> str:
    """Return eSpeak NG's phones of a text."""
    return speak.labels_of(speak.run(["espeak-ng", "-q", "-v", voice, "--ipa", text]).stdout.decode(), voice)


def pinyin(text: str) -> str:
    """Return the pinyin of Chinese characters, syllables apart, each with the number of its tone."""
    from pypinyin import Style, lazy_pinyin

    return " ".join(lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True))


def by_rules(text: str, language: str) -> str:
    """Return what the rules of a language make of a text."""
    rules = RULES[language]
    text = re.sub(r"[.,:;!?\"“”„()…–]", " ", unicodedata.normalize("NFC", text.lower()).replace("’", "'"))
    if re.search(r"\d", text):
        raise speak.Unspeakable("digits")
    if language == "nan-Latn":
        toneless = "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
        text = re.sub(r"h\b", "ʔ", toneless)
    spellings = re.compile("|".join(map(re.escape, sorted(rules, key=len, reverse=True))))
    return speak.labels_of(spellings.sub(lambda found: rules[found[0]], text), language)


def label_of(row: dict[str, str], duration_s: float) -> str:
    """Return the label of a clip.

    Raises:
        speak.Unspeakable: it has none that can be trusted.
    """
    found = labels(row["text"], row["language"])
    if not found:
        raise speak.Unspeakable("no rules for the language")
    if not RATE[0] * duration_s <= len(found) <= RATE[1] * duration_s:
        raise speak.Unspeakable(f"not {RATE[0]:g} to {RATE[1]:g} units a second")
    return found


def main(
    pool: Annotated[Path, typer.Argument(help="Folder with a folder for each source.")],
    out: Annotated[Path, typer.Option(help="The corpus's folder.")],
) -> None:
    """Label the pool."""
    with cli.one_line_errors():
        label(pool, out)


def label(pool: Path, out: Path) -> None:
    """Write `out/manifest.jsonl`, and the clips beside it; print hours, licences and what was not labelled.

    Raises:
        InputError: there is no pool, or something in it must not be there.
    """
    sources = [Source(folder) for folder in sorted(pool.iterdir()) if folder.is_dir()] if pool.is_dir() else []
    if not sources:
        raise InputError("no folder with SOURCE.md and clips.tsv", place=pool)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    utterances: list[Utterance] = []
    for source in sources:
        unlabelled: Counter[str] = Counter()
        seconds = {"labelled": 0.0, "not": 0.0}
        for row in source.rows():
            clip = source.folder / row["path"]
            try:
                duration_s = len(audio.load(str(clip))) / audio.SAMPLE_RATE_HZ
            except AudioError as error:
                unlabelled[f"left out: {error.problem}"] += 1
                continue
            try:
                text = label_of(row, duration_s)
            except speak.Unspeakable as reason:
                unlabelled[str(reason)] += 1
                text = ""
            seconds["labelled" if text else "not"] += duration_s
            name = f"{source.folder.name}-{clip.name}"
            shutil.copyfile(clip, out / "clips" / name)
            held_out = f"{row['language']}:{row['speaker']}".startswith(HELD_OUT)
            utterances.append(
                Utterance(
                    id=Path(name).stem,
                    audio=f"clips/{name}",
                    duration_s=round(duration_s, 4),
                    split="dev" if held_out and text else "train",
                    language=row["language"],
                    speaker=row["speaker"],
                    text=text,
                )
            )
        print(
            f"{source.folder.name}: {seconds['labelled'] / 3600:.2f} h labelled, {seconds['not'] / 3600:.2f} h not "
            f"{dict(unlabelled.most_common(5))}; {source.licence}; {source.repository}"
        )
    write_jsonl(out / "manifest.jsonl", utterances)


if __name__ == "__main__":
    typer.run(main)
