"""evaluate: the error rates of a model on speech that it was not trained on, with their intervals."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_adapt import processes
from asr_adapt.artifacts import CONTAMINATION, Contamination, Metrics, SampleRates
from asr_adapt.console import Console
from asr_adapt.corpora import trained_on
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.inference import shared
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Transcript, describe_duration, write_jsonl
from asr_adapt.scoring import confidence, error_rates, verdict
from asr_adapt.scoring.confidence import Outcome
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.scoring.evaluation import HYPOTHESES, Evaluation
from asr_adapt.storage import make_folder, unwritable_as_error

_WORST = 10
_SAMPLE_UTTERANCES, _SAMPLE_S = 100, 120.0


def evaluate(
    transcriber: Transcriber,
    speech: SpeechSplit,
    out: Path,
    console: Console,
    excluded: dict[str, int] | None = None,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Transcribe a split, score it, and write `metrics.json` and `hypotheses.jsonl` into `out`.

    Both sides are compared after the model's own normaliser; `hypotheses.jsonl` keeps the corpus's text unchanged. Of
    several processes each must call this and transcribes its share; the first scores and writes.

    Args:
        transcriber: The model to score.
        speech: The split, with references that went through the model's normaliser.
        out: Folder of the two files; created if missing.
        console: Where to report.
        excluded: Reason → count of utterances that were excluded before; undecodable ones are added here.
        contamination: Which utterances of the split the model was trained on, for `contamination.json`; `speech` has
            none of those that are left out.

    Raises:
        InputError: no utterance could be decoded or none has a reference, or `out` cannot be written.
    """
    processes.from_leader(lambda: make_folder(out, "Give another --out."))
    started = time.perf_counter()
    with console.progress(f"evaluate {speech.name}", total=len(processes.share(len(speech)))) as progress:
        results = shared.transcripts(transcriber, speech, progress.over)
    elapsed_s = time.perf_counter() - started
    return processes.from_leader(
        lambda: _score(transcriber, speech, results, elapsed_s, out, console, excluded or {}, contamination)
    )


def _score(
    transcriber: Transcriber,
    speech: SpeechSplit,
    results: Sequence[Transcript | InputError],
    elapsed_s: float,
    out: Path,
    console: Console,
    excluded: Mapping[str, int],
    contamination: Contamination | None,
) -> Evaluation:
    split, normalise = speech.name, transcriber.model.normaliser
    scored: list[ScoredUtterance] = []
    outcomes: list[Outcome] = []
    all_excluded = dict(excluded)
    if contamination and contamination.left_out:
        all_excluded[trained_on.REASON] = len(contamination.left_out)
    audio_s = 0.0
    for utterance, reference, result in zip(speech.utterances, speech.references, results, strict=True):
        if isinstance(result, InputError):
            all_excluded["unreadable_audio"] = all_excluded.get("unreadable_audio", 0) + 1
            console.warn(f"excluded from {split}: {utterance.id} ({result.problem})")
            continue
        audio_s += result.duration_s
        fields = {"hypothesis": result.text, "duration_s": round(result.duration_s, 4)}
        hypothesis = normalise(result.text)
        scored.append(ScoredUtterance.of(utterance.model_copy(update=fields), reference, hypothesis))
        outcomes += confidence.outcomes(reference, [(word.text, word.confidence) for word in result.words])
    if not scored:
        raise InputError(f"no utterance of the {split} split could be decoded", remedy="Check the audio files.")

    words, characters = [one.word_errors for one in scored], [one.character_errors for one in scored]
    pooled = error_rates.pool(words)
    metrics = Metrics(
        split=split,
        utterances=len(scored),
        words=pooled.reference_length,
        audio_s=round(audio_s, 2),
        wer=error_rates.rate(words),
        wer_ci95=error_rates.rate_interval(words),
        cer=error_rates.rate(characters),
        cer_ci95=error_rates.rate_interval(characters),
        substitutions=pooled.substitutions,
        deletions=pooled.deletions,
        insertions=pooled.insertions,
        excluded=all_excluded,
        normaliser=normalise.describe(),
        decoding=transcriber.decoding.describe(),
        transcribe_rtfx=round(audio_s / elapsed_s, 2),
        trained_on=sum(one.utterance.id in contamination.scored for one in scored) if contamination else 0,
    )
    with unwritable_as_error(out, "Make room, or give another --out."):
        try:
            write_jsonl(out / HYPOTHESES, [one.utterance for one in scored])
            (out / CONTAMINATION).unlink(missing_ok=True)
            if contamination is not None:
                contamination.write(out)
            metrics.write(out)
        except OSError:  # hypotheses without their metrics are no evaluation
            for name in (HYPOTHESES, CONTAMINATION, "metrics.json"):
                (out / name).unlink(missing_ok=True)
            raise
    _show_worst(scored, console)
    show(metrics, console)
    without_marks = error_rates.cer_without_marks((one.reference, one.hypothesis) for one in scored)
    console.say(f"{split} CER {without_marks:.3f} without tone marks and other diacritics")
    found = confidence.reliability(outcomes, calibrated=transcriber.calibration is not None)
    if found is not None:
        kind = "calibrated" if found.calibrated else "not calibrated"
        console.say(f"word confidence, {kind}: expected calibration error {found.expected_calibration_error:.3f} on "
                    f"{found.words:,} words")  # fmt: skip
    return Evaluation(metrics, scored, found)


