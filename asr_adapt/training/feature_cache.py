"""On-disk cache of frozen-layer outputs (fp16, memory-mapped).

While the feature encoder is frozen, its output for a clip never changes; while the whole transformer is frozen, nor
does the transformer's. Each clip is computed by itself, without padding, as in training.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from asr_adapt.console import Console
from asr_adapt.model import forward
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.storage import disk_full_as_error, write_text

Level = Literal["encoder", "transformer"]
_FREE_SHARE = 0.8  # fraction of the free disk that a cache may take
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Features:
    """Frames of each clip: fp16 (frames, channels) views of one file."""

    _frames: np.ndarray
    _starts: np.ndarray

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self._frames[self._starts[index] : self._starts[index + 1]]


def cached(
    model: CTCModel,
    level: Level,
    waveforms: Sequence[Callable[[], np.ndarray]],
    lengths: Sequence[int],
    how: str,
    folder: Path,
    console: Console,
) -> Features | None:
    """Return the outputs of the model's lower layers for each clip; computed now where they are not on disk.

    A cache of other weights or other clips, or a damaged one, is deleted and computed again. An interrupted one is
    resumed.

    Args:
        model: In evaluation mode; the layers of `level` must not be trained as long as the cache is used.
        level: `encoder`, the feature encoder's output, or `transformer`, the last layer's.
        waveforms: Each returns float32 (num_samples,), 16 kHz, the same at every call.
        lengths: Samples of each waveform.
        how: Key of the augmentation; another value is another cache.
        folder: Where `<level>.f16` and `<level>.json` go.
        console: Where to report.

    Returns:
        None if the disk has no room for it.

    Raises:
        DiskFull: the disk filled up meanwhile.
    """
    config = model.net.config
    channels = config.conv_dim[-1] if level == "encoder" else config.hidden_size
    frames = [model.grid.num_frames(samples) for samples in lengths]
    starts = np.concatenate([[0], np.cumsum(frames)])
    size = int(starts[-1]) * channels * 2
    path, card = folder / f"{level}.f16", folder / f"{level}.json"
    key = _key(model, level, lengths, how)
    if not _is_whole(path, card, key, size):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{level}-{key[:16]}.partial"
        done = partial.stat().st_size if partial.exists() else 0
        if size - done > _FREE_SHARE * shutil.disk_usage(folder).free:
            console.warn(
                f"no disk space to cache the {level}'s output ({size / 1e9:.1f} GB); it is computed at every step"
            )
            return None
        for stale in (*folder.glob(f"{level}.*"), *folder.glob(f"{level}-*.partial")):
            if stale != partial:
                stale.unlink()
        with disk_full_as_error(path, "Make room, or disable the cache: --train.cached_copies 0."):
            _compute(model, level, waveforms, starts * channels * 2, partial, console)
            write_text(card, json.dumps({"key": key, "crc32": _crc32(partial)}))
        partial.rename(path)
    memory = np.memmap(path, dtype=np.float16, mode="r", shape=(int(starts[-1]), channels))
    return Features(memory, starts)


def _compute(
    model: CTCModel,
    level: Level,
    waveforms: Sequence[Callable[[], np.ndarray]],
    ends: np.ndarray,
    partial: Path,
    console: Console,
) -> None:
    """Append clip after clip, after the last complete one."""
    done = partial.stat().st_size if partial.exists() else 0
    first = int(np.searchsorted(ends, done, side="right")) - 1
    with (
        partial.open("ab") as file,
        torch.inference_mode(),
        console.progress(f"cache the {level}'s output", total=len(waveforms)) as bar,
    ):
        file.truncate(int(ends[first]))
        for index in range(first, len(waveforms)):
            clip = torch.from_numpy(waveforms[index]()).to(model.net.device)
            (output,) = forward.encode(model, [clip])
            if level == "transformer":
                output = forward.contextualise(model.net, [output])[0]
            file.write(output.to(torch.float16).cpu().numpy().tobytes())
            bar.at(index + 1)


def _is_whole(path: Path, card: Path, key: str, size: int) -> bool:
    try:
        kept = json.loads(card.read_text(encoding="utf-8"))
        return kept["key"] == key and path.stat().st_size == size and kept["crc32"] == _crc32(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _key(model: CTCModel, level: Level, lengths: Sequence[int], how: str) -> str:
    """Return a hash of the weights of `level`, and of the clips' lengths and augmentation."""
    digest = hashlib.sha256(json.dumps([level, model.normalise_waveform, list(lengths), how]).encode())
    layers = model.net.wav2vec2.feature_extractor if level == "encoder" else model.net.wav2vec2
    for name, tensor in layers.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return value
