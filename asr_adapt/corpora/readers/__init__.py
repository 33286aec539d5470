"""Corpora on disk, one reader for each format: each an iterator of `Utterance`.

A reader is a module with `LAYOUT` (what it looks for, in words), `recognises(root) -> bool` and
`read(root, language, source) -> Iterator[Utterance]`; a reader that leaves something out returns a sequence of
`LeftOut` at its end. Adding a format adds one file, its name here and in
`recipe.Format`. Readers open no audio: what is missing or damaged shows when it is decoded, and is listed then.
"""

from asr_adapt.corpora.readers import (
    audacity,
    audio_folder,
    chat,
    common_voice,
    common_voice_spontaneous,
    data_collective,
    elan,
    fleurs,
    hugging_face,
    kaldi,
    lhotse,
    librispeech,
    ljspeech,
    manifest,
    nemo,
    parallel_folders,
    praat,
    subtitles,
    table,
    text_files,
    transcriber,
    xlsx,
)

READERS = {
    "manifest": manifest,
    "common_voice": common_voice,
    "common_voice_spontaneous": common_voice_spontaneous,
    "table": table,
    "xlsx": xlsx,
    "audio_folder": audio_folder,
    "ljspeech": ljspeech,
    "fleurs": fleurs,
    "text_files": text_files,
    "parallel_folders": parallel_folders,
    "subtitles": subtitles,
    "audacity": audacity,
    "transcriber": transcriber,
    "chat": chat,
    "kaldi": kaldi,
    "lhotse": lhotse,
    "nemo": nemo,
    "librispeech": librispeech,
    "elan": elan,
    "praat": praat,
    "hugging_face": hugging_face,
    "data_collective": data_collective,
}
