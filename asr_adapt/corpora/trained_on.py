"""What a model was trained on, as hashes, and which clips of other speech are among it.

`trained_on.safetensors` of a model folder has a row for each clip that its training, or that of the models it was
adapted from, has heard: no sound, no words and no names, but whoever has a clip or a sentence can tell whether it was
there. Clips of dev are in it, too, since they chose the best step.
"""

import hashlib
import os
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from asr_adapt import audio, bundled
from asr_adapt.artifacts import DIGESTS, Contamination, Digests, check_model
from asr_adapt.audio.decoded_cache import DecodedCache, ordered_map
from asr_adapt.console import Console
from asr_adapt.corpora.elsewhere import content_digests
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import Utterance
from asr_adapt.storage import atomic_file

FILE = "trained_on.safetensors"
REASON = "trained_on"
"""under which clips that are left out of dev and test are counted"""
_REMEDY = "Copy the model again."
_SHOWN = 10

_ROW = np.dtype(
    [
        ("samples", "<u8"),  # of the clip at 16 kHz in 16 bits; 0: not decoded
        ("recording", "<u8"),  # of the content of the file that the clip is in; 0: unknown
        ("text", "<u8"),  # of the letters; 0: none
        ("sound", "<u8", (4,)),
        ("start_ms", "<u4"),  # in the recording
        ("end_ms", "<u4"),
        ("duration_ms", "<u4"),
        ("selected", "u1"),  # 1: of dev
    ]
)
_MAX_MS = 2**32 - 1
# Band energies in `_SLICES` + 1 slices of a clip and `_BANDS` + 1 bands, differentiated in both, give a bit each.
_SLICES, _BANDS = 16, 16
_BAND_EDGES_HZ = np.geomspace(150.0, 3400.0, _BANDS + 2)  # what a telephone lets through
# Measured on 400 clips of four corpora: 0.89 and more of the bits agree after MP3, Opus, another rate or a telephone,
# 0.65 and more (median 0.94) where both ends moved by up to 50 ms; at most 0.74 between other clips as long.
_SAME_SOUND = 0.8
_SAME_DURATION_MS = 100


def clip_row(
    utterance: Utterance, waveform: np.ndarray | None, digest: str | None, length_s: float = 0.0
) -> np.ndarray:
    """Return the hashes of a clip: a structured array of shape (1,).

    Args:
        utterance: The clip.
        waveform: float32 (num_samples,), 16 kHz, in [-1, 1]; None: it is known to be longer than any other.
        digest: Of the content of its file (`content_digests`), if that can be read.
        length_s: Its duration, where there is no waveform.
    """
    row = np.zeros(1, _ROW)
    if waveform is not None:
        length_s = len(waveform) / audio.SAMPLE_RATE_HZ
        quantised = np.clip(np.round(waveform * 2**15), -(2**15), 2**15 - 1).astype("<i2")
        row["samples"] = _hash(quantised.tobytes())
        row["sound"] = _sound(waveform)
    if digest is not None:
        row["recording"] = _hash(f"{digest}{_member(utterance.audio)}".encode("utf-8", "surrogatepass"))
    start_s = utterance.start_s or 0.0
    row["start_ms"], row["end_ms"] = _ms(start_s), _ms(utterance.end_s or start_s + length_s)
    row["duration_ms"] = _ms(length_s)
    row["text"] = text_hash(utterance.text or "")
    return row


