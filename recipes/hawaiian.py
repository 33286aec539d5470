"""Hawaiian (haw): Polynesian, Hawaii, some 30,000 speakers (CLDR).

Corpus: no open one was found. The published test set comes from the radio programme Ka Leo Hawaiʻi (Chaparala et
al. 2024, arXiv:2404.03073). Bring your own recordings (docs/corpora.md), with their speakers; licence and the
sharing of models are for the speakers and their community to say.

Orthography: Latin, twelve letters and the ʻokina (U+02BB), a consonant that begins words too. It is typed as an
apostrophe, a grave accent, or either quotation mark: all become U+02BB. The kahakō, a macron, marks length; a
diaeresis in its place becomes a macron.

Base: MMS 300m, which is ahead of XLS-R under an hour of labels (Liang and Levow 2025, arXiv:2506.17459); from an
hour on, XLS-R is its equal (`--model.base facebook/wav2vec2-xls-r-300m`).

To beat: no published WER was found for a model of this kind; that paper's is Whisper, on its own test set.

Not run here.
"""

from asr_adapt import Corpus, Model, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="haw",
    corpus=Corpus(licence="your own"),
    text=Text(
        replace={
            **dict.fromkeys("'’‘`´\u02bc", "\u02bb"),
            **dict(zip("äëïöü", "āēīōū", strict=True)),
        },
        alphabet=("ā", "ē", "ī", "ō", "ū", "\u02bb"),
    ),
    model=Model(base="facebook/mms-300m"),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
