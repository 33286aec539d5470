"""Cook Islands Māori (rar): Polynesian, the Cook Islands and New Zealand, some 22,000 speakers.

Corpus: four hours of adults and elders, transcribed for the documentation of the language (Coto-Solano et al. 2022,
Development of Automatic Speech Recognition for the Documentation of Cook Islands Māori; the number of speakers is
theirs too). No place to fetch it was found: write to them, or bring your own recordings (docs/corpora.md), with
their speakers. Licence: their model's follows the Kaitiakitanga Licence, non-commercial, control with the community;
share no model without its word.

Orthography: Latin, macron for length, ng a digraph. The glottal stop is a letter, also at the start of a word;
writers use ꞌ (U+A78C) and many shapes beside it, which all become ꞌ.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .23 (wav2vec 2.0) and .18 (Kaldi) on known voices, .46 on held-out speakers (the paper).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="rar",
    corpus=Corpus(licence="none found; ask the community (Kaitiakitanga)"),
    text=Text(replace=dict.fromkeys("'’‘`´\u02bb\u02bc", "\ua78c"), alphabet=("ā", "ē", "ī", "ō", "ū")),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
