"""Evaluations of transcripts that tests make up: what `evaluate` leaves in a folder, without a model that ran."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import soundfile
from conftest import RATE_HZ, say

from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.inference.decoding import Decoding
from asr_adapt.recipe import Text
from asr_adapt.records import Transcript, Utterance
from asr_adapt.stages.evaluate import evaluate
from asr_adapt.text.normaliser import Normaliser


def evaluation(
    folder: Path,
    pairs: Sequence[tuple[str, str]],
    language: str = "mdw",
    speakers: Sequence[str | None] = ("anna", "berta"),
    excluded: dict[str, int] | None = None,
    rules: Text = Text(),  # noqa: B008 (frozen)
) -> Path:
    """Write an evaluation of `(reference, hypothesis)` pairs, each with a clip of tones; return its folder."""
    (folder / "model").mkdir(parents=True)
    utterances = []
    for number, (text, _) in enumerate(pairs):
        clip = folder / f"{speakers[number % len(speakers)]}-{number}.wav"
        waveform = say("abc" * (10 + number % 3), number)
        soundfile.write(clip, waveform, RATE_HZ)
        utterances.append(
            Utterance(
                id=clip.name,
                audio=str(clip),
                duration_s=len(waveform) / RATE_HZ,
                split="test",
                language=language,
                speaker=speakers[number % len(speakers)],
                text=text,
            )
        )
    read = [Transcript(text, language, u.duration_s or 0, ()) for u, (_, text) in zip(utterances, pairs, strict=True)]
    transcriber = SimpleNamespace(
        model=SimpleNamespace(normaliser=Normaliser(rules, language)),
        decoding=Decoding(),
        calibration=None,
        transcribe_segments=lambda recordings: iter(read),
    )
    speech = SpeechSplit.on_disk("test", utterances, transcriber.model.normaliser)
    evaluate(transcriber, speech, folder, Console(quiet=True), excluded)  # type: ignore[arg-type]
    card = {
        "format_version": 1,
        "asr_adapt": "0.1.0",
        "language": language,
        "alphabet": ["<pad>", "|", *"abcde"],
        "normaliser": rules.model_dump(),
        "decoding": {"method": "greedy"},
    }
    (folder / "model" / "asr_adapt.json").write_text(json.dumps(card), encoding="utf-8")
    return folder
