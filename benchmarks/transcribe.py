"""Transcription speed against transformers' pipeline (batches of 1 and 8), interleaved in one run.

    python benchmarks/transcribe.py --corpus CORPUS                        # random weights, as wav2vec2-base
    python benchmarks/transcribe.py --corpus CORPUS --model runs/x/model   # a trained model: also WER, same texts
    python benchmarks/transcribe.py --corpus CORPUS --model runs/x/model --hours 1   # clips joined into a recording
    python benchmarks/transcribe.py --corpus CORPUS --engine torch --engine onnx --engine onnx-int8 --engine openvino
    python benchmarks/transcribe.py --corpus CORPUS --engine onnx --onnx-asr    # after pip install onnx-asr

Each turn runs in its own process, so that peak memory is measured for each. RTFx is seconds of audio per second,
loading not counted. Figures drift on shared machines; compare the ratio. Seconds of audio per CPU second (`/ CPU s`)
drift less.
"""

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import torch
import typer

from asr_adapt import audio, corpora
from asr_adapt.inference import engines
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import ctc_model
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import Text
from asr_adapt.records import Utterance
from asr_adapt.scoring import error_rates
from asr_adapt.text.alphabet import BLANK_ID, Alphabet

Turn = tuple[Callable[..., dict[str, Any]], tuple]


def main(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest; its test split is transcribed.")],
    model: Annotated[Path | None, typer.Option(help="Model folder; default: random weights.")] = None,
    clips: Annotated[int, typer.Option(help="Clips per turn.")] = 40,
    rounds: Annotated[int, typer.Option(help="Rounds; each system runs once in a round.")] = 3,
    precision: Annotated[str, typer.Option(help="Our precision: fp32 or bf16; default: the fastest here.")] = "",
    engine: Annotated[list[str], typer.Option(help="Engine of ours; may be repeated.")] = [engines.TORCH],  # noqa: B006
    onnx_asr: Annotated[bool, typer.Option(help="Also measure onnx-asr, on the graph of our onnx engine.")] = False,
    hours: Annotated[
        float, typer.Option(help="Instead, transcribe one recording of this length, made of the clips.")
    ] = 0,
) -> None:
    """Interleave the peers and print the ratio, or transcribe one long recording."""
    utterances = [u for u in corpora.read(corpus, "und") if u.split == "test"][:clips]
    with tempfile.TemporaryDirectory() as scratch:
        folder = model or _write_base_shape(Path(scratch) / "base")
        if hours:
            _long(folder, utterances, hours, Path(scratch))
        else:
            graphs = {name for name in engine if name != engines.TORCH} | ({"onnx"} if onnx_asr else set())
            for name in graphs:  # exported here, so that no turn pays for it
                _in_process(_export, folder, name)
            ours = {f"ours, {name}": (_ours, (name, precision or None)) for name in engine}
            peers: dict[str, Turn] = {f"pipeline, batch {size}": (_pipeline, (size,)) for size in (1, 8)}
            if onnx_asr:
                peers["onnx-asr"] = (_onnx_asr, ())
            _alternate(folder, utterances, rounds, peers, ours, is_trained=model is not None)


