"""On-disk cache of frozen-layer outputs (fp16, memory-mapped).

While layers are frozen, their output for a clip never changes: of the feature encoder, of a transformer layer, or of
the whole transformer. Each clip is computed by itself, without padding, as in training.
"""

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr_adapt.audio.decoded_cache import ordered_map
from asr_adapt.console import Console
from asr_adapt.model import encoders, forward
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.storage import disk_full_as_error, write_text

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
    depth: int,
    waveform: Callable[[int], np.ndarray],
    lengths: np.ndarray,
    how: str,
    folder: Path,
    console: Console,
) -> Features | None:
    """Return the hidden states of each clip at a depth; computed now where they are not on disk.

    A cache of other weights or other clips, or a damaged one, is deleted and computed again. An interrupted one is
    resumed.

    Args:
        model: In evaluation mode; what is below `depth` must not be trained as long as the cache is used.
        depth: 0 for the feature encoder's output, K for that of transformer layer K (`model.freezing`).
        waveform: Returns that of an index: float32 (num_samples,), 16 kHz, the same at every call. It is called
            ahead, on other threads.
        lengths: int64 (clips,), samples of each waveform.
        how: Key of the augmentation; another value is another cache.
        folder: Where the files go: `encoder`, `layer<K>` or `transformer`, `.f16` and `.json`.
        console: Where to report.

    Returns:
        None if the disk has no room for it, or a value is too large for fp16.

    Raises:
        DiskFull: the disk filled up meanwhile.
    """
    channels = model.net.config.hidden_size if depth else encoders.of(model.net).channels
    frames = np.fromiter(map(model.grid.num_frames, lengths.tolist()), np.int64, len(lengths))
    starts = np.concatenate([[0], np.cumsum(frames)])
    size = int(starts[-1]) * channels * 2
    name, said = _names(model, depth)
    path, card = folder / f"{name}.f16", folder / f"{name}.json"
    key = _key(model, depth, lengths, how)
    if not _is_whole(path, card, key, size):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{name}-{key[:16]}.partial"
        done = partial.stat().st_size if partial.exists() else 0
        if size - done > _FREE_SHARE * shutil.disk_usage(folder).free:
            console.warn(f"no disk space to cache {said} ({size / 1e9:.1f} GB); it is computed at every step")
            return None
        for stale in (*folder.glob(f"{name}.*"), *folder.glob(f"{name}-*.partial")):
            if stale != partial:
                stale.unlink()
        with disk_full_as_error(path, "Make room, or disable the cache: --train.cached_copies 0."):
            try:
                _compute(model, depth, waveform, starts * channels * 2, partial, console)
            except OverflowError:
                partial.unlink()
                console.warn(f"{said} has values that fp16 cannot hold; it is computed at every step, not cached")
                return None
            write_text(card, json.dumps({"key": key, "crc32": _crc32(partial)}))
        partial.rename(path)
    memory = np.memmap(path, dtype=np.float16, mode="r", shape=(int(starts[-1]), channels))
    return Features(memory, starts)


def _compute(
    model: CTCModel,
    depth: int,
    waveform: Callable[[int], np.ndarray],
    ends: np.ndarray,
    partial: Path,
    console: Console,
) -> None:
    """Append clip after clip, after the last complete one; OverflowError where fp16 cannot hold a value."""
    done = partial.stat().st_size if partial.exists() else 0
    first = int(np.searchsorted(ends, done, side="right")) - 1
    with (
        partial.open("ab") as file,
        torch.inference_mode(),
        console.progress(f"cache {_names(model, depth)[1]}", total=len(ends) - 1) as bar,
        contextlib.closing(ordered_map(waveform, range(first, len(ends) - 1), os.cpu_count() or 1)) as arrays,
    ):
        file.truncate(int(ends[first]))
        for index, array in enumerate(arrays, start=first):
            clip = torch.from_numpy(array).to(model.net.device)
            (output,) = forward.encode(model, [clip])
            if depth:
                output = forward.contextualise(model.net, [output], until=depth)[0]
            half = output.to(torch.float16)
            if bool((half.isinf() & output.isfinite()).any()):
                raise OverflowError
            file.write(half.cpu().numpy().tobytes())
            bar.at(index + 1)


def _names(model: CTCModel, depth: int) -> tuple[str, str]:
    """Return the name of a depth's files, and what they hold, in words."""
    if depth == 0:
        return "encoder", "the feature encoder's output"
    if depth == model.net.config.num_hidden_layers:
        return "transformer", "the transformer's output"
    return f"layer{depth}", f"the output of layer {depth}"


def _is_whole(path: Path, card: Path, key: str, size: int) -> bool:
    try:
        kept = json.loads(card.read_text(encoding="utf-8"))
        return kept["key"] == key and path.stat().st_size == size and kept["crc32"] == _crc32(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _key(model: CTCModel, depth: int, lengths: np.ndarray, how: str) -> str:
    """Return a hash of the weights below `depth`, and of the clips' lengths and augmentation."""
    name, _ = _names(model, depth)
    digest = hashlib.sha256(json.dumps([name, model.normalise_waveform, lengths.tolist(), how]).encode())
    for module in encoders.of(model.net).below(depth):
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return value
