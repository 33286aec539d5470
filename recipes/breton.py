"""Breton (br): Celtic, Brittany, fewer than 200,000 speakers in 2024 (Common Voice's datasheet).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 37.7 h, of which 35.4 h
are validated, 299 speakers; train is about 6.1 h, because it holds a sentence once
(github.com/common-voice/cv-dataset). From the Mozilla Data Collective (mozilladatacollective.com), with an account;
unpacked, the language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not
be hosted again, nor speakers identified.

Orthography: Latin. ch and cʼh are letters of their own and two different sounds: each is one label. The apostrophe
of cʼh is typed in many shapes and becomes U+02BC; that of an elision (n'eo) stays '. ñ says that the vowel before
it is nasal; zh stays two letters.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .417 on an early release's test (huggingface.co/cahya/wav2vec2-large-xlsr-breton).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="br",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(replace={f"c{sign}h": "c\u02bch" for sign in "'’‘`´"}, alphabet=("ch", "c\u02bch")),
    # 3,000 steps * 80 s = 66.7 h of audio, 11 times the data.
    train=Train(steps=3000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
