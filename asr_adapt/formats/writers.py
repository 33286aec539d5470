"""Output formats of transcripts."""

import html
import json
import math
import mimetypes
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr_adapt.artifacts import Draft, DraftTier
from asr_adapt.corpora import provenance
from asr_adapt.corpora.provenance import Span
from asr_adapt.corpora.readers import elan
from asr_adapt.corpora.readers import subtitles as subtitle_files
from asr_adapt.errors import printable
from asr_adapt.formats import subtitles
from asr_adapt.formats.intervals import Interval, intervals
from asr_adapt.records import Segment, Transcript

_LEAST_CONFIDENCE = 1e-10
_SRT_SPEAKER = "{}: "


@dataclass(frozen=True)
class Media:
    """The recording of a transcript: its file, and the time in it at which the transcript's times begin."""

    file: Path
    start_s: float = 0.0


def to_txt(transcript: Transcript) -> str:
    """Return the text alone, on one line."""
    return transcript.text + "\n"


def to_json(transcript: Transcript) -> str:
    """Return OpenAI's `verbose_json` shape: text, language, duration, segments and words, times in seconds.

    Clients with a schema require every field of Whisper's segments. Where CTC has no such notion the value is
    neutral: `seek` and `temperature` are 0, `tokens` is empty, `no_speech_prob` is 0 (what is not speech is not in a
    segment). `avg_logprob` is the mean natural logarithm of the words' confidences, `compression_ratio` is Whisper's.
    Segments and words have a `speaker` where each channel is one.
    """
    words = [
        {"word": w.text, "start": round(w.start_s, 3), "end": round(w.end_s, 3), "confidence": round(w.confidence, 4)}
        | _speaker(s)
        for s in transcript.segments
        for w in s.words
    ]
    segments = [
        {
            "id": number,
            "seek": 0,
            "start": round(s.start_s, 3),
            "end": round(s.end_s, 3),
            "text": s.text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": _avg_logprob(s),
            "compression_ratio": _compression_ratio(s.text),
            "no_speech_prob": 0.0,
        }
        | _speaker(s)
        for number, s in enumerate(transcript.segments)
    ]
    fields = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": segments,
        "words": words,
    }
    return json.dumps(fields, ensure_ascii=False, indent=1) + "\n"


def _speaker(segment: Segment) -> dict[str, str]:
    return {"speaker": segment.speaker} if segment.speaker else {}


def _avg_logprob(segment: Segment) -> float:
    logarithms = [math.log(max(word.confidence, _LEAST_CONFIDENCE)) for word in segment.words]
    return round(sum(logarithms) / len(logarithms), 4) if logarithms else 0.0


def _compression_ratio(text: str) -> float:
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 4)


# pysubs2 would write these two as well, but takes the `\n` in a word of X-SAMPA (`r\n`) for the end of a line.
def to_srt(transcript: Transcript) -> str:
    """Return SubRip's subtitles. The format knows no escapes: `<` is written as is."""
    return _subtitles(transcript, ",", _SRT_SPEAKER, str)


def to_vtt(transcript: Transcript) -> str:
    """Return WebVTT subtitles (W3C), with `&`, `<` and `>` as entities."""
    return "WEBVTT\n\n" + _subtitles(transcript, ".", "<v {}>", lambda line: html.escape(line, quote=False))


def to_tsv(transcript: Transcript) -> str:
    """Return Whisper's table: start and end of each segment in milliseconds, and its text."""
    segments = sorted((s for _, of_one in _by_speaker(transcript) for s in of_one), key=lambda s: s.start_ms)
    rows = [f"{segment.start_ms}\t{segment.end_ms}\t{segment.text}\n" for segment in segments]
    return "start\tend\ttext\n" + "".join(rows)


