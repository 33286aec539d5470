"""Splits that were made for a corpus, kept in `splits.tsv`: what was test stays test when a corpus grows.

A line for each recording: its path in the corpus, the second from which the line holds (a single recording is cut in
time), its speaker, and its split. A recording that is removed keeps its line, and its split when it comes back.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from asr_adapt import remote
from asr_adapt.artifacts import DIGESTS
from asr_adapt.corpora import prepared
from asr_adapt.corpora.unpacked import cache_folder
from asr_adapt.errors import InputError, printable
from asr_adapt.records import SPLITS, Split, Utterance
from asr_adapt.storage import read_lines, write_text

FILE = "splits.tsv"
_HEADER = ("recording", "from_s", "speaker", "split")


class Row(NamedTuple):
    """The split of a recording, or of what begins at `from_s` or later in it."""

    recording: str
    from_s: float
    speaker: str
    """empty: unknown, or several"""
    split: Split


@dataclass(frozen=True)
class Corpus:
    """What tells a recording of one corpus from those of another, wherever the corpus lies."""

    name: str = ""
    root: Path | str | None = None
    """a path, or a URL"""

    def recording(self, audio: str) -> str:
        """Return the key of a recording: its path from the corpus's folder, after the corpus's name."""
        folders, cache = self._prefixes
        for folder in folders:
            if audio.startswith(folder) and (folder or not (Path(audio).is_absolute() or remote.is_url(audio))):
                return printable(f"{self.name}/{audio.removeprefix(folder)}")
        if audio.startswith(cache):  # the next folder's name is a hash of the archive
            return printable(f"{self.name}/{audio.removeprefix(cache).partition(os.sep)[2]}")
        return printable(audio)

    @cached_property
    def _prefixes(self) -> tuple[tuple[str, ...], str]:
        """Return what paths in the corpus and in the cache begin with."""
        cache = f"{cache_folder()}{os.sep}"
        if isinstance(self.root, str):  # a folder, or a table beside the recordings
            return (f"{self.root.rstrip('/')}/", f"{self.root.rstrip('/').rpartition('/')[0]}/"), cache
        root = self.root if self.root is None or self.root.is_dir() else self.root.parent
        return () if root is None else ("" if root == Path() else f"{root}{os.sep}",), cache

    def speaker(self, name: str) -> str:
        """Return the key of a speaker."""
        return printable(f"{self.name}/{name}")


@dataclass(frozen=True)
class KeptSplits:
    """The splits that were made before; none at first."""

    rows: tuple[Row, ...] = ()
    data: Path | None = None
    """prepared data of a run without `splits.tsv`, by version 0.1.0: read if a corpus has no splits of its own"""
    file: Path | None = None
    """the `splits.tsv` that they were read from"""

    @classmethod
    def of_run(cls, folder: Path) -> Self:
        """Return the splits of a run folder: of its `splits.tsv`, else of data prepared by version 0.1.0, or none.

        Raises:
            InputError: the file is damaged.
        """
        path = folder / FILE
        if path.is_file():
            lines = enumerate(read_lines(path), 1)
            return cls(tuple(_row(line, f"{path}:{n}") for n, line in lines if n > 1 and line), file=path)
        data = folder / "data"
        # Later versions write digests: there, the file was deleted so that the corpus is split anew.
        of_0_1_0 = not (data / DIGESTS).is_file() and all(prepared.path_of(data, split).is_file() for split in SPLITS)
        return cls(data=data if of_0_1_0 else None)

    @property
    def format_1(self) -> bool:
        """Whether they are those of a run by version 0.1.0."""
        return self.data is not None

    @cached_property
    def _known(self) -> tuple[Row, ...]:
        if self.data is None:
            return self.rows
        utterances = [u for split in SPLITS for u in prepared.load(self.data, split).utterances]
        return tuple(_rows(utterances, {u.audio: printable(u.audio) for u in utterances}, str))

    def write(self, folder: Path) -> None:
        """Write `splits.tsv` into a run folder."""
        lines = [_HEADER, *((r.recording, repr(r.from_s), r.speaker, r.split) for r in self.rows)]
        write_text(folder / FILE, "".join("\t".join(line) + "\n" for line in lines))

    def split_of(self, utterance: Utterance, corpus: Corpus) -> Split | None:
        """Return the split of an utterance whose recording is known."""
        if not self._known:
            return None
        rows = self._of_recording.get(corpus.recording(utterance.audio))
        if rows is None and self.format_1:
            rows = self._of_recording.get(printable(utterance.audio))
        if rows is None:
            return None
        start_s = utterance.start_s or 0.0
        return next((row.split for row in reversed(rows) if row.from_s <= start_s), rows[0].split)

    def split_of_speaker(self, speaker: str, corpus: Corpus) -> Split | None:
        """Return the split in which a speaker has most recordings; train of two with equally many."""
        counts = self._of_speaker.get(corpus.speaker(speaker))
        if counts is None and self.format_1:
            counts = self._of_speaker.get(printable(speaker))
        if counts is None:
            return None
        most: Split = max(SPLITS, key=counts.__getitem__)
        return most

    def with_made(self, utterances: Iterable[Utterance], corpus: Corpus) -> "KeptSplits":
        """Return these splits and those of the utterances' recordings that are not among them."""
        utterances = list(utterances)
        keys = {audio: corpus.recording(audio) for audio in {u.audio for u in utterances}}
        new = [u for u in utterances if keys[u.audio] not in self._of_recording]
        return KeptSplits((*self._known, *_rows(new, keys, corpus.speaker)))

    @cached_property
    def _of_recording(self) -> Mapping[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(self._known, key=lambda row: row.from_s):
            found[row.recording].append(row)
        return dict(found)

    @cached_property
    def _of_speaker(self) -> Mapping[str, Counter[Split]]:
        found: dict[str, Counter[Split]] = defaultdict(Counter)
        for row in self._known:
            if row.speaker:
                found[row.speaker][row.split] += 1
        return dict(found)


def _rows(
    utterances: Iterable[Utterance], keys: Mapping[str, str], speaker_key: Callable[[str], str]
) -> Iterator[Row]:
    by_recording: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_recording[keys[utterance.audio]].append(utterance)
    for recording, members in by_recording.items():
        members.sort(key=lambda u: u.start_s or 0.0)
        speakers = {u.speaker for u in members}
        only = next(iter(speakers)) if len(speakers) == 1 else None
        speaker = "" if only is None else printable(speaker_key(only))
        before: Split | None = None
        for utterance in members:
            if utterance.split is not None and utterance.split != before:
                from_s = 0.0 if before is None else utterance.start_s or 0.0
                yield Row(recording, from_s, speaker, utterance.split)
                before = utterance.split


def _row(line: str, place: str) -> Row:
    fields = line.split("\t")
    split = next((split for split in SPLITS if split == fields[-1]), None)
    try:
        recording, from_s, speaker, _ = fields
        if split is None:
            raise ValueError
        return Row(recording, float(from_s), speaker, split)
    except ValueError as error:
        raise InputError(
            f"not {', '.join(_HEADER)}, separated by tabs, but {line!r}",
            place=place,
            remedy="Correct it; or delete the file, and the corpus is split anew.",
        ) from error
