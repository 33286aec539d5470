"""Evaluations that tests write by hand: what `evaluate` leaves in a folder, without a model that ran."""

import json
from collections.abc import Sequence
from pathlib import Path

import soundfile
from conftest import RATE_HZ, say

from asr_adapt import findings, score
from asr_adapt.metrics import Metrics
from asr_adapt.recipe import Text
from asr_adapt.text import Normaliser
from asr_adapt.utterance import Utterance, write_jsonl


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
    for number, (text, hypothesis) in enumerate(pairs):
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
                hypothesis=hypothesis,
            )
        )
    write_jsonl(folder / "hypotheses.jsonl", utterances)
    normalise = Normaliser(rules, language)
    judged = findings.judge(utterances, normalise)
    words, letters = [one.word_errors for one in judged], [one.letter_errors for one in judged]
    pooled = score.pool(words)
    Metrics(
        split="test",
        utterances=len(judged),
        words=pooled.reference_length,
        audio_s=sum(u.duration_s or 0 for u in utterances),
        wer=score.rate(words),
        wer_ci95=score.rate_interval(words),
        cer=score.rate(letters),
        cer_ci95=score.rate_interval(letters),
        substitutions=pooled.substitutions,
        deletions=pooled.deletions,
        insertions=pooled.insertions,
        excluded=excluded or {},
        normaliser=normalise.describe(),
        decoding="greedy",
        transcribe_rtfx=100.0,
    ).write(folder)
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
