"""Māori (mi): Polynesian, New Zealand, some 138,000 speakers (CLDR).

Corpus: FLEURS, config mi_nz: encyclopedia sentences read aloud, about 12 h (Conneau et al. 2022, arXiv:2205.12446).
From the Hub by name: --corpus.root google/fleurs --corpus.format hugging_face --corpus.subset mi_nz. Licence: CC BY
4.0, models may be shared; Māori organisations ask for a say over Māori data and what is made of it (papareo.nz,
kaitiakitanga), so ask them first.

Orthography: Latin, ten consonants, of which ng and wh are digraphs and stay two letters; five vowels, long with a
macron. Old keyboards give a diaeresis for the macron: ä becomes ā, and so on.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .305 on FLEURS's test (huggingface.co/julie200/whisper-small-mi_nz).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="mi",
    corpus=Corpus(licence="CC-BY-4.0"),
    text=Text(replace=dict(zip("äëïöü", "āēīōū", strict=True)), alphabet=("ā", "ē", "ī", "ō", "ū")),
    # 4,000 steps * 80 s = 88.9 h of audio, 7 times the data.
    train=Train(steps=4000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
