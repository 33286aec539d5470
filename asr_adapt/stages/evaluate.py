"""evaluate: the word error rate of a model on speech that it never saw, with its interval."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from asr_adapt.artifacts import Metrics
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Utterance, write_jsonl
from asr_adapt.scoring import error_rates
from asr_adapt.scoring.error_rates import Errors
from asr_adapt.storage import make_folder

_WORST = 10


def evaluate(
    transcriber: Transcriber,
    speech: SpeechSplit,
    out: Path,
    console: Console,
    excluded: dict[str, int] | None = None,
) -> Metrics:
    """Transcribe a split, score it, and write `metrics.json` and `hypotheses.jsonl` into `out`.

    Both sides are compared after the model's own normaliser; `hypotheses.jsonl` keeps the corpus's text unchanged.

    Args:
        transcriber: The model at work.
        speech: The split, with references that went through the model's normaliser.
        out: Where the two files go; made if it is not there.
        console: Where to report.
        excluded: Reason → count of utterances that were left out before; what cannot be read here is added.

    Raises:
        InputError: nothing could be read, there is no reference text, or `out` cannot be made.
    """
    make_folder(out, "Give another --out.")
    split, normalise = speech.name, transcriber.model.normaliser
    done: list[Utterance] = []
    words: list[Errors] = []
    characters: list[Errors] = []
    said_and_read: list[tuple[str, str]] = []
    left_out = dict(excluded or {})
    audio_s = 0.0
    began = time.perf_counter()
    with console.progress(f"evaluate {split}", total=len(speech)) as progress:
        results = transcriber.transcribe_all(speech.recordings())
        for index, result in enumerate(progress.over(results)):
            utterance = speech.utterances[index]
            if isinstance(result, InputError):
                left_out["unreadable_audio"] = left_out.get("unreadable_audio", 0) + 1
                console.warn(f"left out of {split}: {utterance.id} ({result.problem})")
                continue
            done.append(
                utterance.model_copy(update={"hypothesis": result.text, "duration_s": round(result.duration_s, 4)})
            )
            audio_s += result.duration_s
            reference, hypothesis = speech.references[index], normalise(result.text)
            words.append(error_rates.word_errors(reference, hypothesis))
            characters.append(error_rates.character_errors(reference, hypothesis))
            said_and_read.append((reference, hypothesis))
    elapsed_s = time.perf_counter() - began
    if not done:
        raise InputError(f"no utterance of the {split} split could be read", remedy="Look at the audio files.")

    pooled = error_rates.pool(words)
    metrics = Metrics(
        split=split,
        utterances=len(done),
        words=pooled.reference_length,
        audio_s=round(audio_s, 2),
        wer=error_rates.rate(words),
        wer_ci95=error_rates.rate_interval(words),
        cer=error_rates.rate(characters),
        cer_ci95=error_rates.rate_interval(characters),
        substitutions=pooled.substitutions,
        deletions=pooled.deletions,
        insertions=pooled.insertions,
        excluded=left_out,
        normaliser=normalise.describe(),
        decoding=transcriber.decoding,
        transcribe_rtfx=round(audio_s / elapsed_s, 2),
    )
    write_jsonl(out / "hypotheses.jsonl", done)
    metrics.write(out)
    _show_worst(done, words, normalise, console)
    show(metrics, console)
    console.say(
        f"{split} CER {error_rates.cer_without_marks(said_and_read):.3f} without tone marks and other diacritics"
    )
    return metrics


def show(metrics: Metrics, console: Console) -> None:
    """Print the rates with their intervals."""
    for name, value, (low, high) in (
        ("WER", metrics.wer, metrics.wer_ci95),
        ("CER", metrics.cer, metrics.cer_ci95),
    ):
        console.say(f"{metrics.split} {name} {value:.3f}  (95 % interval {low:.3f} to {high:.3f})")
    console.say(
        f"{metrics.utterances:,} utterances, {metrics.words:,} words, {metrics.audio_s / 60:.1f} min; "
        f"{metrics.substitutions} substituted, {metrics.deletions} deleted, {metrics.insertions} inserted; "
        f"{metrics.describe_speed()}× real time"
    )
    for reason, count in metrics.excluded.items():
        console.warn(f"{count} utterances are not in these figures: {reason}")


def _show_worst(
    done: Iterable[Utterance], words: Sequence[Errors], normalise: Callable[[str], str], console: Console
) -> None:
    """Print the utterances with the most word errors, aligned word by word."""
    ranked = sorted(zip(words, done, strict=True), key=lambda pair: -pair[0].total)
    worst = [(errors, utterance) for errors, utterance in ranked[:_WORST] if errors.total]
    if worst:
        console.say(f"the {len(worst)} utterances with the most word errors:")
    for errors, utterance in worst:
        lines = error_rates.aligned(normalise(utterance.text or ""), normalise(utterance.hypothesis or ""))
        console.say(f"\n  {utterance.id}: {errors.total} errors in {errors.reference_length} words")
        for name, line in zip(("said", "read", ""), lines, strict=True):
            console.say(f"    {name:5}{line}")
    if worst:
        console.say("")
