"""Chuvash (cv): Turkic, Chuvashia on the Volga, some 1.8 million speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 28.6 h, of which 24.5 h
are validated, 122 speakers; train is about 2.0 h, because it holds a sentence once
(github.com/common-voice/cv-dataset). From the Mozilla Data Collective (mozilladatacollective.com), with an account;
unpacked, the language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not
be hosted again, nor speakers identified.

Orthography: Cyrillic with ӑ, ӗ, ҫ, ӳ. Latin ă, ĕ, ç, ÿ look the same and are typed for them (a model of Common
Voice writes both: huggingface.co/gagan3012/wav2vec2-xlsr-chuvash): unmapped, one letter would be two labels. They
become U+04D1, U+04D7, U+04AB, U+04F3.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .278 on release 8.0's test (huggingface.co/sammy786/wav2vec2-xlsr-chuvash: XLS-R 1b).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="cv",
    corpus=Corpus(licence="CC0-1.0"),
    # Latin a and e with breve, c with cedilla, y with diaeresis.
    text=Text(replace=dict(zip("\u0103\u0115\u00e7\u00ff", "\u04d1\u04d7\u04ab\u04f3", strict=True))),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
