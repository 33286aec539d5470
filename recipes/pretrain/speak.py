"""Speak the embedded base model's pre-training corpus: pseudo-words in 95 languages, labelled with IPA.

What it is. Clips of 1 to 6 s, two to eight words each, at 16 kHz; four of five are degraded by `noise.degrade` as a
room, a microphone and a recorder would, once and for all, so that training needs no augmentation of its own.
The words are real ones or pseudo-words with the letter statistics of a language, now and then open syllables
of no language; the sentences mean nothing. 88 % of the clips come from eSpeak NG: 104 voices of
95 languages, 74 speaker variants, at 120 to 220 words a minute; 9 % from Festival's recorded diphones and HMMs
(English, Italian, Catalan, Czech, Finnish, Russian, Hindi, Telugu), 3 % from Flite's (English).

Labels are what the synthesiser itself says that it spoke, in 82 units and the space, each one code point that
NFC leaves alone; words are parted by spaces. `ː` `ʰ` `ʲ` `ʼ` are units of their own, and so is `ⁿ`, which
marks the vowel before it as nasal. Stress and tones are dropped: eSpeak NG names tones by numbers that mean
another thing in every language.

Never in it: Mboshi, which no synthesiser here speaks, Māori, the language of the demo, and its near relative
Hawaiian. Five eSpeak variants and one Festival voice are in dev only; Basque, Albanian and Kannada in test only.

    python recipes/pretrain/speak.py --out DIR --hours 25 --seed 1

writes `DIR/clips/*.flac` and `DIR/manifest.jsonl`, one `Utterance` a line; about 65 MB and a minute on two
cores an hour of speech. Started again, it goes on where it was killed; the same seed gives the same clips, as
long as the engines keep their versions.

Needs Debian's packages, which neither the asr_adapt package nor the trained model needs: espeak-ng (GPL-3), flite,
festival and the voices festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts festvox-italp16k festvox-itapc16k
festvox-ca-ona-hts festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph festvox-suopuhe-lj
festvox-suopuhe-mv festvox-ru festvox-hi-nsk festival-hi festvox-te-nsk festival-te (BSD, LGPL and GPL); for the words
iso-codes, hunspell-{af,an,ar,be,bg,bn,bs,ca,cs,da,de-de,el,en-us,es,eu,fr,gd,gu,gug,hi,hr,hu,id,is,it,kk,kmr,
ko,lt,lv,ml,ne,nl,no,pl,pt-br,pt-pt,ro,ru,si,sk,sl,sr,sv,sw,te,tr,uk,uz,vi} and myspell-{eo,et,fa,ga,hy,sq}.
"""

import codecs
import functools
import gettext
import re
import subprocess
import tempfile
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, NamedTuple

import noise
import numpy as np
import soundfile
import soxr
import typer
from tqdm import tqdm

from asr_adapt.errors import InputError
from asr_adapt.records import Split, Utterance, write_jsonl
from asr_adapt.text.scripts import script

SAMPLE_RATE_HZ = 16_000
CLIP_S = (1.0, 6.0)
MEAN_CLIP_S = 3.3  # measured over the first 700 clips; turns hours into a number of clips
CLIPS_PER_SHARD = 100
DEGRADED_SHARE = 0.8
FRAMES_PER_S = 25  # of the model to be trained: CTC can't write more labels than there are frames

