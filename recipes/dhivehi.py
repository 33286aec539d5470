"""Dhivehi (dv): Indo-Aryan, the Maldives, some 370,000 speakers (CLDR).

Corpus: Common Voice, sentences read aloud by volunteers. Release 27.0 of September 2026: 61.7 h, of which 37.9 h
are validated, 394 speakers; train is about 3.8 h, because it holds a sentence once
(github.com/common-voice/cv-dataset). From the Mozilla Data Collective (mozilladatacollective.com), with an account;
unpacked, the language's folder is the layout that is read. Licence: CC0 1.0, models may be shared; the data may not
be hosted again, nor speakers identified.

Orthography: Thaana, right to left (strings are in the order of speech, nothing has to be turned). A vowel is a mark
on its consonant, and sukun ް says that there is none. A letter with its mark would be one grapheme, hundreds of
labels for few hours: `units` takes code points, so that letters and vowels are learnt apart. Direction marks go.

Base: XLS-R 300m, the default, which is level with MMS from an hour of labels on (Liang and Levow 2025,
arXiv:2506.17459).

To beat: WER .213 on release 8.0's test (shahukareem/xls-r-300m-dv, in
huggingface.co/spaces/speech-recognition-community-v2/FinalLeaderboard).

Not run here.
"""

from asr_adapt import Corpus, Recipe, Text, run_recipe

RECIPE = Recipe(
    language="dv",
    corpus=Corpus(licence="CC0-1.0"),
    text=Text(units="code_points", replace=dict.fromkeys("\u200e\u200f", "")),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
