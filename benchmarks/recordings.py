"""What people really record: sentences with pauses between, noise without speech, low levels, clips as recordings.

    python benchmarks/recordings.py --model runs/demo/model                                  # the embedded corpus
    python benchmarks/recordings.py --model runs/mboshi/model --corpus CORPUS --clips 200

Sentences are of the corpus's test split. `whole` is their error rate as segments, as `evaluate` reads them.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from noises import noises

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

    recordings = {f"{name} {s} s": noise for s in LENGTHS_S for name, noise in noises(s, seed=100 + s).items()}
    speaking = [name for name, noise in recordings.items() if transcriber.transcribe((noise, RATE_HZ)).text]
    print(f"noises with words: {len(speaking)} of {len(recordings)} {', '.join(speaking)}", flush=True)

    count = int(np.searchsorted(np.cumsum([len(w) / RATE_HZ + 0.5 for w in waveforms]), 31)) + 1
    half = np.zeros(RATE_HZ // 2, np.float32)
    spoken = np.concatenate([part for waveform in waveforms[:count] for part in (waveform, half)])
    words = []
    for rest_s in (0, 0.1, 0.3, 0.5, 1, 2, 5):
        recording = np.concatenate([spoken, np.zeros(int(rest_s * RATE_HZ), np.float32)])
        words.append(len(transcriber.transcribe((recording, RATE_HZ)).words))
    print(f"words of {len(spoken) / RATE_HZ:.0f} s with 0 to 5 s of silence after them: {words}")


if __name__ == "__main__":
    typer.run(main)
