"""Recordings beside their transcripts."""

from pathlib import Path

SUFFIXES = (
    ".wav",
    ".flac",
    ".mp3",
    ".ogg",
    ".opus",
    ".m4a",
    ".mp4",
    ".webm",
    ".amr",
    ".3gp",
    ".aif",
    ".aiff",
    ".aac",
)


def is_audio(path: Path) -> bool:
    """Whether a file's name is a recording's."""
    return path.suffix.lower() in SUFFIXES


def beside(path: Path) -> Path:
    """Return the recording of the same stem in the same folder; `STEM.wav` where there is none."""
    for suffix in SUFFIXES:
        for shape in (suffix, suffix.upper()):
            if (found := path.with_suffix(shape)).is_file():
                return found
    return path.with_suffix(".wav")
