"""Upper Sorbian (hsb): West Slavic, Lusatia, some 13,000 speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 15.1 h, of which 4.5 h are
validated, 41 speakers; train is about 1.8 h (github.com/common-voice/cv-dataset). From the Mozilla Data Collective
(mozilladatacollective.com), with an account; unpacked, the language's folder is the layout that is read. Licence:
CC0 1.0, models may be shared; the data may not be hosted again, nor speakers identified.

Orthography: Latin with č, ć, ě, ł, ń, ó, ř, š, ž; ch and dź are digraphs and stay two letters. No apostrophes, and
every letter has a composed form, so that NFC is enough and no field is needed.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .465 on release 8.0's test (huggingface.co/DrishtiSharma/wav2vec2-large-xls-r-300m-hsb-v2); .435 on an
earlier release's, with 28 minutes more to train on
(huggingface.co/jimregan/wav2vec2-large-xlsr-upper-sorbian-mixed).

Not run here.
"""

from asr_adapt import Corpus, Recipe, run_recipe

RECIPE = Recipe(
    language="hsb",
    corpus=Corpus(licence="CC0-1.0"),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
