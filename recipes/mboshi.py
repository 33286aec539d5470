"""Mboshi (mdw): Bantu C25, Congo-Brazzaville, some 150,000 speakers.

Corpus: sentences read aloud, recorded on a tablet in the field; three speakers, 16 kHz, with the linguists'
transcription and a French translation (Godard et al. 2018, arXiv:1710.03501). From it 2.67 h train, 0.18 h dev,
0.22 h test, in Common Voice's layout: `train.tsv`, `dev.tsv`, `test.tsv` beside `clips/`. Source:
github.com/besacier/mboshi-french-parallel-corpus. Licence: none is stated beyond "made available to the community
for reproducible computational language documentation experiments", so ask before you share a model made from it.

Orthography: 31 letters, lower case, no punctuation. High tone is an acute accent. Greek ε, έ, ω, ώ are used where
others write ɛ and ɔ: they are letters here and stay as they are.

All three speakers are in every split: the figures say how well the model reads known voices, not new ones.

Seen: after a whole hour on one core of a Xeon, fp32, test CER .340 and WER .840 from nothing (`--model.base none
--train.steps 5200`), .305 and .801 from the small embedded one (`--model.base embedded-small --model.freeze nothing
--train.steps 5100 --train.head_steps 100 --train.mask_time 0.3 --train.mask_features 0.12`, the rate 1e-3 in both);
with an n-gram of the training text .321 and .635, .272 and .585 (docs/results.md).
With the default base, XLS-R 300m, it needs a GPU and has not been run here.
"""

from asr_adapt import Augment, Corpus, Recipe, Train, run_recipe

RECIPE = Recipe(
    language="mdw",
    corpus=Corpus(licence="research use; no licence stated"),
    # 5,000 steps * 40 s = 55.6 h of audio, 21 times the data.
    train=Train(steps=5000, batch_s=40, warmup=0.1, hold=0.4, mask_time=0.15, mask_features=0.05),
    augment=Augment(speed=0.1),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
