"""Amharic (am): Semitic, Ethiopia, some 36 million speakers (CLDR).

Corpus: ALFFA, newspaper sentences read aloud: about 20 h train and 2 h test (359 utterances); how many speakers was
not found. From openslr.org/25, in Kaldi's layout, which is read; it has no dev set: take one out of train by speaker.
Licence: MIT, as a recipe for SLR25 states it; models may be shared.

Orthography: Ethiopic, left to right, no case. A sign is a consonant with its vowel, one code point and one label.
Series that sound alike (ሀ ሐ ኀ, ሰ ሠ, አ ዐ, ጸ ፀ) are kept apart. The word space ፡ and the full stop ። become spaces
without any field.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: no published WER was found for these words. The corpus's own best, .084, counts morphemes and has a 3-gram
(github.com/getalp/ALFFA_PUBLIC, ASR/AMHARIC).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Train, run_recipe

RECIPE = Recipe(
    language="am",
    corpus=Corpus(licence="MIT"),
    # 8,000 steps * 80 s = 177.8 h of audio, 9 times the data.
    train=Train(steps=8000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