def to_textgrid(transcript: Transcript) -> str:
    """Return a Praat TextGrid: interval tiers `segments` and `words`, of each speaker."""
    from praatio.utilities import textgrid_io

    tiers: dict[str, list[Interval]] = {}
    for speaker, segments in _by_speaker(transcript):
        tiers |= {_tier("segments", speaker): segments, _tier("words", speaker): _words(segments)}
    ends_s = [segment.end_ms / 1000 for tier in tiers.values() for segment in tier]
    end_s = max(0.001, round(transcript.duration_s, 6), *ends_s)
    grid = {
        "xmin": 0,
        "xmax": end_s,
        "tiers": [
            {
                "class": "IntervalTier",
                "name": name,
                "xmin": 0,
                "xmax": end_s,
                "entries": [(interval.start_ms / 1000, interval.end_ms / 1000, interval.text) for interval in tier],
            }
            for name, tier in tiers.items()
        ],
    }
    return textgrid_io.getTextgridAsStr(grid, "long_textgrid", includeBlankSpaces=True)


def to_eaf(
    transcript: Transcript, media: Media | None = None, folder: Path | None = None, draft: Draft | None = None
) -> str:
    """Return an ELAN document: a tier `segments`, and in it a tier `words`, of each speaker.

    Args:
        transcript: Its segments and words become annotations.
        media: The recording that it links, if there is a file of it.
        folder: Where the document will be, so that it finds the recording after both have moved; the working
            folder by default.
        draft: What a model wrote (`draft_of`), kept in the document; None where a person did.
    """
    from pympi import Elan

    eaf = Elan.Eaf(author=elan.AUTHOR)
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    eaf.add_linguistic_type("words-lt", constraints="Included_In")
    for speaker, segments in _by_speaker(transcript):
        tier, below = _tier("segments", speaker), _tier("words", speaker)
        eaf.add_tier(tier, part=speaker)
        eaf.add_tier(below, ling="words-lt", parent=tier, part=speaker)
        for name, found in ((tier, segments), (below, _words(segments))):
            for interval in found:
                eaf.add_annotation(name, interval.start_ms, interval.end_ms, interval.text)
    eaf.remove_tier("default")
    # Documents without a property are drafts of older versions.
    eaf.add_property("lastUsedAnnotationId", str(eaf.maxaid))
    if draft is not None:
        eaf.add_property(provenance.PROPERTY, draft.model_dump_json(exclude_none=True))
    return _eaf_text(eaf, media, folder)


def to_empty_eaf(spans_s: Sequence[tuple[float, float]], tier: str, media: Media, folder: Path) -> str:
    """Return an ELAN document with a tier of empty annotations, for a person or a model to fill.

    Args:
        spans_s: Start and end of each, in seconds of the recording.
        tier: The tier's name.
        media: The recording that it links.
        folder: Where the document will be.
    """
    from pympi import Elan

    eaf = Elan.Eaf(author="")  # nothing in it is a model's
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    eaf.add_tier(tier)
    for start_s, end_s in sorted(spans_s):
        eaf.add_annotation(tier, round(start_s * 1000), round(end_s * 1000), "")
    eaf.remove_tier("default")
    return _eaf_text(eaf, media, folder)


def blank_eaf(media: Media, folder: Path) -> str:
    """Return an ELAN document that links a recording and has no tiers; see `to_empty_eaf`."""
    from pympi import Elan

    eaf = Elan.Eaf(author=elan.AUTHOR)
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    eaf.remove_tier("default")
    return _eaf_text(eaf, media, folder)


def _eaf_text(eaf: Any, media: Media | None, folder: Path | None) -> str:
    """Return an ELAN document that links its recording."""
    from pympi import Elan

    if media is not None:
        file = Path(printable(media.file.resolve()))
        relative = printable(Path(os.path.relpath(media.file.resolve(), (folder or Path()).resolve())).as_posix())
        eaf.add_linked_file(
            f"file://{file.as_posix()}",  # ELAN writes and reads spaces and letters as they are, not as %20
            relpath=relative if relative.startswith("../") else f"./{relative}",
            mimetype="audio/x-wav" if file.suffix == ".wav" else mimetypes.guess_type(file.name)[0] or "unknown",
            time_origin=round(media.start_s * 1000) or None,
        )
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Elan.to_string(eaf) + "\n"


