"""Hausa (ha): Chadic, Nigeria and Niger, some 40 million speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 13.0 h, of which 4.4 h are
validated, 64 speakers; train is about 2.3 h (github.com/common-voice/cv-dataset). From the Mozilla Data Collective
(mozilladatacollective.com), with an account; unpacked, the language's folder is the layout that is read. Licence:
CC0 1.0, models may be shared; the data may not be hosted again, nor speakers identified.

Orthography: Latin (boko), without tone or length. The hooked ɓ, ɗ, ƙ are letters. The glottal stop, also at the
start of a word, and the ʼ of ʼy are letters too and typed in many shapes: all become U+02BC. Niger's ƴ becomes ʼy.
So a quotation in single marks keeps them; look for such among the changed characters that `prepare` lists.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .206 on release 8.0's test (huggingface.co/Akashpb13/Hausa_xlsr: XLS-R 300m, trained on invalidated and
other clips too).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="ha",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(replace={**dict.fromkeys("'’‘`´", "\u02bc"), "ƴ": "\u02bcy"}),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
