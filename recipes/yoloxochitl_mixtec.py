"""Yoloxóchitl Mixtec (xty): Oto-Manguean, Guerrero, Mexico; how many speakers was not found.

Corpus: SLR89, brought together over ten years by Jonathan Amith and Rey Castillo García; long recordings at 48 kHz,
in stereo, with ELAN transcripts, which are read: each annotation is an utterance (--corpus.tiers where the tiers
have to be chosen). From openslr.org/89. Hours were not found; the published dev and test sets alone hold 332,000
words. Licence: not found, so read it there, and ask before you share a model.

Orthography: Latin with tones as digits after the vowel, 1 low to 4 high; digits are letters here, and raised ones
become plain. The glottal stop is an apostrophe, which often follows a digit: only between two letters would it be
kept, so it becomes the letter U+02BC. Look at the characters that `prepare` lists for marks of clitics.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .227 on test, ESPnet with an RNN language model (github.com/espnet/espnet, egs/yoloxochitl_mixtec/asr1,
RESULTS.md; Shi et al. 2021, arXiv:2101.10877).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="xty",
    corpus=Corpus(licence="not found; see openslr.org/89"),
    text=Text(
        replace={
            **dict.fromkeys("'’‘`´", "\u02bc"),
            **dict(zip("¹²³⁴", "1234", strict=True)),
        }
    ),
    # 20,000 steps * 80 s = 444.4 h of audio.
    train=Train(steps=20_000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