# eSpeak NG's voice -> the lists that its words are drawn and learned from: a Hunspell dictionary; `iso:` and the
# language of one of iso-codes' translations; or a syllable grammar below. Where a voice's language has no list, a
# relative's or any open syllables do: the label is what was spoken, not what was meant. Māori (mi) and Hawaiian
# (haw) are left out on purpose; he, th, my, shn, hak, kok, nog, ky, quc, chr and Chinese characters because 1.51
# spells them out or prints no IPA for them.
# fmt: off
VOICES = {
    "af": "af_ZA", "am": "iso:am", "an": "an_ES", "ar": "ar", "as": "iso:as", "az": "iso:az", "ba": "iso:tt",
    "be": "be_BY", "bg": "bg_BG", "bn": "bn_BD", "bs": "bs_BA", "ca": "ca", "cmn-latn-pinyin": "pinyin",
    "cs": "cs_CZ", "cv": "iso:cv", "cy": "iso:cy", "da": "da_DK", "de": "de_DE", "el": "el_GR", "en-029": "en_US",
    "en-gb": "en_US", "en-gb-scotland": "en_US", "en-gb-x-gbclan": "en_US", "en-us": "en_US", "eo": "eo",
    "es": "es_ES", "es-419": "es_ES", "et": "et_EE", "eu": "eu", "fa": "fa_IR", "fi": "iso:fi", "fr-be": "fr",
    "fr-fr": "fr", "ga": "ga_IE", "gd": "gd_GB", "gn": "gug_PY", "gu": "gu_IN", "hi": "hi_IN", "hr": "hr_HR",
    "ht": "iso:ht", "hu": "hu_HU", "hy": "hy_AM", "hyw": "hy_AM", "ia": "iso:ia", "id": "id_ID", "io": "iso:io",
    "is": "is_IS", "it": "it_IT", "ja": "kana", "jbo": "open", "ka": "iso:ka", "kk": "kk_KZ", "kl": "open",
    "kn": "iso:kn", "ko": "ko", "ku": "kmr_Latn", "la": "open", "lb": "de_DE", "lfn": "open", "lt": "lt_LT",
    "ltg": "lv_LV", "lv": "lv_LV", "mk": "iso:mk", "ml": "ml_IN", "mr": "iso:mr", "ms": "iso:ms", "mt": "iso:mt",
    "nb": "nb_NO", "nci": "open", "ne": "ne_NP", "nl": "nl", "om": "iso:so", "or": "iso:or", "pa": "iso:pa",
    "pap": "es_ES", "pl": "pl_PL", "pt": "pt_PT", "pt-br": "pt_BR", "qu": "open", "ro": "ro_RO", "ru": "ru_RU",
    "sd": "iso:sd", "si": "si_LK", "sk": "sk_SK", "sl": "sl_SI", "smj": "open", "sq": "sq_AL",
    "sr": "sr_Latn_RS", "sv": "sv_SE", "sw": "sw_TZ iso:rw iso:zu", "ta": "iso:ta", "te": "te_IN",
    "tk": "iso:tk", "tn": "iso:nso iso:ve iso:xh", "tr": "tr_TR", "tt": "iso:tt", "ug": "iso:ug",
    "uk": "uk_UA", "ur": "iso:ur", "uz": "uz_UZ", "vi": "vi_VN", "vi-vn-x-central": "vi_VN",
    "vi-vn-x-south": "vi_VN", "yue-latn-jyutping": "jyutping",
}
# fmt: on
HELD_OUT_LANGUAGES = ("eu", "sq", "kn")
WEIGHTS = {"sw": 4.0, "tn": 4.0}  # Bantu: the family of the languages that this model is most wanted for

# fmt: off
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f5",
    "klatt", "klatt2", "klatt3", "klatt4", "klatt6",
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky",
    "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "adam", "anika", "antonio", "aunty", "benjamin", "boris",
    "caleb", "david", "ed", "edward", "edward2", "grandma", "grandpa", "gustave", "iven", "iven3", "john", "linda",
    "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "rob", "robert", "sandro", "shelby",
    "steph", "steph2", "travis", "victor", "zac",
)
# fmt: on
HELD_OUT_VARIANTS = ("m7", "f4", "klatt5", "belinda", "quincy")

HUNSPELL = Path("/usr/share/hunspell")
LOCALES = Path("/usr/share/locale")
REMEDY = "Install the Debian packages that the docstring of speak.py lists."
ISO_DOMAINS = ("iso_3166-1", "iso_639-2", "iso_639-3")

VOWELS = "aɑɐæɛeəɜɪiɨyøœɔoɒʌʊuʉɯɵɤ"
CONSONANTS = "pbtdkɡqʔʈɖcɟɓɗmnɲŋɳfvθðszʃʒɕʑʂʐçʝxɣχʁħʕhɦβɸrɾɹɽʋwjɥlɫɭʎɬ"
MARKS = "ːʰʲʼⁿ"
INVENTORY = frozenset(VOWELS + CONSONANTS + MARKS + " ")