WRITERS: dict[str, Callable[[Transcript], str]] = {
    "txt": to_txt,
    "json": to_json,
    "srt": to_srt,
    "vtt": to_vtt,
    "tsv": to_tsv,
    "textgrid": to_textgrid,
    "eaf": to_eaf,
}


def written(
    transcript: Transcript,
    format: str,
    media: Media | None = None,
    folder: Path | None = None,
    draft: Draft | None = None,
) -> str:
    """Return a transcript in a format of `WRITERS`.

    Args:
        transcript: The transcript.
        format: A name in `WRITERS`.
        media: For formats that link the recording.
        folder: Where the file will be, for the same.
        draft: For formats that keep what a model wrote; see `to_eaf`.
    """
    return to_eaf(transcript, media, folder, draft) if format == "eaf" else WRITERS[format](transcript)


def draft_of(transcript: Transcript, format: str, model: str) -> Draft:
    """Return what a model wrote into a file of this format, as it is read again.

    Args:
        transcript: Its transcript.
        format: A name in `WRITERS`.
        model: Fingerprint of the model.
    """
    if format == "json":  # is read by nothing
        return Draft(model=model)
    if format in ("textgrid", "eaf"):
        return Draft(model=model, tiers={
            _tier("segments", speaker): DraftTier(
                segments=provenance.marks(_spans(segments)),
                words=_tier("words", speaker),
                channel=int(number) if (number := (speaker or "").removeprefix("channel ")).isdecimal() else None,
            )
            for speaker, segments in _by_speaker(transcript)
        })  # fmt: skip
    if format == "txt":
        spans = [Span(0, 0, transcript.text)]
    elif format == "tsv":
        spans = _spans(segment for _, segments in _by_speaker(transcript) for segment in segments)
    else:
        spans = [
            Span(s.start_ms, s.end_ms, " ".join(s.lines) if format == "vtt" else subtitle_files.shown(said))
            for s, speaker in _shown(transcript)
            for said in [_SRT_SPEAKER.format(speaker) * bool(speaker) + " ".join(s.lines)]
        ]
    return Draft(model=model, tiers={"": DraftTier(segments=provenance.marks(spans))})


def _spans(found: Iterable[Interval]) -> list[Span]:
    return [Span(interval.start_ms, interval.end_ms, interval.text) for interval in found]


def _words(segments: list[Interval]) -> list[Interval]:
    return [word for segment in segments for word in segment.words]


def _by_speaker(transcript: Transcript) -> list[tuple[str | None, list[Interval]]]:
    """Return the segments of each speaker; those of different speakers may overlap."""
    speakers = {segment.speaker for segment in transcript.segments} or {None}
    return [
        (
            speaker,
            intervals(replace(transcript, segments=tuple(s for s in transcript.segments if s.speaker == speaker))),
        )
        for speaker in sorted(speakers, key=lambda name: (len(name or ""), name or ""))
    ]


def _tier(name: str, speaker: str | None) -> str:
    return f"{name} {speaker}" if speaker else name


def _subtitles(transcript: Transcript, point: str, voice: str, escape: Callable[[str], str]) -> str:
    return "".join(
        f"{number}\n{_clock(subtitle.start_ms, point)} --> {_clock(subtitle.end_ms, point)}\n"
        + (voice.format(escape(speaker)) if speaker else "")
        + "".join(f"{escape(line)}\n" for line in subtitle.lines)
        + "\n"
        for number, (subtitle, speaker) in enumerate(_shown(transcript), start=1)
    )


def _shown(transcript: Transcript) -> list[tuple[subtitles.Subtitle, str | None]]:
    """Return the subtitles with their speakers, in the order of time."""
    end_ms = math.floor(transcript.duration_s * 1000)
    shown = [
        (subtitle, speaker)
        for speaker, segments in _by_speaker(transcript)
        for subtitle in subtitles.of_words(_words(segments), end_ms)
    ]
    return sorted(shown, key=lambda pair: pair[0].start_ms)


def _clock(time_ms: int, point: str) -> str:
    """Return `HH:MM:SS` and milliseconds after the point."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"