def _alternate(
    folder: Path,
    utterances: list[Utterance],
    rounds: int,
    peers: dict[str, Turn],
    ours: dict[str, Turn],
    *,
    is_trained: bool,
) -> None:
    turns = peers | ours
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in turns}
    for number in range(rounds):
        for name, (turn, settings) in turns.items():
            found[name].append(_in_process(turn, folder, utterances, *settings))
            print(f"round {number + 1}, {name}: {found[name][-1]['rtfx']:.1f} × real time, "
                  f"{found[name][-1]['per_cpu_s']:.1f} / CPU s", flush=True)  # fmt: skip
    median = {name: statistics.median(result["rtfx"] for result in results) for name, results in found.items()}
    print(f"\n{torch.get_num_threads()} threads, {found['pipeline, batch 1'][0]['audio_s']:.0f} s of audio, "
          + ", ".join(f"{name} in {found[name][0]['precision']}" for name in ours))  # fmt: skip
    print(
        f"{'':20}{'RTFx':>8}{'/ CPU s':>9}{'peak MB':>9}"
        + (f"{'WER':>7}{'same text as batch 1':>22}" if is_trained else "")
    )
    alone = found["pipeline, batch 1"][0]["texts"]
    for name, results in found.items():
        per_cpu_s = statistics.median(result["per_cpu_s"] for result in results)
        line = f"{name:20}{median[name]:8.1f}{per_cpu_s:9.1f}{max(r['peak_mb'] for r in results):9.0f}"
        if is_trained:
            same = statistics.mean(a == b for a, b in zip(alone, results[0]["texts"], strict=True))
            line += f"{_wer(utterances, results[0]['texts']):7.3f}{same:21.1%}"
        print(line)
    best = max(peers, key=lambda name: median[name])
    for name in ours:
        print(f"{name} / {best}: {median[name] / median[best]:.2f}")


def _long(folder: Path, utterances: list[Utterance], hours: float, scratch: Path) -> None:
    """Transcribe a recording made of clips with pauses of 0.3 to 2 s, and one of a tenth of its length."""
    results = {}
    for length in (hours / 10, hours):
        path = scratch / f"{length}.wav"
        joined: list[Utterance] = []
        rng = np.random.default_rng(1)
        with soundfile.SoundFile(path, "w", audio.SAMPLE_RATE_HZ, 1) as file:
            while file.frames < length * 3600 * audio.SAMPLE_RATE_HZ:
                utterance = utterances[len(joined) % len(utterances)]
                file.write(audio.load(utterance.audio))
                file.write(np.zeros(int(rng.uniform(0.3, 2) * audio.SAMPLE_RATE_HZ), np.float32))
                joined.append(utterance)
        results[length] = (_in_process(_ours, folder, [Utterance(id="long", audio=str(path))]), joined)
    (short, _), (long, joined) = results.values()
    clips = _in_process(_ours, folder, utterances)
    text_of = {u.id: text for u, text in zip(utterances, clips["texts"], strict=True)}
    print(f"{hours:g} h: {long['rtfx']:.1f} × real time, peak {long['peak_mb']:.0f} MB, "
          f"{(long['peak_mb'] - short['peak_mb']) / (0.9 * hours):.1f} MB more per hour")  # fmt: skip
    together = [u.model_copy(update={"text": " ".join(u.text or "" for u in joined)}) for u in joined[:1]]
    print(f"WER {_wer(together, long['texts']):.3f} in one recording, "
          f"{_wer(together, [' '.join(text_of[u.id] for u in joined)]):.3f} clip by clip")  # fmt: skip


def _export(folder: Path, engine: str) -> dict[str, Any]:
    return {"graph": engines.made(ctc_model.CTCModel.load(folder), folder, engine)}


