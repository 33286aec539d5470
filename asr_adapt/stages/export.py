"""export: the engines that can run a model instead of PyTorch, and how each does on dev."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from asr_adapt.artifacts import EngineMeasurement
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.inference import engines
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.records import describe_duration
from asr_adapt.scoring import error_rates

_ROUNDS = 8  # in which the engines take turns: what else a machine does then meets them alike


def export(folder: Path, names: Sequence[str], dev: SpeechSplit | None, console: Console) -> None:
    """Make engines beside a model, and measure them on dev, by which `auto` then chooses.

    Args:
        folder: The model's.
        names: Of `engines.NAMES`.
        dev: Where it is None, nothing is measured.
        console: Where to report.

    Raises:
        InputError: an engine cannot be made or run here, or nothing of dev can be read.
    """
    model = CTCModel.load(folder)
    others = [name for name in names if name != engines.TORCH]
    for name in others:
        graph = engines.made(model, folder, name)
        size = sum(path.stat().st_size for path in graph.parent.iterdir())
        console.say(f"{name}: {graph} ({size / 1e6:.0f} MB)")
    if dev is None:
        console.say("not measured: --check or --corpus does, and --engine auto then chooses by it")
        return
    precision = mixed_precision.fastest(torch.device("cpu"))  # not what an earlier measurement was in
    found = _measure(folder, others, precision, dev, console)
    place = engines.keep_measured(folder, found, precision)
    console.say(f"{place}: --engine auto takes {engines.resolved(folder, engines.AUTO)}")


def _measure(
    folder: Path, others: Sequence[str], precision: Precision, dev: SpeechSplit, console: Console
) -> dict[str, EngineMeasurement]:
    """Let PyTorch and the others read dev in turns, show their rates, and return them."""
    usual = Transcriber.from_folder(folder, device="cpu", precision=precision)
    model = usual.model
    readers = {engines.TORCH: usual} | {
        name: Transcriber(model, search=usual.search, engine=engines.load(model, folder, name, precision))
        for name in others
    }
    texts: dict[str, list[str | None]] = {name: [] for name in readers}
    elapsed_s = dict.fromkeys(readers, 0.0)
    audio_s = 0.0
    for reader in readers.values():  # the first time takes longer
        next(reader.transcribe_segments([dev.recording(0)]))
    with console.progress("read dev", total=_ROUNDS) as bar:
        for first in bar.over(range(_ROUNDS)):
            for name, reader in readers.items():
                began = time.perf_counter()
                # Every eighth clip: a corpus is often in the order of its lengths or speakers.
                recordings = (dev.recording(i) for i in range(first, len(dev.references), _ROUNDS))
                results = list(reader.transcribe_segments(recordings))
                elapsed_s[name] += time.perf_counter() - began
                texts[name] += [None if isinstance(result, InputError) else result.text for result in results]
            audio_s += sum(result.duration_s for result in results if not isinstance(result, InputError))
    references = [dev.references[i] for first in range(_ROUNDS) for i in range(first, len(dev.references), _ROUNDS)]
    rates = {name: _rates(model, references, read) for name, read in texts.items()}
    found = {name: EngineMeasurement(wer=wer, rtfx=audio_s / elapsed_s[name]) for name, (wer, _) in rates.items()}
    console.table(
        f"{len(references)} clips of dev, {describe_duration(audio_s)}, decoding: {usual.decoding.describe()}",
        ("engine", "WER", "CER", "RTFx"),
        [(name, *(f"{rate:.4f}" for rate in rates[name]), f"{of.rtfx:.1f}") for name, of in found.items()],
    )
    return found


def _rates(model: CTCModel, references: Sequence[str], read: Sequence[str | None]) -> tuple[float, float]:
    """Return WER and CER of what could be read."""
    pairs = [
        (model.normaliser(reference), model.normaliser(text))
        for reference, text in zip(references, read, strict=True)
        if text is not None
    ]
    if not pairs:
        raise InputError("no utterance of the dev split could be read", remedy="Look at the audio files.")
    return error_rates.rates(pairs)
