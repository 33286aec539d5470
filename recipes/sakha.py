"""Sakha, Yakut (sah): Turkic, north-east Siberia, some 450,000 speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 23.6 h, of which 16.3 h
are validated, 256 speakers; train is about 4.1 h, because it holds a sentence once
(github.com/common-voice/cv-dataset). From the Mozilla Data Collective (mozilladatacollective.com), with an account;
unpacked, the language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not
be hosted again, nor speakers identified.

Orthography: Cyrillic with ҕ, ҥ, ө, һ, ү; дь and нь are digraphs and stay two letters; a long vowel is written
twice. Where keyboards lack these letters others stand for them: Latin h becomes һ (U+04BB), ң becomes ҥ (U+04A5),
and Latin ɵ becomes ө. Transcripts must be free of Latin words.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .362 on release 8.0's test (huggingface.co/sammy786/wav2vec2-xlsr-sakha); .322 on an earlier release's
(huggingface.co/anton-l/wav2vec2-large-xlsr-53-sakha).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="sah",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(replace={"h": "\u04bb", "\u04a3": "\u04a5", "\u0275": "\u04e9"}),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