# What eSpeak NG prints -> units of the inventory, in this order, on decomposed (NFD) text. It mixes IPA with
# leftovers of its own mnemonics (`s.` for ʂ, a backquote for ʼ), with tones, stress and ties.
# fmt: off
REWRITES = tuple((re.compile(pattern), unit) for pattern, unit in (
    (r"ⁿ", "n"), (r"ᵐ", "m"), (r"ᵑ", "ŋ"),  # prenasalisation
    (r"c\u0327", "ç"), (r"r\u031d\u030a?", "rʒ"), (r"\u0303", "ⁿ"),
    (r"s\.", "ʂ"), (r"z\.", "ʐ"), (r"t\.", "ʈ"), (r"d\.", "ɖ"), (r"n\.", "ɳ"), (r"l\.", "ɭ"), (r"r\.", "ɽ"),
    (r"i[.\u032a]", "ɨ"), (r"e\.", "ɽ"),
    (r"ʦ", "ts"), (r"ʣ", "dz"), (r"ʧ", "tʃ"), (r"ʤ", "dʒ"), (r"ɚ", "əɹ"), (r"ɝ", "ɜɹ"), (r"ᵻ", "ɪ"),
    (r"g", "ɡ"), (r"ε", "ɛ"), (r"ʀ", "ʁ"), (r"ɴ", "ŋ"), (r"ɱ", "m"), (r"ʍ", "w"), (r"ɦ", "h"),
    (r"S", "ʃ"), (r"Z", "ʒ"), (r"N", "ŋ"), (r"X", "χ"), (r"K", "tɬ"), (r"A", "ɑ"), (r"\?", "ʔ"), (r":", "ː"),
    (r"`", "ʼ"), (r"\^", "ʲ"),
    (r"[0-9ˈˌ\-#+\"\u0361\u200d]", ""),  # tones, stress, ties, unreleased stops, boundaries inside words
    (r"[\u0300-\u036fˤᵝ˞]", ""),  # what is left of diacritics: dental, apical, syllabic, voiceless, centralised
    (r"([ʔʰʲⁿ])\1+", r"\1"),
    (r"([^\W\dː])\1+", r"\1ː"), (r"ː+", "ː"), (r"\s+", " "),  # `aa` and `aː`, `kk` and `kː` are one
))
OWN_REWRITES = {
    "cmn": ((r"ɜ", ""), (r"nɡ", "ŋ"), (r"(?<=[ptkɕs.])h", "ʰ")),  # ɜ is the third tone's sign here, not a vowel
    "yue": ((r"ɜ", ""), (r"nɡ", "ŋ")),
    "vi": ((r"ɜ", ""), (r"y", "ɯ")),
    # The sound is that of Polish y [ɨ] and of Vietnamese ư [ɯ]: second formants measured at 1.7 and 1.2 kHz.
    "ru": ((r"y", "ɨ"),),
    "uz": ((r"y", "ɨ"),),
    "gn": ((r"y", "ɨ"),),
    "et": ((r"ɵ", "ɤ"),),
    "ko": ((r"q", "k"), (r"(?<=[ptkɕ])h", "ʰ")),
    "da": ((r"[ʔ?]", ""),),  # stød, printed at the wrong place
    "de": ((r"\?\?", "ʊɾ"),),  # what 1.51 prints for the `ur` of `wurde`
}
# fmt: on


def _table(pairs: str) -> dict[str, str]:
    """`aa=ɑː ae=æ` as a dictionary."""
    return dict(pair.split("=") for pair in pairs.split())


# Phone names of Festival's and Flite's voices; a single letter that is missing here is its own IPA.
PHONES = {
    "english": _table(
        "aa=ɑː ae=æ ah=ʌ ao=ɔː aw=aʊ ax=ə axr=əɹ ay=aɪ ch=tʃ dh=ð dx=ɾ eh=ɛ el=əl em=əm en=ən er=ɜː ey=eɪ g=ɡ hh=h "
        "hv=h ih=ɪ iy=iː jh=dʒ ng=ŋ nx=n ow=oʊ oy=ɔɪ r=ɹ sh=ʃ th=θ uh=ʊ uw=uː y=j zh=ʒ"
    ),
    "italian": _table("E=ɛ O=ɔ g=ɡ S=ʃ Z=ʒ ts=ts tS=tʃ dz=dz dZ=dʒ J=ɲ ng=ŋ nf=m L=ʎ"),
    "catalan": _table("ax=ə E=ɛ O=ɔ g=ɡ J=ɲ L=ʎ r=ɾ rr=r S=ʃ Z=ʒ"),
    "czech": _table(
        "a:=aː e:=eː i:=iː o:=oː u:=uː c=ts c~=tʃ ch=x d~=ɟ dz=dz dz~=dʒ g=ɡ n*=ŋ n~=ɲ r~=rʒ r~*=rʒ s~=ʃ t~=c "
        "z~=ʒ _=ʔ"
    ),
    "finnish": _table("@=æ 7=ø N=ŋ S=ʃ T=θ g=ɡ L=l")
    | _table("a:=aː e:=eː i:=iː o:=oː u:=uː y:=yː @:=æː 7:=øː p:=pː t:=tː k:=kː b:=bː d:=dː g:=ɡː f:=fː s:=sː")
    | _table("h:=hː v:=vː m:=mː n:=nː N:=ŋː l:=lː r:=rː j:=jː w:=wː S:=ʃː"),
    "indic": _table(
        "a=ə aa=aː ih=ɪ iy=iː uh=ʊ uw=uː eh=e ee=eː oh=o oo=oː ch=tʃ T=ʈ D=ɖ N=ɳ th=t dh=d y=j L=ɭ sh=ʃ j=dʒ g=ɡ "
        "ay=ɛː aw=ɔː kh=kʰ gh=ɡʰ tth=tʰ ddh=dʰ bh=bʰ w=ʋ v=ʋ"
    ),
    "russian": _table(
        "ii=i yy=ɨ uu=u ee=e oo=o aa=a a=ʌ e=ɪ i=ɪ y=ɨ ae=ə ay=ə ur=u pp=pʲ bb=bʲ tt=tʲ dd=dʲ kk=kʲ g=ɡ gg=ɡʲ c=ts "
        "ch=tʃʲ ff=fʲ vv=vʲ ss=sʲ zz=zʲ sh=ʃ sch=ɕ zh=ʒ h=x hh=xʲ mm=mʲ nn=nʲ ll=lʲ rr=rʲ"
    ),
}


