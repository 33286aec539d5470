"""Corpora on disk, one reader for each format: each an iterator of `Utterance`.

A reader is a module with `LAYOUT` (what it looks for, in words), `recognises(root) -> bool` and
`read(root, language, source) -> Iterator[Utterance]`; a reader that leaves something out returns a sequence of
`LeftOut` at its end. Adding a format adds one file, its name here and in
`recipe.Format`. Readers open no audio: what is missing or damaged shows when it is decoded, and is listed then.
"""

from asr_adapt.corpora.readers import (
    common_voice,
    data_collective,
    elan,
    hugging_face,
    kaldi,
    librispeech,
    manifest,
    praat,
    table,
    text_files,
)

READERS = {
    "manifest": manifest,
    "common_voice": common_voice,
    "table": table,
    "text_files": text_files,
    "kaldi": kaldi,
    "librispeech": librispeech,
    "elan": elan,
    "praat": praat,
    "hugging_face": hugging_face,
    "data_collective": data_collective,
}
