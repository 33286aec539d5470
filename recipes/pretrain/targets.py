"""Keep the teacher's hidden states of a corpus, as targets of distillation: computed once, read at every step.

    python recipes/pretrain/targets.py --teacher teacher --out targets spoken/manifest.jsonl people/manifest.jsonl

takes any speech, with or without transcripts. Started again it goes on where it was, and with more manifests it adds
their clips: a clip is known by the digest of its file and its times, not by its id.

- Each clip is at the start of a window of its own, with `SILENCE_S` of silence after it, and the window ends there:
  the rest of Whisper's 30 s would be more silence, for six times the work. Cosines of centred and scaled hidden
  states with those of whole windows, 50 clips of the pool, 5.2 s on average, layers 4 and 6: .92 and .88 with 2 s of
  silence, .95 and .92 with 5 s, .90 and .86 with 1 s. (With other clips in place of silence .68 and .68: it hears
  their context.)
- A part of the hidden states depends on the position alone, which a model without absolute positions cannot know:
  their mean at each position is subtracted. A few dimensions hold most of the variance: each is divided by its median
  absolute deviation (times 1.48, as for a normal distribution), and clamped to `CLAMP` of these units. Means and
  scales are those of `SAMPLE` clips of the first manifests, long ones drawn more often, so that late positions are
  known, too.
- Two frames of 20 ms are averaged to one of 40 ms, and kept in 8 bits.

The folder has `statistics.safetensors`, `frames.i8`, int8 (frames, layers x width), and `clips.jsonl`, a line a clip:
key, first frame, frames. The former grows before the latter, so that what a killed run left unfinished is cut off.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from teacher import FRAME_S, WINDOW_S, Teacher
from tqdm import tqdm

from asr_adapt import audio, cli
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import Utterance, counted, read_jsonl
from asr_adapt.storage import atomic_file, content_digests

LAYERS = (4, 6)
SILENCE_S = 2.0
CLAMP = 4.0
SAMPLE = 400  # clips
SHRINKAGE = 10  # clips with which a position's mean is drawn to that of all positions
_STATISTICS, _FRAMES, _CLIPS = "statistics.safetensors", "frames.i8", "clips.jsonl"
_FRAME = round(FRAME_S * SAMPLE_RATE_HZ)
_STEP = 2 * _FRAME  # samples from one kept frame to the next


class Scaling:
    """What is done to the teacher's hidden states before they are kept.

    Args:
        tensors: `mean.K` (positions, width) and `scale.K` (width,) of each layer K, float32.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    @classmethod
    def measure(cls, teacher: Teacher, waveforms: Iterable[np.ndarray]) -> "Scaling":
        """Return the scaling by which these clips are centred, at each position, and of unit scale."""
        states = [[found.half() for found in teacher_states(teacher, waveform)] for waveform in waveforms]
        tensors = {}
        for number, layer in enumerate(LAYERS):
            clips = [of_clip[number].float() for of_clip in states]
            overall = torch.cat(clips).mean(0)
            sums, counts = torch.zeros(teacher.positions, teacher.width), torch.zeros(teacher.positions, 1)
            for clip in clips:
                sums[: len(clip)] += clip
                counts[: len(clip)] += 1
            mean = (sums + SHRINKAGE * overall) / (counts + SHRINKAGE)
            deviation = torch.cat([clip - mean[: len(clip)] for clip in clips]).abs().median(0).values
            tensors |= {f"mean.{layer}": mean, f"scale.{layer}": 1.4826 * deviation + 1e-6}
        return cls(tensors)

    def write(self, path: Path) -> None:
        """Write the statistics."""
        with atomic_file(path) as partial:
            save_file(self._tensors, partial)

    @classmethod
    def read(cls, path: Path) -> "Scaling":
        """Read what `write` wrote."""
        return cls(load_file(path))

    def kept(self, states: Sequence[torch.Tensor]) -> np.ndarray:
        """Return what is kept of a clip: int8 (frames of 40 ms, layers x width), `CLAMP` being 127.

        Args:
            states: float32 (frames of 20 ms, width) of each of `LAYERS`; an odd last frame is left out.
        """
        scaled = []
        for layer, found in zip(LAYERS, states, strict=True):
            found = found[: len(found) // 2 * 2]
            centred = (found - self._tensors[f"mean.{layer}"][: len(found)]) / self._tensors[f"scale.{layer}"]
            scaled.append(centred.unflatten(0, (-1, 2)).mean(1).clamp(-CLAMP, CLAMP))
        return (torch.cat(scaled, dim=1) * (127 / CLAMP)).round().to(torch.int8).numpy()


class Targets:
    """The kept targets.

    Args:
        folder: Of `main`.

    Raises:
        InputError: there are none.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / _CLIPS).is_file():
            raise InputError("no targets", place=folder, remedy="Make them: python recipes/pretrain/targets.py")
        rows = [json.loads(line) for line in (folder / _CLIPS).read_text(encoding="utf-8").splitlines()]
        self._clips = {row["key"]: (row["first"], row["frames"]) for row in rows}
        scaling = load_file(folder / _STATISTICS)
        self.width = sum(len(scaling[f"scale.{layer}"]) for layer in LAYERS)
        self._frames = np.memmap(folder / _FRAMES, np.int8, mode="r").reshape(-1, self.width)

    def has(self, key: str) -> bool:
        """Whether there are targets of a clip, by its `keys`."""
        return key in self._clips

    def at(self, key: str, times: np.ndarray) -> np.ndarray:
        """Return a clip's targets at some times, between frames interpolated: float32 (times, layers x width).

        Args:
            key: Of `keys`.
            times: Seconds from the clip's beginning; outside the clip the nearest frame is taken.
        """
        first, count = self._clips[key]
        frames = self._frames[first : first + count].astype(np.float32) * (CLAMP / 127)
        # A kept frame is the mean of what is 0 and 20 ms after its beginning.
        position = np.clip((times - FRAME_S / 2) / (2 * FRAME_S), 0, count - 1)
        before = position.astype(int)
        after = np.minimum(before + 1, count - 1)
        share = (position - before)[:, None].astype(np.float32)
        return (1 - share) * frames[before] + share * frames[after]


def located(manifest: Path) -> list[Utterance]:
    """Return the utterances of a manifest, each with the path of its audio from here."""
    folder = manifest.parent
    return [u.model_copy(update={"audio": str(folder / u.audio)}) for _, u in read_jsonl(manifest)]


def keys(utterances: Sequence[Utterance]) -> list[str]:
    """Return a key of each clip, which does not depend on its id or on where its file is."""
    digests = content_digests({utterance.audio for utterance in utterances})
    return [f"{digests[u.audio]}:{u.start_s or 0:g}-{u.end_s or ''}" for u in utterances]


def load(utterance: Utterance) -> np.ndarray:
    """Return the clip: float32 (num_samples,), 16 kHz.

    Raises:
        AudioError: it cannot be decoded.
    """
    return audio.load(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s)


def sample(utterances: Sequence[Utterance], seed: int) -> Iterator[np.ndarray]:
    """Yield at most `SAMPLE` of the clips, each drawn with a chance proportional to its length."""
    lengths = np.array([min(utterance.duration_s or 0.0, WINDOW_S) for utterance in utterances])
    rng, count = np.random.default_rng(seed), min(SAMPLE, np.count_nonzero(lengths))
    for index in tqdm(rng.choice(len(lengths), count, replace=False, p=lengths / lengths.sum()), unit="clip"):
        with suppress(AudioError):  # counted when its targets are due
            if is_whole(waveform := load(utterances[index])):
                yield waveform


def is_whole(waveform: np.ndarray) -> bool:
    """Whether a clip has a frame, and the teacher's window has room for it."""
    return _STEP <= len(waveform) <= WINDOW_S * SAMPLE_RATE_HZ


def teacher_states(teacher: Teacher, waveform: np.ndarray) -> list[torch.Tensor]:
    """Return the hidden states of the clip's whole frames of 20 ms: float32 (frames, width) for each of `LAYERS`."""
    frames = len(waveform) // _FRAME
    window = min(frames + round(SILENCE_S / FRAME_S), teacher.positions)
    return [
        found[0, :frames] for found in teacher.hidden_states(teacher.mel(waveform)[None, :, : 2 * window], LAYERS)
    ]


def whole(folder: Path, width: int) -> set[str]:
    """Cut off what a killed run left unfinished, and return the keys of the clips that are kept."""
    index, frames = folder / _CLIPS, folder / _FRAMES
    index.touch()
    frames.touch()
    rows: list[dict[str, Any]] = []
    with index.open("r+b") as file:
        for line in iter(file.readline, b""):
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or (row["first"] + row["frames"]) * width > frames.stat().st_size:
                break
            rows.append(row)
        file.truncate(file.seek(sum(len(json.dumps(row)) + 1 for row in rows)))
    with frames.open("r+b") as file:
        file.truncate(sum(row["frames"] for row in rows) * width)
    return {row["key"] for row in rows}


def main(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests of speech, one `Utterance` a line.")],
    teacher: Annotated[Path, typer.Option(help="Of teacher.py.")] = Path("teacher"),
    out: Annotated[Path, typer.Option(help="Folder of the targets: a new one, or the one to go on with.")] = Path(
        "targets"
    ),
    seed: Annotated[int, typer.Option(help="Of the clips that the statistics are taken of.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Clips at once, each on a core.")] = os.cpu_count() or 1,
) -> None:
    """Compute and keep the targets."""
    torch.set_num_threads(1)
    with cli.one_line_errors():
        of_corpora(manifests, Teacher.load(teacher), out, seed, jobs)


def of_corpora(manifests: Sequence[Path], teacher: Teacher, out: Path, seed: int, jobs: int) -> None:
    """Compute and keep the targets of every clip of the train splits that has none yet."""
    found = [u for path in manifests for u in located(path) if u.split in (None, "train")]
    clips = dict(zip(keys(found), found, strict=True))
    out.mkdir(parents=True, exist_ok=True)
    if not (out / _STATISTICS).is_file():
        if not any(utterance.duration_s for utterance in found):
            raise InputError("no clip whose length is known", place=", ".join(map(str, manifests)))
        Scaling.measure(teacher, sample(found, seed)).write(out / _STATISTICS)
    scaling, width = Scaling.read(out / _STATISTICS), len(LAYERS) * teacher.width
    done = whole(out, width)
    missing = [(key, utterance) for key, utterance in clips.items() if key not in done]
    refused: Counter[str] = Counter()
    first = (out / _FRAMES).stat().st_size // width
    seconds = 0.0

    def kept(clip: tuple[str, Utterance]) -> tuple[np.ndarray, float] | str:
        """Return what is kept of a clip, and its length, or why nothing is."""
        try:
            waveform = load(clip[1])
        except AudioError as error:
            return error.problem
        if not is_whole(waveform):
            return f"not {_STEP / SAMPLE_RATE_HZ:g} to {WINDOW_S:g} s"
        return scaling.kept(teacher_states(teacher, waveform)), len(waveform) / SAMPLE_RATE_HZ

    with (
        ThreadPoolExecutor(jobs) as pool,
        (out / _FRAMES).open("ab") as frames,
        (out / _CLIPS).open("a", encoding="utf-8") as index,
    ):
        results = tqdm(pool.map(kept, missing), total=len(missing), unit="clip", mininterval=5)
        for (key, _), result in zip(missing, results, strict=True):
            if isinstance(result, str):
                refused[result] += 1
                continue
            found, duration_s = result
            frames.write(found.tobytes())
            frames.flush()
            index.write(json.dumps({"key": key, "first": first, "frames": len(found)}) + "\n")
            index.flush()
            first += len(found)
            seconds += duration_s
    print(
        f"{seconds / 3600:.2f} h of {counted(len(missing) - refused.total(), 'clip')} added to {len(done):,}; "
        f"{first * width / 1e6:,.0f} MB; refused: {dict(refused.most_common())}"
    )


if __name__ == "__main__":
    typer.run(main)