class FestivalVoice(NamedTuple):
    """What a Festival voice speaks: a language, words of a list, in an encoding, with phones of a table."""

    language: str
    words: str
    encoding: str
    phones: dict[str, str]


FESTIVAL_VOICES = {
    "kal_diphone": FestivalVoice("en-us", "en_US", "ascii", PHONES["english"]),
    "ked_diphone": FestivalVoice("en-us", "en_US", "ascii", PHONES["english"]),
    "cmu_us_slt_arctic_hts": FestivalVoice("en-us", "en_US", "ascii", PHONES["english"]),
    "lp_diphone": FestivalVoice("it", "it_IT", "latin-1", PHONES["italian"]),
    "pc_diphone": FestivalVoice("it", "it_IT", "latin-1", PHONES["italian"]),
    "upc_ca_ona_hts": FestivalVoice("ca", "ca", "latin-1", PHONES["catalan"]),
    "czech_dita": FestivalVoice("cs", "cs_CZ", "iso-8859-2", PHONES["czech"]),
    "czech_krb": FestivalVoice("cs", "cs_CZ", "iso-8859-2", PHONES["czech"]),
    "czech_machac": FestivalVoice("cs", "cs_CZ", "iso-8859-2", PHONES["czech"]),
    "czech_ph": FestivalVoice("cs", "cs_CZ", "iso-8859-2", PHONES["czech"]),
    "suo_fi_lj_diphone": FestivalVoice("fi", "iso:fi", "latin-1", PHONES["finnish"]),
    "hy_fi_mv_diphone": FestivalVoice("fi", "iso:fi", "latin-1", PHONES["finnish"]),
    "hindi_NSK_diphone": FestivalVoice("hi", "hi_IN", "utf-8", PHONES["indic"]),
    "telugu_NSK_diphone": FestivalVoice("te", "te_IN", "utf-8", PHONES["indic"]),
    "msu_ru_nsh_clunits": FestivalVoice("ru", "ru_RU", "utf-8", PHONES["russian"]),
}
HELD_OUT_FESTIVAL_VOICE = "ked_diphone"
FLITE_VOICES = ("awb", "rms", "slt", "kal16")

# Synthesise, save, and print the clip's number and the phones of every word.
FESTIVAL_PROLOGUE = """
(define (leaves item)
  (let ((daughters (item.relation.daughters item 'SylStructure)))
    (if (null? daughters) (list (item.name item)) (apply append (mapcar leaves daughters)))))
(define (say voice stretch folder number text)
  (voice)
  (Parameter.set 'Duration_Stretch stretch)
  (let ((utterance (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utterance (format nil "%s/%d.wav" folder number) 'riff)
    (format t "%d" number)
    (mapcar (lambda (word) (format t " %l" (leaves word))) (utt.relation.items utterance 'Word))
    (format t "\\n")))
"""


class Spoken(NamedTuple):
    """One clip as a synthesiser gave it: float32 (num_samples,) at 16 kHz, its labels, and who spoke."""

    waveform: np.ndarray
    labels: str
    language: str
    speaker: str


class Shard(NamedTuple):
    """A piece of the corpus that is made in one go, from a random state of its own."""

    engine: str
    split: Split
    number: int
    seed: int
    clips: int
    degraded: float = DEGRADED_SHARE
    """share of the clips"""

    @property
    def name(self) -> str:
        """A name that no other shard of any seed has."""
        clean = "" if self.degraded else "-clean"
        return f"{self.engine}-{self.split}-s{self.seed}{clean}-{self.number:04d}"

    def rng(self) -> np.random.Generator:
        """A generator that depends on the shard's name alone."""
        return np.random.default_rng(list(self.name.encode()))


class Unspeakable(Exception):
    """The clip can't be used; the message is the reason, to be counted."""


def labels_of(ipa: str, language: str) -> str:
    """Return what eSpeak NG printed as units of `INVENTORY`, words parted by single spaces.

    Raises:
        Unspeakable: it switched the language, or printed something that is no unit.
    """
    if "(" in ipa:
        raise Unspeakable("spelled out in English")
    text = unicodedata.normalize("NFD", ipa.replace("ˈ", "").replace("ˌ", ""))
    for pattern, unit in OWN_REWRITES.get(language.split("-")[0], ()):
        text = re.sub(pattern, unit, text)
    for pattern, unit in REWRITES:
        text = pattern.sub(unit, text)
    text = text.strip()
    if unknown := set(text) - INVENTORY:
        raise Unspeakable(f"unknown units {sorted(unknown)}")
    return text


