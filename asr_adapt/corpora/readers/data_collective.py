"""Common Voice by its data set's ID at the Mozilla Data Collective, through their client `datacollective`.

The client needs an account's key in `MDC_API_KEY`, and the data set's terms accepted on its page. It keeps the
archive in `~/.mozdata/datasets` (`MDC_DOWNLOAD_PATH`) and takes up again what was interrupted. What is read is
unpacked once into the cache; after that neither the archive nor the network is needed.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.corpora.readers import common_voice
from asr_adapt.corpora.unpacked import unpacked
from asr_adapt.errors import DiskFull, InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import disk_full_as_error

LAYOUT = "with --corpus.format data_collective, the ID of a data set there"


def recognises(root: Path) -> bool:
    """Whether `root` is such an ID: never taken for one that is not declared as one."""
    return False


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of the data set whose ID is `root`.

    Raises:
        InputError: the client is missing, it cannot fetch the data set, or that is not Common Voice.
    """
    folder = unpacked(f"data_collective {root}", functools.partial(_fetch, str(root), source))
    yield from common_voice.read(common_voice.chosen(folder, language, root), language, source)


def _fetch(name: str, source: Source, folder: Path) -> None:
    try:
        from datacollective import download_dataset
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing", place=name, remedy="pip install 'asr-adapt[collective]'"
        ) from error
    try:
        with disk_full_as_error(Path(name), "Make room, or set MDC_DOWNLOAD_PATH to a folder elsewhere."):
            archive = Path(download_dataset(name))
    except DiskFull:
        raise
    except Exception as error:  # the client's own, those of requests, and many built-in ones
        message = " ".join(str(error).split())
        raise InputError(
            f"cannot be fetched ({type(error).__name__}: {message})",
            place=name,
            remedy="Is MDC_API_KEY set, and are the terms accepted on the data set's page?",
        ) from error
    common_voice.unpack(archive, folder, source)
