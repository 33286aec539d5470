"""A JSONL manifest: one `Utterance` a line; `audio` is found by `AudioFinder`'s rule."""

from collections.abc import Iterator
from pathlib import Path

from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.readers import lhotse, nemo
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance, read_jsonl

LAYOUT = "a .jsonl file with audio and text"


def recognises(root: Path) -> bool:
    """Whether `root` is a .jsonl file that is not another format's."""
    return root.is_file() and root.suffix == ".jsonl" and not nemo.recognises(root) and not lhotse.recognises(root)


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the manifest's utterances, those without a language in `language`.

    Raises:
        InputError: a line is no utterance, has no text, or its relative path leads out of the folder.
    """
    for number, utterance in located(root):
        if utterance.text is None:
            raise InputError("field 'text' is missing", place=f"{root}:{number}", remedy="Give the transcript.")
        yield utterance.model_copy(update={"language": utterance.language or language})


def located(root: Path) -> Iterator[tuple[int, Utterance]]:
    """Yield `(line number, utterance)`, each with its `audio` as it is found from here; a text is not asked for.

    Raises:
        InputError: a line is no utterance, or its relative path leads out of the folder.
    """
    finder = AudioFinder(root)
    for number, utterance in read_jsonl(root):
        audio = finder.find(utterance.audio, f"{root}:{number}")
        yield number, utterance.model_copy(update={"audio": audio})
