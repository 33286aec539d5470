"""unlabelled: a language's recordings without transcripts become segments of speech, prepared for self-training."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from asr_adapt import audio
from asr_adapt.artifacts import UnlabelledSummary
from asr_adapt.audio import vad
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.elsewhere import content_digests
from asr_adapt.corpora.trained_on import Clips, TrainedOn, clip_row
from asr_adapt.errors import AudioError, InputError, printable
from asr_adapt.inference import recordings
from asr_adapt.inference.recordings import Input
from asr_adapt.recipe import Recipe, fingerprint
from asr_adapt.records import SPLITS, Exclusion, Utterance, counted, describe_duration

SHORTEST_S = 0.5
"""of a segment; a shorter one is a word at most"""
_IN_CORPUS = "in_corpus"
_HELD_SAMPLES = round(vad.LIMIT_S * audio.SAMPLE_RATE_HZ)  # of a recording, so that it can be looked for as a whole


def find(source: Path) -> list[Input]:
    """Return the recordings of `train.unlabelled`.

    Raises:
        InputError: there are none, or one is not on this machine.
    """
    try:
        found = list(recordings.find([str(source)]))
    except InputError as error:
        raise InputError(error.problem, place="train.unlabelled", remedy=f"Look at {printable(source)}.") from error
    return found


def digests_of(found: list[Input]) -> dict[str, str | None]:
    """Return a digest of the content of each recording's file, by locator."""
    return content_digests({_locator(item) for item in found})


def cut(
    recipe: Recipe,
    digests: Mapping[str, str | None],
    folder: Path,
    known: Mapping[str, str | None],
    inputs: str,
    console: Console,
) -> UnlabelledSummary:
    """Write the segments of speech in `train.unlabelled` as a part of prepared data, unless that is done.

    Recordings are cut at their pauses as `transcribe` cuts them. What is in the corpus is left out: its train split
    has a transcript already, and dev and test must not be heard.

    Args:
        recipe: Names them; `corpus.copy_audio` says whether to keep decoded copies.
        digests: Of `digests_of`.
        folder: A run's `data/`, with its splits.
        known: Digests of the corpus's files, by locator.
        inputs: Fingerprint of the prepared splits.
        console: Where to report.

    Raises:
        InputError: no speech is left.
    """
    path, source = folder / "unlabelled.json", recipe.train.unlabelled
    inputs = fingerprint(inputs, sorted(map(str, digests.items())), recipe.corpus.copy_audio)
    if path.exists() and prepared.path_of(folder, "unlabelled").exists():
        kept = UnlabelledSummary.read_file(path, "Delete it; the recordings are cut again.")
        if kept.inputs == inputs:
            return kept
    assert source is not None
    found = find(source)
    in_corpus = TrainedOn.of([prepared.load(folder, split) for split in SPLITS], Console(quiet=True), known)
    # As clips that chose the best step, those of dev would be apart.
    clips = Clips(in_corpus.rows)
    excluded: list[Exclusion] = []
    seconds = 0.0

    def rows() -> Iterator[tuple[Utterance, str, np.ndarray]]:
        nonlocal seconds
        with console.progress("find speech", total=len(found)) as bar:
            for item in bar.over(iter(found)):
                whole = Utterance(id=item.name, audio=_locator(item), language=recipe.language)
                try:
                    for segment, waveform in _segments(item, whole, clips, digests[whole.audio], excluded):
                        seconds += len(waveform) / audio.SAMPLE_RATE_HZ
                        yield segment, "", waveform
                except AudioError as error:
                    excluded.append(Exclusion.of(whole, "unreadable_audio", error.problem))

    written = prepared.write(folder, "unlabelled", rows(), None if recipe.corpus.copy_audio else digests)
    reasons = Counter(exclusion.reason for exclusion in excluded)
    summary = UnlabelledSummary(
        inputs=inputs,
        recordings=len(found),
        segments=written.utterances,
        hours=seconds / 3600,
        excluded=tuple(excluded),
    )
    console.say(
        f"unlabelled: {counted(len(found), 'recording')}, {counted(written.utterances, 'segment')} of speech, "
        f"{describe_duration(seconds)}"
    )
    for reason, count in reasons.items():
        first = next(exclusion for exclusion in excluded if exclusion.reason == reason)
        console.warn(f"unlabelled: left out {reason} × {count:,}, the first {printable(first.id)} ({first.detail})")
    if not written.utterances:
        raise InputError(
            f"no speech is left in {counted(len(found), 'recording')}",
            place="train.unlabelled",
            remedy="Give recordings of the language that are not in the corpus.",
        )
    summary.write_file(path)
    return summary


def _locator(item: Input) -> str:
    if isinstance(item.recording, Utterance):
        return item.recording.audio
    return str(item.recording.resolve() if isinstance(item.recording, Path) else item.recording)


def _segments(
    item: Input, whole: Utterance, clips: Clips, digest: str | None, excluded: list[Exclusion]
) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Yield the segments of a recording that are not in the corpus, with times in its file."""
    opened = item.opened()
    if isinstance(opened, AudioError):
        raise opened
    offset_s = (opened.start_s or 0.0) if isinstance(opened, Utterance) else 0.0
    blocks = (
        audio.blocks(opened.audio, start_s=opened.start_s, end_s=opened.end_s)
        if isinstance(opened, Utterance)
        else audio.blocks(opened)
    )
    held: list[np.ndarray] = []
    samples = 0

    def listened() -> Iterator[np.ndarray]:
        nonlocal samples
        for block in blocks:
            samples += len(block)
            if samples <= _HELD_SAMPLES:
                held.append(block)
            yield block

    def unheard(first: int, waveform: np.ndarray) -> Iterator[tuple[Utterance, np.ndarray]]:
        start_s = offset_s + first / audio.SAMPLE_RATE_HZ
        segment = _between(whole, start_s, start_s + len(waveform) / audio.SAMPLE_RATE_HZ)
        if how := clips.find(clip_row(segment, waveform, digest)):
            excluded.append(Exclusion.of(segment, _IN_CORPUS, how))
        elif len(waveform) < SHORTEST_S * audio.SAMPLE_RATE_HZ:
            excluded.append(Exclusion.of(segment, "too_short", f"{len(waveform) / audio.SAMPLE_RATE_HZ:.2f} s"))
        else:
            yield segment, waveform

    waiting: list[tuple[int, np.ndarray]] = []
    for found in vad.segments(listened()):
        waiting.append(found)
        if samples > _HELD_SAMPLES:
            for each in waiting:
                yield from unheard(*each)
            waiting = []
    if held and samples <= _HELD_SAMPLES:
        bounds = _between(whole, offset_s, offset_s + samples / audio.SAMPLE_RATE_HZ)
        if how := clips.find(clip_row(bounds, np.concatenate(held), digest)):
            excluded.append(Exclusion.of(whole, _IN_CORPUS, how))
            return
    for each in waiting:
        yield from unheard(*each)


def _between(whole: Utterance, start_s: float, end_s: float) -> Utterance:
    times = {"start_s": start_s, "end_s": end_s, "duration_s": end_s - start_s}
    return whole.model_copy(update={"id": f"{whole.id}#t={start_s:.2f},{end_s:.2f}", **times})
