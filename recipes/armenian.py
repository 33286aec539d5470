"""Armenian (hy): Indo-European, Armenia, some 5.3 million speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 62.5 h, of which 39.6 h
are validated, 1,084 speakers; train is about 18 h (github.com/common-voice/cv-dataset). Its locale is hy-AM,
Eastern Armenian. From the Mozilla Data Collective (mozilladatacollective.com), with an account; unpacked, the
language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not be hosted
again, nor speakers identified.

Orthography: Armenian script, two cases. The marks of question ՞, exclamation ՜ and emphasis ՛ stand inside the
word, over its stressed vowel: as punctuation they would cut it in two, so they are replaced by nothing, like the
abbreviation's ՟. The ligature և (U+0587) is a letter; typed as եւ, or capital ԵՒ, it becomes և.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .132 on release 8.0's test (huggingface.co/arampacha/wav2vec2-xls-r-300m-hy, its evaluation file).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="hy",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(replace={**dict.fromkeys("\u055b\u055c\u055e\u055f", ""), "եւ": "\u0587"}),
    # 8,000 steps * 80 s = 177.8 h of audio, 10 times the data.
    train=Train(steps=8000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