def text_hash(text: str) -> int:
    """Return a hash of the words of a text, whatever the case and punctuation; 0: it has none."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    words = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split()
    return _hash(" ".join(words).encode("utf-8", "surrogatepass")) if words else 0


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


def _ms(seconds: float) -> int:
    return min(round(seconds * 1000), _MAX_MS)


def _member(recording: str) -> str:
    """Return the part of a locator that follows the archive."""
    try:
        return "" if Path(recording).is_file() else recording.partition("#")[2]
    except OSError:  # a name that is too long for a file
        return ""


def _sound(waveform: np.ndarray) -> np.ndarray:
    """Return 256 bits, uint64 (4,), that stay mostly the same when a clip is encoded anew.

    The sign of the change in time of the difference between neighbouring bands' energies (Haitsma and Kalker 2002, "A
    highly robust audio fingerprinting system"), over slices of the whole clip.
    """
    length = max(512, 2 * len(waveform) // (_SLICES + 2))
    padded = np.pad(waveform, (0, max(0, length - len(waveform))))
    starts = np.linspace(0, len(padded) - length, _SLICES + 1).astype(int)
    slices = np.stack([padded[start : start + length] for start in starts]) * np.hanning(length).astype(np.float32)
    points = 1 << (length - 1).bit_length()
    power = np.abs(np.fft.rfft(slices, points)) ** 2  # (slices, points / 2 + 1)
    edges = np.round(_BAND_EDGES_HZ / audio.SAMPLE_RATE_HZ * points).astype(int)
    below = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    energies = below[:, np.maximum(edges[1:], edges[:-1] + 1)] - below[:, edges[:-1]]
    levels = np.log(np.maximum(energies, 1e-9))
    return np.packbits(np.diff(np.diff(levels, axis=1), axis=0) > 0).view("<u8")


class Clips:
    """Rows of clips, in which others are looked up."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def find(self, row: np.ndarray) -> str | None:
        """Return how a clip is among these, in words; None: it is not.

        It is where the samples are the same; where more than half of it lies inside segments of the same recording;
        or where letters, duration (to 0.1 s) and sound are the same, as in a clip that was encoded anew. Of a clip
        without a text, letters are not compared.

        Args:
            row: Of `clip_row`.
        """
        if row["samples"][0] and int(row["samples"][0]) in self._samples:
            return "the same samples"
        start, end = int(row["start_ms"][0]), int(row["end_ms"][0])
        ranges = self._ranges.get(int(row["recording"][0]), ())
        heard = sum(max(0, min(end, to) - max(start, since)) for since, to in ranges)
        if 2 * heard > end - start:
            return f"{heard / 1000:.1f} of its {(end - start) / 1000:.1f} s, in the same recording"
        text = int(row["text"][0])
        same_text = self.rows[self._of_text.get(text, [])] if text else self.rows
        apart = np.abs(same_text["duration_ms"].astype(np.int64) - row["duration_ms"].astype(np.int64))
        sounds = same_text["sound"][(apart <= _SAME_DURATION_MS) & (same_text["samples"] != 0)]
        differing = np.bitwise_count(sounds ^ row["sound"]).sum(axis=1)
        if row["samples"][0] and (differing <= (1 - _SAME_SOUND) * _SLICES * _BANDS).any():
            return f"the same {'words and ' if text else ''}sound, encoded anew"
        return None

    @cached_property
    def texts(self) -> frozenset[int]:
        """The hashes of their texts."""
        return frozenset(self._of_text)

    @cached_property
    def longest_s(self) -> float:
        """The duration of the longest."""
        return float(self.rows["duration_ms"].max(initial=0)) / 1000

    @cached_property
    def _samples(self) -> frozenset[int]:
        return frozenset(self.rows["samples"].tolist())

    @cached_property
    def _ranges(self) -> dict[int, list[tuple[int, int]]]:
        """Return each recording's stretches that are covered, apart from one another."""
        found: dict[int, list[tuple[int, int]]] = {}
        known = self.rows[self.rows["recording"] != 0]
        known = known[np.argsort(known["start_ms"], kind="stable")]
        for recording, start, end in zip(*(known[name].tolist() for name in ("recording", "start_ms", "end_ms")),
                                         strict=True):  # fmt: skip
            ranges = found.setdefault(recording, [])
            if ranges and start <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
            else:
                ranges.append((start, end))
        return found

    @cached_property
    def _of_text(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for index, text in enumerate(self.rows["text"].tolist()):
            if text:
                found.setdefault(text, []).append(index)
        return found


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """What a model and the models it was adapted from were trained on."""

    rows: np.ndarray
    """structured (clips,)"""
    unknown: str = ""
    """the first model whose training is not recorded; empty: that of all is"""

    def __eq__(self, other: object) -> bool:
        """Return whether the same clips are recorded."""
        return (
            isinstance(other, TrainedOn) and self.unknown == other.unknown and np.array_equal(self.rows, other.rows)
        )

    def __hash__(self) -> int:
        """Return a hash of the number of clips and of what is unknown."""
        return hash((len(self.rows), self.unknown))

    @classmethod
    def nothing(cls) -> Self:
        """Return that of a model that was not trained."""
        return cls(np.zeros(0, _ROW))

    @classmethod
    def of(cls, splits: Iterable[SpeechSplit], console: Console, digests: Mapping[str, str | None]) -> Self:
        """Return that of prepared splits, of which `dev` only chose the best step.

        Args:
            splits: Of `prepared.load`.
            console: Where to show progress.
            digests: Of the content of their recordings' files, by locator (`content_digests`).
        """
        found = []
        for speech in splits:
            made, count = np.zeros(len(speech), _ROW), 0
            with console.progress(f"hash {speech.name}", total=len(speech)) as bar:
                for row in bar.over(_rows(speech, digests)):
                    if row is not None:
                        made[count], count = row[0], count + 1
            made["selected"] = speech.name == "dev"
            found.append(made[:count])
        return cls(np.concatenate(found))

    def __add__(self, other: "TrainedOn") -> "TrainedOn":
        """Return what either was trained on, each clip once."""
        both = np.concatenate([self.rows, other.rows])
        _, first = np.unique(both.view(f"V{_ROW.itemsize}"), return_index=True)
        return TrainedOn(both[np.sort(first)], self.unknown or other.unknown)

    @cached_property
    def trained(self) -> Clips:
        """The clips that were trained on."""
        return Clips(self.rows[self.rows["selected"] == 0])

    @cached_property
    def selected(self) -> Clips:
        """The clips that chose the best step."""
        return Clips(self.rows[self.rows["selected"] == 1])

    @cached_property
    def digest(self) -> str:
        """A SHA-256 digest of all."""
        return hashlib.sha256(self.rows.tobytes()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `trained_on.safetensors` into a model folder."""
        with atomic_file(folder / FILE) as partial:
            columns = {name: np.ascontiguousarray(self.rows[name]) for name in _ROW.names or ()}
            save_file(columns, partial, metadata={"unknown": self.unknown})

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what a model folder says that the model was trained on; None: it says nothing.

        Raises:
            InputError: the file is damaged, by its digest or by its content, or was removed.
        """
        path = folder / FILE
        if not path.is_file():
            sealed = folder / DIGESTS
            if not sealed.is_file() or FILE not in Digests.read_file(sealed, _REMEDY).files:
                return None
        check_model(folder, (FILE,))
        try:
            with safe_open(path, "numpy") as file:
                columns = {name: file.get_tensor(name) for name in _ROW.names or ()}
                unknown = (file.metadata() or {}).get("unknown", "")
        except (OSError, SafetensorError) as error:
            raise InputError(f"damaged ({error})", place=path, remedy=_REMEDY) from error
        rows = np.zeros(len(columns["samples"]) if columns["samples"].ndim else 0, _ROW)
        for name, column in columns.items():
            if column.shape != rows[name].shape or column.dtype != rows[name].dtype:
                raise InputError(f"damaged: '{name}' is {column.dtype} {column.shape}", place=path, remedy=_REMEDY)
            rows[name] = column
        return cls(rows, unknown)


def _rows(
    speech: SpeechSplit, digests: Mapping[str, str | None], longest_s: float | None = None
) -> Iterator[np.ndarray | None]:
    """Yield the row of each clip of a split, None where it cannot be read, in order.

    A clip that is longer than `longest_s` is not decoded.
    """
    lengths_s: dict[int, float] = {}  # of those that are not decoded
    if longest_s is not None:
        found = ((index, _length_s(utterance)) for index, utterance in enumerate(speech.utterances))
        lengths_s = {index: length for index, length in found if length is not None and length > longest_s + 1}
    with tempfile.TemporaryDirectory(prefix="asr-adapt-") as scratch:
        if speech.waveforms is None:
            short = (u for index, u in enumerate(speech.utterances) if index not in lengths_s)
            decoded = DecodedCache(short, Path(scratch))

        def row(index: int) -> np.ndarray | None:
            utterance = speech.utterances[index]
            digest = digests.get(utterance.audio)
            if index in lengths_s:
                return clip_row(utterance, None, digest, lengths_s[index])
            try:
                waveform = decoded.load(utterance) if speech.waveforms is None else speech.waveform(index)
            except AudioError:
                return None
            return clip_row(utterance, waveform, digest)

        yield from ordered_map(row, range(len(speech)), os.cpu_count() or 1)


def _length_s(utterance: Utterance) -> float | None:
    if utterance.end_s is not None:
        return utterance.end_s - (utterance.start_s or 0.0)
    if utterance.duration_s is not None:
        return utterance.duration_s
    try:
        length_s = audio.header_duration_s(utterance.audio)
    except AudioError:
        return None
    return None if length_s is None else length_s - (utterance.start_s or 0.0)


def check(
    speech: SpeechSplit, known: TrainedOn | None, model: object, console: Console, *, allow: bool
) -> tuple[SpeechSplit, Contamination]:
    """Return a split without the clips that a model was trained on, and what was found; say it.

    Args:
        speech: The split.
        known: What the model was trained on; None: unknown.
        model: Its name, in what is said.
        console: Where to report.
        allow: Keep clips that were trained on.

    Raises:
        InputError: all clips were trained on.
    """
    split, total = speech.name, len(speech)
    if known is None:
        console.say(f"what {model} was trained on is unknown: it may have heard clips of {split}")
        return speech, Contamination(known=False)
    if known.unknown:
        console.say(f"{model} was adapted from {known.unknown}: what that was trained on is unknown")
    if not len(known.rows):
        return speech, Contamination(known=not known.unknown)
    trained: dict[int, str] = {}
    selected: list[int] = []
    with console.progress(f"look for clips of {split} in the training data", total=total) as bar:
        digests = content_digests({u.audio for u in speech.utterances})
        rows = _rows(speech, digests, max(known.trained.longest_s, known.selected.longest_s))
        for index, row in enumerate(bar.over(rows)):
            if row is not None and (how := known.trained.find(row)):
                trained[index] = how
            elif row is not None and known.selected.find(row):
                selected.append(index)
    kept = [index for index in range(total) if allow or index not in trained]
    ids = [utterance.id for utterance in speech.utterances]
    if trained:
        few = ", ".join(ids[index] for index in [*trained][:_SHOWN])
        few += f" and {len(trained) - _SHOWN} more" if len(trained) > _SHOWN else ""
        done = "they are used because that was allowed" if allow else "they are left out"
        console.warn(f"the model was trained on {len(trained)} of {total} clips of {split}; {done}: {few}")
    if not kept:
        raise InputError(
            f"the model was trained on all {total} clips of {split}: nothing is left to measure it by",
            place=model,
            remedy="Name other speech, or use --allow-trained (in a recipe: corpus.allow_trained).",
        )
    if selected:
        console.say(f"{len(selected)} of {total} clips of {split} were used to choose the model's best step")
    texts = known.trained.texts
    repeated = sum(text_hash(speech.utterances[index].text or "") in texts for index in kept)
    if repeated:
        console.say(f"{repeated} of {len(kept)} sentences of {split} also occur in the training text")
    found = {ids[index]: how for index, how in trained.items()}
    return speech if len(kept) == total else speech.select(kept), Contamination(
        known=not known.unknown,
        left_out={} if allow else found,
        scored=found if allow else {},
        selected=tuple(ids[index] for index in selected),
        repeated_sentences=repeated,
    )


def of_base(folder: Path | None, name: str) -> TrainedOn:
    """Return what a base model was trained on.

    Args:
        folder: Its folder; None: it comes from the Hub, or there is none.
        name: `model.base`. What is embedded in this package was trained on what its model card lists, and on none of
            the speech of users.

    Raises:
        InputError: its record is damaged.
    """
    if name == "none" or name in bundled.BASES:
        return TrainedOn.nothing()
    return (TrainedOn.read(folder) if folder else None) or TrainedOn(
        np.zeros(0, _ROW), "a model without a record" if folder else name
    )
