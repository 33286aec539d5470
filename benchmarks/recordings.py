"""What people really record: sentences with pauses between, noise without speech, low levels, clips as recordings.

    python benchmarks/recordings.py --model runs/demo/model                                  # the embedded corpus
    python benchmarks/recordings.py --model runs/mboshi/model --corpus CORPUS --clips 200

Sentences are of the corpus's test split. `whole` is their error rate as segments, as `evaluate` reads them.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from asr_adapt import audio, bundled, corpora
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Transcript
from asr_adapt.scoring import error_rates

RATE_HZ = audio.SAMPLE_RATE_HZ
PAUSES_S = (0.5, 1, 3, 8)
LENGTHS_S = (2, 9, 29)


def main(
    model: Annotated[Path, typer.Option(help="A run's model/ folder.")],
    corpus: Annotated[Path | None, typer.Option(help="Its test split is read; default: the embedded corpus.")] = None,
    clips: Annotated[int, typer.Option(help="Clips that are read as recordings.")] = 200,
    pairs: Annotated[int, typer.Option(help="Pairs of sentences with a pause between.")] = 20,
) -> None:
    """Measure a model on recordings, next to the same clips read as segments."""
    transcriber = Transcriber.from_folder(model)
    language = transcriber.model.language
    utterances = [u for u in corpora.read(corpus or bundled.folder("demo"), language) if u.split == "test"][:clips]
    waveforms = [audio.load(u.audio, start_s=u.start_s, end_s=u.end_s) for u in utterances]
    references = [u.text or "" for u in utterances]

    def wer(texts: list[str], read: list[np.ndarray], *, segments: bool = False) -> float:
        results = (transcriber.transcribe_segments if segments else transcriber.transcribe_all)(
            (w, RATE_HZ) for w in read
        )
        return error_rates.rates(
            [
                (transcriber.model.normaliser(text), transcriber.model.normaliser(result.text))
                for text, result in zip(texts, results, strict=True)
                if isinstance(result, Transcript)
            ]
        )[0]

    print(f"{len(waveforms)} clips: WER {wer(references, waveforms, segments=True):.3f} whole, "
          f"{wer(references, waveforms):.3f} as recordings", flush=True)  # fmt: skip
    quiet = [waveform * np.float32(1e-3) for waveform in waveforms]
    print(f"with 60 dB less gain: WER {wer(references, quiet, segments=True):.3f} whole, "
          f"{wer(references, quiet):.3f} as recordings", flush=True)  # fmt: skip

    first, second = waveforms[: 2 * pairs : 2], waveforms[1 : 2 * pairs : 2]
    together = [
        " ".join(pair) for pair in zip(references[: 2 * pairs : 2], references[1 : 2 * pairs : 2], strict=False)
    ]
    own = wer(references[: 2 * len(together)], waveforms[: 2 * len(together)], segments=True)
    print(
        f"{len(together)} pairs: WER {own:.3f} of the sentences alone; with a pause of zeros, of noise at -60 dBFS:"
    )
    rng = np.random.default_rng(1)
    for pause_s in PAUSES_S:
        found = []
        for level in (0.0, 0.001):
            pause = (level * rng.standard_normal(int(pause_s * RATE_HZ))).astype(np.float32)
            joined = [np.concatenate([a, pause, b]) for a, b in zip(first, second, strict=False)]
            found.append(wer(together, joined))
        print(f"  {pause_s:g} s: " + ", ".join(f"{rate:.3f}" for rate in found), flush=True)

    speaking = [name for seconds in LENGTHS_S for name, noise in noises(seconds).items()
                if transcriber.transcribe((noise, RATE_HZ)).text]  # fmt: skip
    print(
        f"noises with words: {len(speaking)} of {len(LENGTHS_S) * len(noises(1))} {', '.join(speaking)}", flush=True
    )

    count = int(np.searchsorted(np.cumsum([len(w) / RATE_HZ + 0.5 for w in waveforms]), 31)) + 1
    half = np.zeros(RATE_HZ // 2, np.float32)
    spoken = np.concatenate([part for waveform in waveforms[:count] for part in (waveform, half)])
    words = []
    for rest_s in (0, 0.1, 0.3, 0.5, 1, 2, 5):
        recording = np.concatenate([spoken, np.zeros(int(rest_s * RATE_HZ), np.float32)])
        words.append(len(transcriber.transcribe((recording, RATE_HZ)).words))
    print(f"words of {len(spoken) / RATE_HZ:.0f} s with 0 to 5 s of silence after them: {words}")


def noises(seconds: int) -> dict[str, np.ndarray]:
    """Return what a room without speech may sound like: float32 (num_samples,) each, 16 kHz."""
    rng = np.random.default_rng(100 + seconds)
    t = np.arange(seconds * RATE_HZ) / RATE_HZ
    white = rng.standard_normal(len(t))
    low = np.fft.irfft(np.fft.rfft(white) / (1 + np.fft.rfftfreq(len(t), 1 / RATE_HZ) / 150), len(t))
    low /= low.std()
    hum = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in (1, 2, 3, 5, 7))
    chords = np.zeros(len(t))
    for begin in range(0, len(t), RATE_HZ // 2):
        note = t[: RATE_HZ // 2]
        root = rng.choice([220, 261.6, 293.7, 329.6, 392])
        sounds = (np.sin(2 * np.pi * root * r * h * note) / h for r in (1, 1.26, 1.5) for h in (1, 2, 3))
        chords[begin : begin + RATE_HZ // 2] = 0.1 * sum(sounds) * np.exp(-2 * note)
    clicks = 0.0005 * white
    for at in rng.integers(0, len(t) - 200, 3 * seconds):
        clicks[at : at + 160] += 0.5 * rng.standard_normal(160) * np.exp(-np.arange(160) / 30)
    found = {
        "room": 0.0005 * low,
        "loud room": 0.006 * low,
        "hum": 0.03 * hum + 0.0005 * white,
        "chords": chords,
        "clicks": clicks,
        "wind": 0.1 * low * (1 + 0.9 * np.sin(2 * np.pi * 0.3 * t)),
        "hiss": 0.01 * white,
    }
    return {f"{name} {seconds} s": np.clip(noise, -1, 1).astype(np.float32) for name, noise in found.items()}


if __name__ == "__main__":
    typer.run(main)
