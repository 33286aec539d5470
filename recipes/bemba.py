"""Bemba (bem): Bantu M42, Zambia, some 5.4 million speakers (CLDR).

Corpus: BembaSpeech, sentences from books, read aloud: 20.1 h train, 2.5 h dev, 2.1 h test; 8, 7 and 2 speakers,
none in two splits (Sikasote and Anastasopoulos 2022). From github.com/csikasote/BembaSpeech, a folder for each
speaker and reading: bring it to a table (docs/corpora.md). Licence: not found (a later corpus of Zambian languages,
Zambezi Voice, is CC BY-NC-ND 4.0); ask before you share a model.

Orthography: Latin, tone unwritten. ngʼ is the velar nasal, ng the nasal with a stop: the apostrophe tells them
apart. Between letters its typed shapes all become ' without any field.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .329 on test, XLS-R 1b (aclanthology.org/2022.lrec-1.790).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Train, run_recipe

RECIPE = Recipe(
    language="bem",
    corpus=Corpus(licence="not found; ask its makers"),
    # 8,000 steps * 80 s = 177.8 h of audio, 9 times the data.
    train=Train(steps=8000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
