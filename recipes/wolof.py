"""Wolof (wo): Senegambian, Senegal, some 11 million speakers (CLDR).

Corpus: ALFFA, sentences read aloud, about 16 h in train, dev and test (Gauthier et al. 2016); how many speakers was
not found. From openslr.org/25, in Kaldi's layout, which is read. Licence: MIT, as a recipe for SLR25 states it;
models may be shared.

Orthography: Latin. ñ, ŋ, ë, é, ó and à are letters of their own; a long vowel or consonant is written twice.
Nothing has to be replaced; the six letters are in the alphabet even where a small train set lacks one.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .323 on test, .245 with its transcripts cleaned: DNN with a language model, vowel length modelled
(github.com/getalp/ALFFA_PUBLIC, ASR/WOLOF).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="wo",
    corpus=Corpus(licence="MIT"),
    text=Text(alphabet=("à", "é", "ë", "ñ", "ó", "ŋ")),
    # 8,000 steps * 80 s = 177.8 h of audio, 11 times the data.
    train=Train(steps=8000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
