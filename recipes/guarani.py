"""Guarani (gn): Tupian, Paraguay, some 5.8 million speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 33.0 h, of which 5.2 h are
validated, 314 speakers; train is about 2.2 h (github.com/common-voice/cv-dataset). From the Mozilla Data Collective
(mozilladatacollective.com), with an account; unpacked, the language's folder is the layout that is read. Licence:
CC0 1.0, models may be shared; the data may not be hosted again, nor speakers identified.

Orthography: Latin. The puso, a glottal stop, is a letter: its typed shapes become U+02BC. Nasal vowels have a tilde
(ã ẽ ĩ õ ũ ỹ), and so has g̃, which is two code points and one label. Digraphs (ch, mb, nd, ng, nt, rr) stay two
letters. Most words are stressed on the last syllable; an acute says otherwise and stays.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .469 on release 13.0's test (huggingface.co/aninditr/wav2vec2-large-xls-r-300m-guarani-colab).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="gn",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(
        replace=dict.fromkeys("'’‘`´", "\u02bc"),
        alphabet=("ã", "ẽ", "g\u0303", "ĩ", "ñ", "õ", "ũ", "ỹ", "\u02bc"),
    ),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