class WordMaker:
    """Words of one list: real ones, and pseudo-words from its letter trigrams and four-grams."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.followers: dict[str, list[str]] = {}
        for word in words:
            padded = f"^^^{word}$"
            for at in range(3, len(padded)):
                for order in (2, 3):
                    self.followers.setdefault(padded[at - order : at], []).append(padded[at])

    def __call__(self, rng: np.random.Generator) -> str:
        """Return a real word in two of five cases, else a pseudo-word of 2 to 12 letters."""
        if rng.random() < 0.4:
            return self.words[rng.integers(len(self.words))]
        order = int(rng.choice([2, 3], p=[0.4, 0.6]))
        for _ in range(20):
            letters = "^^^"
            while len(letters) < 16:
                choices = self.followers[letters[-order:]]
                letter = choices[rng.integers(len(choices))]
                if letter == "$":
                    break
                letters += letter
            if 5 <= len(letters) < 16:
                return letters[3:]
        return self.words[rng.integers(len(self.words))]


def _pick(rng: np.random.Generator, items: str) -> str:
    """One of the words of `items`, `_` being nothing."""
    words = items.split()
    return words[rng.integers(len(words))].replace("_", "")


def open_syllables(rng: np.random.Generator) -> str:
    """A word of 1 to 4 open syllables, with the onsets of many African and American languages."""
    onsets = (
        "_ p b t d k g m n l r s w y h f v z p b t d k m n l s mb nd ng mp nt nk nz ndz mbw ngw ny ch sh j ts "
        "dz kw gw tw py by ky my kp gb mv mf"
    )
    vowels = "a e i o u a e i o a e i o u aa ia ua ie oo ai"
    word = "".join(_pick(rng, onsets) + _pick(rng, vowels) for _ in range(rng.integers(1, 5)))
    return word + _pick(rng, "_ _ _ _ _ n m s l k")


def pinyin(rng: np.random.Generator) -> str:
    """A word of 1 to 3 Mandarin-like syllables with tone numbers."""
    initials = "_ b p m f d t n l g k h j q x zh ch sh r z c s y w"
    finals = "a o e ai ei ao ou an en ang eng ong i ia ie iao iu ian in iang ing u ua uo uai ui uan un uang ü üe"
    return "".join(
        _pick(rng, initials) + _pick(rng, finals) + str(rng.integers(1, 5)) for _ in range(rng.integers(1, 4))
    )


def jyutping(rng: np.random.Generator) -> str:
    """A word of 1 to 3 Cantonese-like syllables with tone numbers."""
    initials = "_ b p m f d t n l g k ng h gw kw w z c s j"
    finals = (
        "aa aai aau aam aan aang aap aat aak ai au am an ang ap at ak e ei eng ek i iu im in ing ip it ik "
        "o oi ou on ong ot ok u ui un ung ut uk oe oeng oek eoi eon yu yun yut"
    )
    return "".join(
        _pick(rng, initials) + _pick(rng, finals) + str(rng.integers(1, 7)) for _ in range(rng.integers(1, 4))
    )


def kana(rng: np.random.Generator) -> str:
    """A word of 2 to 5 morae in hiragana."""
    morae = (
        "あ い う え お か き く け こ が ぎ ぐ げ ご さ し す せ そ ざ じ ず ぜ ぞ "
        "た ち つ て と だ で ど な に ぬ ね の は ひ ふ へ ほ ば び ぶ べ ぼ ぱ ぴ ぷ ぺ ぽ "
        "ま み む め も や ゆ よ ら り る れ ろ わ きゃ きょ しゃ しゅ ちょ にゃ りょ ひゃ ん"
    )
    return "".join(_pick(rng, morae) for _ in range(rng.integers(2, 6))).lstrip("ん") or "あ"


GRAMMARS: dict[str, Callable[[np.random.Generator], str]] = {
    "open": open_syllables,
    "pinyin": pinyin,
    "jyutping": jyutping,
    "kana": kana,
}


def read_words(source: str) -> list[str]:
    """Return the lower-case words, of 2 to 14 letters of one script, of a Hunspell dictionary or of iso-codes.

    Raises:
        InputError: the list is not on this machine.
    """
    if source.startswith("iso:"):
        lines = _translations(source.removeprefix("iso:"))
    else:
        path = HUNSPELL / f"{source}.dic"
        if not path.is_file():
            raise InputError("no such word list", place=path, remedy=REMEDY)
        # One line of the affix file, perhaps the first after a byte order mark, says "SET ISO8859-2".
        affixes = path.with_suffix(".aff").read_bytes().removeprefix(codecs.BOM_UTF8)
        declared = re.search(rb"^SET\s+(\S+)", affixes, re.MULTILINE)
        encoding = declared.group(1).decode().replace("microsoft-", "") if declared else "latin-1"
        entries = path.read_text(encoding, errors="replace").splitlines()[1:]
        lines = [re.split(r"[/\s]", entry)[0] for entry in entries]
    letters = r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u0900-\u0dff'’ʻ])+"
    words = {
        word
        for line in lines
        for word in re.findall(letters, unicodedata.normalize("NFC", line).lower())
        if len(word) <= 14
    }
    scripts = Counter(script(word[0]) for word in words)
    if not scripts:
        raise InputError("no words", place=source, remedy=REMEDY)
    main_script = scripts.most_common(1)[0][0]
    return sorted(word for word in words if script(word[0]) == main_script)


def _translations(language: str) -> list[str]:
    """The names of countries and languages in that language, where they are not just the English ones."""
    lines = []
    for domain in ISO_DOMAINS:
        try:
            catalogue = gettext.translation(domain, LOCALES, [language])._catalog
        except OSError:
            continue
        lines += [
            translation
            for source, translation in catalogue.items()
            if isinstance(source, str) and source and translation != source
        ]
    if not lines:
        raise InputError(f"no translation into '{language}'", place=LOCALES, remedy=REMEDY)
    return lines


@functools.cache
def word_maker(source: str) -> Callable[[np.random.Generator], str]:
    """The maker of words for one entry of `VOICES`; it learns from some 20,000 words, spread over the list."""
    if source in GRAMMARS:
        return GRAMMARS[source]
    words = read_words(source)
    return WordMaker(words[:: max(1, len(words) // 20_000)])


def make_sentence(rng: np.random.Generator, sources: str) -> str:
    """Two to eight words, sometimes a number or a comma among them, for a voice with these word lists."""
    source = str(rng.choice(sources.split()))
    maker = word_maker(source)
    latin = source not in GRAMMARS and script(maker.words[0][0]) == "Latin"
    if latin and rng.random() < 0.2:
        maker = open_syllables
    letters = int(rng.integers(10, 56))
    words: list[str] = []
    while len(words) < 2 or (len(words) < 8 and sum(map(len, words)) < letters):
        words.append(str(rng.integers(1, 1000)) if rng.random() < 0.03 else maker(rng))
    if len(words) > 3 and rng.random() < 0.2:
        words[len(words) // 2] += ","
    return " ".join(words) + rng.choice([".", ".", ".", "?", "!"])


def espeak(rng: np.random.Generator, split: Split, scratch: Path) -> Iterator[Spoken | Unspeakable]:
    """Speak with eSpeak NG, forever: every clip another voice, variant, rate and pitch.

    dev has heard languages in speakers that train hasn't, test has languages that train hasn't.
    """
    train_languages = [voice for voice in VOICES if voice not in HELD_OUT_LANGUAGES]
    weights = np.array([WEIGHTS.get(voice, 1.0) for voice in train_languages])
    audio = scratch / "espeak.wav"
    while True:
        if split == "test":
            voice, variants = str(rng.choice(HELD_OUT_LANGUAGES)), VARIANTS
        else:
            voice = str(rng.choice(train_languages, p=weights / weights.sum()))
            variants = VARIANTS if split == "train" else HELD_OUT_VARIANTS
        speaker = f"{voice}+{rng.choice(variants)}"
        text = make_sentence(rng, VOICES[voice])
        rate, pitch = rng.integers(120, 221), rng.integers(20, 81)
        word_gap = rng.choice([0, 0, 0, 1, 2, 4])
        manner = ["-v", speaker, "-s", str(rate), "-p", str(pitch), "-g", str(word_gap)]
        try:
            ipa = run(["espeak-ng", *manner, "--ipa", "-w", str(audio), text]).stdout.decode()
            yield Spoken(_load(audio), labels_of(ipa, voice), voice, speaker)
        except Unspeakable as reason:
            yield reason


def run(command: list[str], *, may_fail: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run an engine.

    Raises:
        InputError: it is not installed, or says that it failed.
        Unspeakable: it crashed, as eSpeak NG does on one text in some ten thousand.
    """
    try:
        done = subprocess.run(command, capture_output=True)
    except FileNotFoundError as error:
        raise InputError(f"'{command[0]}' is not installed", remedy=REMEDY) from error
    if done.returncode < 0 and not may_fail:
        raise Unspeakable(f"{command[0]} crashed")
    if done.returncode and not may_fail:
        raise InputError(done.stderr.decode(errors="replace"), place=command[0], remedy=REMEDY)
    return done