def _in_process(turn: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(turn, arguments)


def _ours(
    folder: Path,
    utterances: list[Utterance],
    engine: str = engines.TORCH,
    precision: Precision | None = None,
) -> dict[str, Any]:
    if engine == engines.TORCH:
        transcriber = Transcriber(Transcriber.from_folder(folder).model, precision=precision)
    else:
        loaded = ctc_model.CTCModel.load(folder)
        transcriber = Transcriber(loaded, engine=engines.load(loaded, folder, engine))
    next(transcriber.transcribe_segments([np.zeros(audio.SAMPLE_RATE_HZ, np.float32)]))
    began, before_s = time.perf_counter(), time.process_time()
    results: list[Any] = list(transcriber.transcribe_segments(utterances))
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - before_s
    audio_s = sum(result.duration_s for result in results)
    texts = [result.text for result in results]
    return _measured(texts, audio_s, elapsed_s, cpu_s) | {"precision": precision or engines.precision(engine, folder)}


def _pipeline(folder: Path, utterances: list[Utterance], batch: int) -> dict[str, Any]:
    """Transcribe as the documentation shows; its input is decoded beforehand, which is in its favour."""
    from transformers import pipeline

    recogniser = pipeline("automatic-speech-recognition", str(folder))
    waveforms = [audio.load(u.audio) for u in utterances]
    recogniser({"raw": np.zeros(audio.SAMPLE_RATE_HZ, np.float32), "sampling_rate": audio.SAMPLE_RATE_HZ})
    inputs: Any = ({"raw": waveform, "sampling_rate": audio.SAMPLE_RATE_HZ} for waveform in waveforms)
    began, before_s = time.perf_counter(), time.process_time()
    texts = [result["text"] for result in recogniser(inputs, batch_size=batch)]
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - before_s
    return _measured(texts, sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ, elapsed_s, cpu_s)


def _onnx_asr(folder: Path, utterances: list[Utterance]) -> dict[str, Any]:
    """Transcribe clip by clip, decoded beforehand as for the pipeline.

    onnx-asr 0.12 has no wav2vec 2.0 model, so a subclass feeds waveforms to the graph; the rest is onnx-asr's own.
    """
    from onnx_asr.asr import _AsrWithCtcDecoding
    from onnx_asr.loader import Manager

    loaded = ctc_model.CTCModel.load(folder)
    graph = engines.load(loaded, folder, "onnx")

    class Wav2Vec2Ctc(_AsrWithCtcDecoding):
        _preprocessor_name = "identity"
        _subsampling_factor = loaded.grid.stride // 160  # of frames of 10 ms
        _vocab_size, _blank_idx = len(loaded.alphabet), BLANK_ID

        def __init__(self, manager: Manager) -> None:
            super().__init__({}, manager._create_preprocessor, manager.default_onnx_config)
            self._vocab = dict(enumerate(["", " ", *loaded.alphabet.units[2:]]))

        @staticmethod
        def _get_model_files(quantization: str | None = None) -> dict[str, str]:
            return {}

        def _encode(self, waveforms: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.stack(graph(list(waveforms))), np.array(
                [loaded.grid.num_frames(int(length)) for length in lengths]
            )

    manager = Manager()
    recogniser = manager._create_asr_adapter(Wav2Vec2Ctc(manager))
    waveforms = [audio.load(u.audio) for u in utterances]
    recogniser.recognize(np.zeros(audio.SAMPLE_RATE_HZ, np.float32))
    began, before_s = time.perf_counter(), time.process_time()
    texts = [recogniser.recognize(waveform) for waveform in waveforms]
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - before_s
    return _measured(texts, sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ, elapsed_s, cpu_s)


def _measured(texts: list[str], audio_s: float, elapsed_s: float, cpu_s: float) -> dict[str, Any]:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    speed = {"rtfx": audio_s / elapsed_s, "per_cpu_s": audio_s / cpu_s}
    return {"texts": texts, "audio_s": audio_s, "peak_mb": peak_mb, **speed}


def _wer(utterances: list[Utterance], texts: list[str]) -> float:
    normalise = ctc_model.Normaliser(Text(), "und")
    return error_rates.rate(
        [
            error_rates.word_errors(normalise(u.text or ""), normalise(t))
            for u, t in zip(utterances, texts, strict=True)
        ]
    )


def _write_base_shape(folder: Path) -> Path:
    """Write a model with random weights and the architecture of wav2vec2-base."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    alphabet = Alphabet.from_texts(["abcdefghijklmnopqrstuvwxyzàáèéìíòóùú"])
    net = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(alphabet))).eval()
    ctc_model.CTCModel(net, alphabet, "und", Text(), normalise_waveform=True).save(folder)
    return folder


if __name__ == "__main__":
    typer.run(main)
