"""Khmer (km): Austroasiatic, Cambodia, some 15 million speakers (CLDR).

Corpus: SLR42, made for speech synthesis: 2,906 sentences at 48 kHz (Sodimana et al. 2018); hours and speakers were
not found. From openslr.org/42, wav files with a table of transcripts: give the table a header (docs/corpora.md);
splits are made. Licence: CC BY-SA 4.0; name its makers; whether share-alike reaches a model is not settled, so ask
before you share one under other terms.

Orthography: Khmer script, left to right, no spaces between words. Spaces part phrases; zero-width spaces between
words are typed by some and not by others, so U+200B is replaced by nothing. Take CER, not WER, as the figure. A
stacked consonant is the sign ្ and a letter: `units` takes code points, since the clusters are far more.

Base: XLS-R 300m, the default, for 2,906 sentences are more than an hour; from there it is level with MMS (Liang and
Levow 2025, arXiv:2506.17459).

To beat: no published WER was found for SLR42.

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="km",
    corpus=Corpus(licence="CC-BY-SA-4.0"),
    text=Text(units="code_points", replace={"\u200b": ""}),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
