"""Central Alaskan Yupʼik (esu): Eskaleut, Alaska, some 21,000 speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 7.6 h, of which 7.6 h are
validated, 4 speakers; train is 6.5 h, and dev is empty (github.com/common-voice/cv-dataset). Leave `validated.tsv`
alone beside `clips/`: splits are then made, by recording, so the figures speak of known voices. From the Mozilla
Data Collective (mozilladatacollective.com), with an account; unpacked, the language's folder is the layout that is
read. Licence: CC0 1.0, models may be shared; the data may not be hosted again, nor speakers identified.

Orthography: Latin; long words, so that WER is high where CER is low. An apostrophe between letters marks a long
consonant (Yup'ik) or parts letters that are no digraph. Its typed shapes become ' without any field. Digraphs (gg,
ll, ng, rr, ss, vv) stay two letters.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: no published WER was found.

Not run here.
"""

from asr_adapt import Corpus, Recipe, Train, run_recipe

RECIPE = Recipe(
    language="esu",
    corpus=Corpus(licence="CC0-1.0"),
    # 3,000 steps * 80 s = 66.7 h of audio, 9 times the data.
    train=Train(steps=3000),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
