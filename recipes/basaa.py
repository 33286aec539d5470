"""Basaa (bas): Bantu A43, Cameroon, some 330,000 speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 13.6 h, of which 12.1 h
are validated, 57 speakers; train is about 2.3 h, because it holds a sentence once
(github.com/common-voice/cv-dataset). From the Mozilla Data Collective (mozilladatacollective.com), with an account;
unpacked, the language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not
be hosted again, nor speakers identified.

Orthography: Latin with ɓ, ɛ, ɔ, ŋ. Tone is written: acute, grave, circumflex, caron. á is one code point, ɛ́ is two
and no composed form exists; a grapheme is one label, so each vowel with its tone is one. NFC makes both ways to
type á the same. No field is needed.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .357 on release 8.0's test (huggingface.co/DrishtiSharma/wav2vec2-large-xls-r-300m-bas-v1).

Not run here.
"""

from asr_adapt import Corpus, Recipe, run_recipe

RECIPE = Recipe(
    language="bas",
    corpus=Corpus(licence="CC0-1.0"),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
