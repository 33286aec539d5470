"""Central Kurdish, Sorani (ckb): Iranian, Iraq and Iran, some 11 million speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 196.1 h, of which 139.1 h
are validated, 2,069 speakers; train is about 9.4 h, because it holds a sentence once
(github.com/common-voice/cv-dataset). From the Mozilla Data Collective (mozilladatacollective.com), with an account;
unpacked, the language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not
be hosted again, nor speakers identified.

Orthography: Arabic script, right to left (strings are in the order of speech, nothing has to be turned), every
vowel written. Keyboards for Arabic and Persian give look-alikes: ك becomes ک, ي and ى become ی, ھ becomes ه. The
vowel ە is often typed ه with a zero-width non-joiner after it: the two become ە, and any other joiner goes. The
stretching tatweel and the direction marks go too.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .368 on release 8.0's test (Akashpb13/Central_kurdish_xlsr, in
huggingface.co/spaces/speech-recognition-community-v2/FinalLeaderboard).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="ckb",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(
        replace={
            "\u0647\u200c": "\u06d5",  # heh and a non-joiner: ae
            "\u06be": "\u0647",  # heh doachashmee: heh
            "\u0643": "\u06a9",  # Arabic kaf: keheh
            **dict.fromkeys("\u064a\u0649", "\u06cc"),  # Arabic yeh, alef maksura: Farsi yeh
            **dict.fromkeys("\u0640\u200c\u200d\u200e\u200f", ""),  # tatweel, joiners, direction marks
        }
    ),
    # 4,000 steps * 80 s = 88.9 h of audio, 9 times the data.
    train=Train(steps=4000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
