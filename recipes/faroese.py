"""Faroese (fo): North Germanic, the Faroe Islands and Denmark, some 71,000 speakers (CLDR).

Corpus: Ravnursson, an extract of the Basic Language Resource Kit 1.0: its makers trained on 100 h; how many
speakers was not found. From hdl.handle.net/20.500.12537/276 or
huggingface.co/datasets/carlosdanielhernandezmena/ravnursson_asr, flac files with a table for each split, which
are read (docs/corpora.md). Licence: CC BY 4.0; models may be shared with its makers named.

Orthography: Latin with á, í, ó, ú, ý, æ, ð, ø, all of them letters with a composed form. No apostrophes and no
digraphs of note: no field is needed.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .076 on test (huggingface.co/carlosdanielhernandezmena/wav2vec2-large-xlsr-53-faroese-100h).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Train, run_recipe

RECIPE = Recipe(
    language="fo",
    corpus=Corpus(licence="CC-BY-4.0"),
    # 20,000 steps * 80 s = 444.4 h of audio, 4 times the data.
    train=Train(steps=20_000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