def _load(audio: Path) -> np.ndarray:
    """Read a synthesiser's mono file as float32 at 16 kHz."""
    samples, sample_rate_hz = soundfile.read(audio, dtype="float32")
    return soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)


def festival(rng: np.random.Generator, split: Split, scratch: Path) -> Iterator[Spoken | Unspeakable]:
    """Speak with Festival, forever; it tells the phones of every word itself. dev has a voice of its own."""
    names = [name for name in FESTIVAL_VOICES if (name == HELD_OUT_FESTIVAL_VOICE) == (split == "dev")]
    program = scratch / "batch.scm"
    while True:
        # One process, one voice: they leave settings behind that make each other fail.
        name = str(rng.choice(names))
        voice = FESTIVAL_VOICES[name]
        lines = [FESTIVAL_PROLOGUE.encode()]
        for number in range(20):
            text = re.sub(r"\d+", "", make_sentence(rng, voice.words)).encode(voice.encoding, errors="ignore")
            stretch = rng.uniform(0.8, 1.25)
            lines.append(f'(say voice_{name} {stretch:.3f} "{scratch}" {number} "'.encode() + text + b'")')
        program.write_bytes(b"\n".join(lines))
        done = run(["festival", "-b", str(program)], may_fail=True)
        if f"unbound variable : voice_{name}".encode() in done.stderr:
            raise InputError("no such voice", place=name, remedy=REMEDY)
        if done.returncode:
            # A text that Festival can't read ends the batch; what it said until then is whole.
            yield Unspeakable("Festival failed")
        whole_lines = done.stdout.decode(errors="replace").rpartition("\n")[0].splitlines()
        spoken = [line.split(" ", 1) for line in whole_lines if " (" in line]
        for number, phones in spoken:
            words = re.findall(r"\(([^)]*)\)", phones)
            try:
                spelled = (_phones(word.replace('"', "").split(), voice.phones) for word in words)
                labels = " ".join(word for word in spelled if word)
                yield Spoken(_load(scratch / f"{number}.wav"), labels, voice.language, f"festival-{name}")
            except Unspeakable as reason:
                yield reason


