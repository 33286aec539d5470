"""Maltese (mt): Semitic, Malta, some 460,000 speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 17.6 h, of which 8.8 h are
validated, 225 speakers; train is about 2.5 h (github.com/common-voice/cv-dataset). From the Mozilla Data Collective
(mozilladatacollective.com), with an account; unpacked, the language's folder is the layout that is read. Licence:
CC0 1.0, models may be shared; the data may not be hosted again, nor speakers identified.

Orthography: Latin with ċ, ġ, ħ, ż; għ and ie are digraphs and stay two letters. A hyphen joins the article to its
word (il-kelb): it is kept, and the two are one word in WER. An apostrophe ends words (ta', ma'): it is kept too,
its other shapes becoming ', so that single quotation marks are kept with it. A hyphen between spaces is a dash and
goes.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .238 on release 8.0's test (huggingface.co/DrishtiSharma/wav2vec2-xls-r-300m-mt-o1).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="mt",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(keep="'-", replace={**dict.fromkeys("’‘`´", "'"), **dict.fromkeys("\u2010\u2011", "-"), " - ": " "}),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
