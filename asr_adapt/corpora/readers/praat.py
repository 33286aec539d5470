"""Praat: .TextGrid files, long or short, beside their recordings; each interval of the chosen tiers is an utterance.

The recording is not cut: an utterance has its times. Of several chosen tiers each is a speaker.
https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import itertools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import tiers
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.tiers import Annotation, Tier
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import LeftOut, Utterance
from asr_adapt.storage import read_text

LAYOUT = ".TextGrid files"


def recognises(root: Path) -> bool:
    """Whether `root` is such a file or holds some."""
    return bool(_files(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the intervals of the tiers that `source.tiers` names; of the only tier where it names none.

    Tiers of one name in a file are `NAME`, `NAME (2)` and so on; `NAME` chooses all of them. Returns what was not
    taken.

    Raises:
        InputError: a file is damaged, or its tiers have to be chosen.
    """
    base = root.parent if root.is_file() else root
    finder = AudioFinder(root)
    selection = tiers.chosen((tier for path in _files(root) for tier in _tiers(path, finder)), source.tiers)
    several = len({tier.name for tier in selection.taken}) > 1
    for tier in selection.taken:
        for annotation in tier.annotations:
            yield utterance_at(
                f"{tier.file}, tier '{tier.name}', interval {annotation.name}",
                id=f"{tier.file.relative_to(base).as_posix()}#{tier.name}:{annotation.name}",
                audio=tier.audio,
                start_s=annotation.start_s,
                end_s=annotation.end_s,
                language=language,
                speaker=tier.name if several else None,
                text=annotation.text,
            )
    return selection.left_out


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".textgrid" else []
    return media.below(root, (".textgrid",))


def _tiers(path: Path, finder: AudioFinder) -> Iterator[Tier]:
    from praatio.utilities import constants, textgrid_io

    text = read_text(path, legacy=True).replace("\r\n", "\n").replace("\r", "\n")
    try:
        grid = textgrid_io.parseTextgridStr(text, includeEmptyIntervals=True)
    except Exception as error:  # praatio's own errors, and those of the lists that it takes apart
        raise InputError(f"cannot be read as a TextGrid ({type(error).__name__}: {error})", place=path) from error
    audio = finder.annotated(path, [path.stem])
    used: set[str] = set()
    for tier in grid["tiers"]:
        if tier["class"] == constants.INTERVAL_TIER:
            try:
                intervals = [
                    Annotation(str(number), float(start), float(end), label.strip())
                    for number, (start, end, label) in enumerate(tier["entries"], start=1)
                    if label.strip()
                ]
            except ValueError as error:
                raise InputError(f"cannot be read as a TextGrid ({error})", place=path) from error
            candidates = (f"{tier['name']} ({number})" for number in itertools.count(2))
            name = next(n for n in itertools.chain([tier["name"]], candidates) if n not in used)
            used.add(name)
            yield Tier(path, name, tier["name"], None, audio, intervals)
