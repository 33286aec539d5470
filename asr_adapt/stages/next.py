"""next: which stretches of speech to transcribe next, as a list with times and as .eaf files to fill."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_adapt import audio
from asr_adapt.audio import media, vad
from asr_adapt.console import Console
from asr_adapt.errors import AudioError, InputError, printable
from asr_adapt.formats import writers
from asr_adapt.inference.recordings import Input
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Segment, Transcript, Utterance, describe_duration
from asr_adapt.scoring import confidence, selection
from asr_adapt.scoring.error_rates import SPACE
from asr_adapt.scoring.selection import Candidate, Chosen
from asr_adapt.storage import make_folder, unwritable_as_error, write_text

_TOUCHED = 0.5  # share of a stretch that is transcribed, from which on it is left out
_UNSURE = 0.6  # confidence below which it is named as a reason


@dataclass(frozen=True)
class Stretch:
    """Speech without a transcript, and what the model writes there."""

    recording: Path
    start_s: float
    end_s: float
    draft: str
    confidence: float


@dataclass(frozen=True)
class Speech:
    """What a folder holds: stretches without a transcript, and what is known."""

    stretches: Sequence[Stretch]
    transcribed_s: Mapping[Path, float]
    """recording without its suffix → seconds of it that have a transcript, as far as its ends are known"""
    failed: int = 0
    """recordings that could not be read; each was named"""


@dataclass(frozen=True)
class Proposal:
    """A stretch to transcribe, and why."""

    stretch: Stretch
    chosen: Chosen
    reasons: tuple[str, ...]


def survey(
    transcriber: Transcriber, inputs: Iterable[Input], transcribed: Sequence[Utterance], console: Console
) -> Speech:
    """Return the speech in recordings that no transcript covers, cut at pauses, as the model reads it.

    Args:
        transcriber: The model.
        inputs: Recordings; those that a clip's transcript covers wholly are not opened. Of one in several formats,
            such as a video and its sound, one is taken (`media.beside`).
        transcribed: Utterances with a text.
        console: Where to report.
    """
    spans: dict[Path, list[tuple[float, float | None]]] = defaultdict(list)
    for utterance in transcribed:
        spans[_key(Path(utterance.audio))].append((utterance.start_s or 0.0, utterance.end_s))
    recordings = [item.recording for item in inputs if isinstance(item.recording, Path)]
    open_recordings = [
        path
        for path in recordings
        if (path == media.beside(path) or len(recordings) == 1)
        and not any(start_s == 0 and end_s is None for start_s, end_s in spans[_key(path)])
    ]
    stretches: list[Stretch] = []
    failed = 0
    with console.progress("find speech", total=len(open_recordings)) as progress:
        for recording in progress.over(open_recordings):
            try:
                cut = [s for s in _cut(recording) if _share(s, spans[_key(recording)]) < _TOUCHED]
            except AudioError as error:
                failed += 1
                console.error(str(error))
            else:
                stretches += cut
    with console.progress("draft", total=len(stretches)) as progress:
        drafts = progress.over(transcriber.transcribe_segments(map(_utterance, stretches)))
        read = [_drafted(*pair) for pair in zip(stretches, drafts, strict=True)]
    transcribed_s = {
        path: sum(end_s - start_s for start_s, end_s in found if end_s is not None) for path, found in spans.items()
    }
    return Speech(read, transcribed_s, failed)


def propose(speech: Speech, budget_s: float, known_texts: Sequence[str], transcriber: Transcriber) -> list[Proposal]:
    """Return the stretches to transcribe within a time, the most useful first.

    Args:
        speech: Of `survey`.
        budget_s: Seconds of speech to choose.
        known_texts: Normalised transcripts that there are.
        transcriber: The model that drafted the stretches.
    """
    # Where recordings are clips of a sentence each, they tell no voices apart.
    are_voices = len(speech.stretches) > 2 * len({s.recording for s in speech.stretches})
    found = [
        Candidate(
            s.end_s - s.start_s,
            transcriber.model.normaliser(s.draft),
            s.confidence,
            str(_key(s.recording)) if are_voices else None,
        )
        for s in speech.stretches
    ]
    known_s = {str(path): seconds for path, seconds in speech.transcribed_s.items()}
    chosen = selection.choose(found, budget_s, known_texts, known_s)
    return [
        Proposal(speech.stretches[one.index], one, tuple(_reasons(found[one.index], one, known_s))) for one in chosen
    ]


def show(proposals: Sequence[Proposal], console: Console) -> None:
    """Print the list, the most useful first."""
    console.table(
        "to transcribe next, the most useful first",
        ("recording", "from", "to", "why", "draft"),
        [
            (p.stretch.recording.name, _clock(p.stretch.start_s), _clock(p.stretch.end_s), "; ".join(p.reasons),
             p.stretch.draft)
            for p in proposals
        ],
        is_result=True,
    )  # fmt: skip


def write(proposals: Sequence[Proposal], out: Path, tier: str) -> list[Path]:
    """Write `next.json`, and for each recording an .eaf with empty annotations; return the .eaf files.

    Args:
        proposals: Of `propose`.
        out: The folder; created if missing.
        tier: The tier of the annotations.

    Raises:
        InputError: an .eaf already exists, two recordings have one name, or the folder cannot be written.
    """
    spans_s: dict[Path, list[tuple[float, float]]] = defaultdict(list)
    for proposal in proposals:
        spans_s[proposal.stretch.recording].append((proposal.stretch.start_s, proposal.stretch.end_s))
    places: dict[Path, Path] = {}
    for recording in spans_s:
        place = out / f"{recording.stem}.eaf"
        if place in places:
            raise InputError(
                f"both {places[place].name} and {recording.name} would become {printable(place.name)}",
                place="--out",
                remedy="Rename one of the recordings.",
            )
        if place.exists():
            raise InputError("already exists", place=place, remedy="Give another --out; nothing is written over.")
        places[place] = recording
    make_folder(out, "Give another --out.")
    with unwritable_as_error(out, "Make room, or give another --out."):
        for place, recording in places.items():
            write_text(place, writers.to_empty_eaf(spans_s[recording], tier, writers.Media(recording), out))
        write_text(
            out / "next.json", json.dumps([_fields(p) for p in proposals], ensure_ascii=False, indent=1) + "\n"
        )
    return list(places)


def _fields(proposal: Proposal) -> dict[str, object]:
    one = proposal.stretch
    return {
        "recording": printable(one.recording),
        "start_s": round(one.start_s, 3),
        "end_s": round(one.end_s, 3),
        "confidence": round(one.confidence, 4),
        "gain_per_s": round(proposal.chosen.gain_per_s, 4),
        "reasons": list(proposal.reasons),
        "draft": one.draft,
    }


def _key(recording: Path) -> Path:
    """Return what the formats of one recording have in common."""
    return recording.resolve().with_suffix("")


def _cut(recording: Path) -> Iterator[Stretch]:
    """Yield the stretches of speech between the pauses of a recording, without drafts.

    Raises:
        AudioError: it cannot be read.
    """
    for first_sample, waveform in vad.segments(audio.blocks(recording)):
        end_s = (first_sample + len(waveform)) / audio.SAMPLE_RATE_HZ
        # Whole milliseconds, which is what annotations have.
        yield Stretch(recording, round(first_sample / audio.SAMPLE_RATE_HZ, 3), round(end_s, 3), "", 0.0)


def _utterance(stretch: Stretch) -> Utterance:
    audio_file = str(stretch.recording)
    return Utterance(id=audio_file, audio=audio_file, start_s=stretch.start_s, end_s=stretch.end_s)


def _drafted(stretch: Stretch, result: Transcript | InputError) -> Stretch:
    if isinstance(result, InputError):  # it was read a moment ago
        raise result
    return replace(stretch, draft=result.text, confidence=_confidence(result.segments))


def _share(stretch: Stretch, covered: Sequence[tuple[float, float | None]]) -> float:
    """Return the share of a stretch that lies in transcribed spans."""
    overlap_s = sum(
        max(0.0, min(stretch.end_s, stretch.end_s if end_s is None else end_s) - max(stretch.start_s, start_s))
        for start_s, end_s in covered
    )
    return overlap_s / (stretch.end_s - stretch.start_s)


def _confidence(segments: Sequence[Segment]) -> float:
    return confidence.of_text(word for segment in segments for word in segment.words) or 0.0


def _reasons(candidate: Candidate, chosen: Chosen, known_s: Mapping[str, float]) -> Iterator[str]:
    if chosen.rare:
        yield f"rare: {' '.join(gram.replace(' ', SPACE) for gram in chosen.rare)}"
    if candidate.draft and candidate.confidence < _UNSURE:
        yield f"confidence {candidate.confidence:.2f}"
    if candidate.voice is not None:
        seconds = known_s.get(candidate.voice, 0.0)
        yield f"{describe_duration(seconds)} of this recording transcribed" if seconds else "a new recording"
    yield f"{len(candidate.draft) / candidate.duration_s:.1f} letters a second"


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"