def flite(rng: np.random.Generator, split: Split, scratch: Path) -> Iterator[Spoken | Unspeakable]:
    """Speak English with Flite, forever; words are told apart by speaking them one by one, too."""
    audio = scratch / "flite.wav"
    phones_of = functools.cache(lambda text: _flite("kal", text, "none"))
    while True:
        voice = str(rng.choice(FLITE_VOICES))
        text = re.sub(r"\d+", "", make_sentence(rng, "en_US"))
        settings = [f"duration_stretch={rng.uniform(0.8, 1.3):.3f}", f"int_f0_target_mean={rng.integers(80, 200)}"]
        try:
            together = _flite(voice, text, str(audio), settings)
            words = [phones_of(word) for word in re.findall(r"[\w']+", text)]
            if [phone for word in words for phone in word] != together:
                raise Unspeakable("Flite said words otherwise together than alone")
            labels = " ".join(_phones(word, PHONES["english"]) for word in words if word)
            yield Spoken(_load(audio), labels, "en-us", f"flite-{voice}")
        except Unspeakable as reason:
            yield reason


def _flite(voice: str, text: str, audio: str, settings: Sequence[str] = ()) -> list[str]:
    """Let Flite speak into a file (or `none`); return the phones that it prints, without pauses."""
    command = ["flite", "-voice", voice, "-t", text, "-ps", "-o", audio]
    for setting in settings:
        command += ["--setf", setting]
    return [phone for phone in run(command).stdout.decode().split() if phone != "pau"]


def _phones(phones: list[str], units: dict[str, str]) -> str:
    """Return one word's phones as units of `INVENTORY`, by an engine's own table; stress digits are dropped."""
    text = ""
    for phone in phones:
        bare = phone.rstrip("01") or phone
        unit = units.get(bare, bare if len(bare) == 1 else "?")
        if not INVENTORY.issuperset(unit):
            raise Unspeakable(f"unknown phone {phone!r}")
        text += unit
    return re.sub(r"([^ː])\1+", r"\1ː", text)


ENGINES = {"espeak": espeak, "festival": festival, "flite": flite}
SHARES = {"espeak": 0.88, "festival": 0.09, "flite": 0.03}


