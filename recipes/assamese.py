"""Assamese (as): Indo-Aryan, Assam, some 17 million speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 25.0 of March 2026: 7.6 h, of which 3.0 h are
validated, 51 speakers; train is about 1.6 h (github.com/common-voice/cv-dataset). From the Mozilla Data Collective
(mozilladatacollective.com), with an account; unpacked, the language's folder is the layout that is read. Licence:
CC0 1.0, models may be shared; the data may not be hosted again, nor speakers identified.

Orthography: Bengali-Assamese script, left to right. r is ৰ (U+09F0); Bengali র in its place is a typing habit and
becomes ৰ. ড়, ঢ়, য় are two code points in NFC, whichever way they were typed. Conjuncts (letters joined by ্)
would be graphemes in their hundreds: `units` takes code points. The danda । becomes a space.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .616 on release 8.0's test (huggingface.co/DrishtiSharma/wav2vec2-large-xls-r-300m-as-v9).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="as",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(units="code_points", replace={"\u09b0": "\u09f0"}),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
