"""What a transcript looks like as a file."""

import json
from collections.abc import Callable

from asr_adapt.transcript import Transcript


def to_txt(transcript: Transcript) -> str:
    """Return the text alone, on one line."""
    return transcript.text + "\n"


def to_json(transcript: Transcript) -> str:
    """Return OpenAI's `verbose_json` shape: text, language, duration, segments and words, times in seconds."""
    words = [
        {"word": w.text, "start": round(w.start_s, 3), "end": round(w.end_s, 3), "confidence": round(w.confidence, 4)}
        for w in transcript.words
    ]
    segments = [
        {"id": number, "start": round(s.start_s, 3), "end": round(s.end_s, 3), "text": s.text}
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


WRITERS: dict[str, Callable[[Transcript], str]] = {"txt": to_txt, "json": to_json}