def frame(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Trim the synthesiser's silence and put 50 to 400 ms of it before and after instead."""
    loud = np.flatnonzero(np.abs(waveform) > 0.01 * np.max(np.abs(waveform), initial=1e-6))
    if not len(loud):
        raise Unspeakable("silent")
    before, after = (rng.uniform(0.05, 0.4, size=2) * SAMPLE_RATE_HZ).astype(int)
    return np.pad(waveform[loud[0] : loud[-1] + 1], (before, after))


def check(spoken: Spoken, waveform: np.ndarray) -> None:
    """Raise `Unspeakable` for a clip of the wrong length, or with more labels than CTC has room for."""
    duration_s = len(waveform) / SAMPLE_RATE_HZ
    if not CLIP_S[0] <= duration_s <= CLIP_S[1]:
        raise Unspeakable(f"not {CLIP_S[0]:g} to {CLIP_S[1]:g} s")
    if len(spoken.labels.split()) < 2:
        raise Unspeakable("fewer than two words")
    repeats = sum(one == two for one, two in zip(spoken.labels, spoken.labels[1:], strict=False))
    if len(spoken.labels) + repeats > 0.8 * FRAMES_PER_S * duration_s:
        raise Unspeakable("more labels than 0.8 of the frames")


def make_shard(shard: Shard, out: Path) -> Counter[str]:
    """Speak, degrade and write one shard's clips, then its list; return how often which clip was refused."""
    rng = shard.rng()
    refused: Counter[str] = Counter()
    others: deque[np.ndarray] = deque(maxlen=24)
    utterances: list[Utterance] = []
    with tempfile.TemporaryDirectory() as scratch:
        clips = ENGINES[shard.engine](rng, shard.split, Path(scratch))
        while len(utterances) < shard.clips:
            spoken = next(clips)
            try:
                if isinstance(spoken, Unspeakable):
                    raise spoken
                waveform = frame(spoken.waveform, rng)
                clean = waveform
                if rng.random() < shard.degraded:
                    waveform = noise.degrade(waveform, rng, others)
                check(spoken, waveform)
            except Unspeakable as reason:
                refused[str(reason)] += 1
                continue
            others.append(clean)
            identity = f"{shard.name}-{len(utterances):03d}"
            path = Path("clips") / f"{identity}.flac"
            soundfile.write(out / path, np.clip(waveform, -1.0, 1.0), SAMPLE_RATE_HZ, subtype="PCM_16")
            utterances.append(
                Utterance(
                    id=identity,
                    audio=str(path),
                    duration_s=round(len(waveform) / SAMPLE_RATE_HZ, 4),
                    split=shard.split,
                    language=spoken.language,
                    speaker=spoken.speaker,
                    text=spoken.labels,
                )
            )
    write_jsonl(out / "shards" / f"{shard.name}.jsonl", utterances)
    return refused


def plan(hours: float, seed: int, clean: bool = False) -> list[Shard]:
    """List the shards of a corpus of about so many hours, test and dev first: what is in them is not in train.

    With `clean`, no clip of train is degraded.
    """
    shards = [Shard("espeak", split, n, seed, CLIPS_PER_SHARD) for split in ("test", "dev") for n in range(2)]
    shards.append(Shard("festival", "dev", 0, seed, 30))
    for engine, share in SHARES.items():
        count = round(share * hours * 3600 / MEAN_CLIP_S / CLIPS_PER_SHARD)
        degraded = 0.0 if clean else DEGRADED_SHARE
        shards += [Shard(engine, "train", number, seed, CLIPS_PER_SHARD, degraded) for number in range(count)]
    return shards


def write_manifest(out: Path, shards: list[Shard]) -> tuple[Counter[str], float, int]:
    """Join the finished shards' lists, without clips whose labels were heard before in that language.

    Returns:
        How often each unit was spoken, the seconds of speech, and the number of clips left out.
    """
    heard: set[tuple[str, str]] = set()
    units: Counter[str] = Counter()
    seconds, repeated = 0.0, 0
    partial = out / "manifest.jsonl.partial"
    with partial.open("w", encoding="utf-8") as manifest:
        for shard in shards:
            path = out / "shards" / f"{shard.name}.jsonl"
            for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
                utterance = Utterance.model_validate_json(line)
                if (utterance.language, utterance.text) in heard:
                    repeated += 1
                    continue
                heard.add((utterance.language, utterance.text))
                units.update(utterance.text)
                seconds += utterance.duration_s
                manifest.write(line + "\n")
    partial.replace(out / "manifest.jsonl")
    return units, seconds, repeated


def main(
    out: Annotated[Path, typer.Option(help="The corpus's folder: a new one, or the one to go on with.")],
    hours: Annotated[float, typer.Option(help="Hours of speech, roughly.")] = 25.0,
    seed: Annotated[int, typer.Option(help="Another seed, another corpus.")] = 1,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
    clean: Annotated[bool, typer.Option(help="Degrade no clip of train: training does (`windows.py`).")] = False,
) -> None:
    """Make the corpus, or go on with it."""
    (out / "clips").mkdir(parents=True, exist_ok=True)
    (out / "shards").mkdir(exist_ok=True)
    shards = plan(hours, seed, clean)
    missing = [shard for shard in shards if not (out / "shards" / f"{shard.name}.jsonl").exists()]
    try:
        refused = make_shards(shards, missing, out, jobs)
    except InputError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from error
    units, seconds, repeated = write_manifest(out, shards)
    print(f"{seconds / 3600:.2f} hours; {repeated} clips left out because their labels had been heard before")
    print(f"{len(units)} units:", *(f"{unit}={count}" for unit, count in units.most_common()))
    print("refused in this run:", *(f"{count} ({reason})" for reason, count in refused.most_common(20)))


def make_shards(shards: list[Shard], missing: list[Shard], out: Path, jobs: int) -> Counter[str]:
    """Make the missing shards in so many processes, with a progress line; return the reasons for refusals."""
    refused: Counter[str] = Counter()
    total = sum(shard.clips for shard in shards)
    done = total - sum(shard.clips for shard in missing)
    with (
        ProcessPoolExecutor(jobs) as pool,
        tqdm(total=total, initial=done, unit="clip", mininterval=5, miniters=1, smoothing=0.1) as progress,
    ):
        futures = {pool.submit(make_shard, shard, out): shard for shard in missing}
        try:
            for future in as_completed(futures):
                refused.update(future.result())
                progress.update(futures[future].clips)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return refused


if __name__ == "__main__":
    typer.run(main)