def rates_on_sample(transcriber: Transcriber, speech: SpeechSplit, console: Console) -> SampleRates:
    """Return the error rates on at most 100 utterances or about 2 minutes of a prepared split, evenly spaced.

    Those of train, beside those of test, tell overfitting from a model that has not learned its own examples. Every
    process must call this: each transcribes its share.

    Raises:
        InputError: no utterance of the sample has a reference text.
    """
    mean_s = float(speech.durations_s.mean())
    sample = speech.evenly(max(1, min(_SAMPLE_UTTERANCES, int(_SAMPLE_S / max(mean_s, 0.1)))))
    pairs = []
    with console.progress(f"evaluate a sample of {speech.name}", total=len(processes.share(len(sample)))) as progress:
        results = shared.transcripts(transcriber, sample, progress.over)
    for reference, result in zip(sample.references, results, strict=True):
        assert isinstance(result, Transcript), result  # these waveforms were decoded before
        pairs.append((reference, transcriber.model.normaliser(result.text)))
    wer, cer = error_rates.rates(pairs)
    console.say(f"{speech.name} WER {wer:.3f}, CER {cer:.3f} on a sample of {len(pairs)} utterances")
    return SampleRates(utterances=len(pairs), wer=wer, cer=cer)


def show(metrics: Metrics, console: Console) -> None:
    """Print the error rates, with their intervals where the test set is large enough for them."""
    little = verdict.too_little(metrics.utterances, metrics.audio_s)
    for name, value, (low, high) in (
        ("WER", metrics.wer, metrics.wer_ci95),
        ("CER", metrics.cer, metrics.cer_ci95),
    ):
        known = little or f"95 % interval {low:.3f} to {high:.3f}"
        trained = metrics.headline.removeprefix(metrics.split)
        console.say(f"{metrics.split} {name} {value:.3f}{trained}  ({known})")
    console.say(
        f"{metrics.utterances:,} utterances, {metrics.words:,} words, {describe_duration(metrics.audio_s)}; "
        f"{metrics.substitutions} substitutions, {metrics.deletions} deletions, {metrics.insertions} insertions; "
        f"{metrics.describe_speed()}× real time"
    )
    for reason, count in metrics.excluded.items():
        console.warn(f"{count} utterances are excluded from these error rates: {reason}")


def _show_worst(scored: Sequence[ScoredUtterance], console: Console) -> None:
    """Print the utterances with the most word errors, aligned word by word."""
    ranked = sorted(scored, key=lambda one: -one.word_errors.total)
    worst = [one for one in ranked[:_WORST] if one.word_errors.total]
    if worst:
        console.say(f"the {len(worst)} utterances with the most word errors:")
    for one in worst:
        errors = one.word_errors
        console.say(f"\n  {one.utterance.id}: {errors.total} errors in {errors.reference_length} words")
        for name, line in zip(("ref", "hyp", ""), error_rates.format_alignment(one.words), strict=True):
            console.say(f"    {name:5}{line}")
    if worst:
        console.say("")
