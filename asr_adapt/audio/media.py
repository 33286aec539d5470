"""Recordings beside their transcripts."""

from pathlib import Path

# Of one recording in several formats the first is taken: what is sought without decoding goes first.
# fmt: off
SUFFIXES = (
    ".wav", ".flac", ".aif", ".aiff", ".au", ".caf", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4", ".mov",
    ".webm", ".weba", ".mka", ".mkv", ".amr", ".awb", ".3gp", ".wma",
)
# fmt: on


def is_audio(path: Path) -> bool:
    """Whether a file's name is a recording's."""
    return path.suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file's or folder's name is one that `visible` leaves out."""
    return name.startswith(".") or name == "__MACOSX"


def visible(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Return what matches a pattern in a folder, sorted, but nothing hidden, below the folder itself.

    Left out as hidden: names that begin with a dot, such as the `._NAME` that macOS puts beside each file on other
    disks, and `__MACOSX`, where its archives keep those.
    """
    return sorted(path for path in folder.glob(pattern) if not any(map(is_hidden, path.relative_to(folder).parts)))


def beside(path: Path) -> Path:
    """Return the recording of the same stem in the same folder; `STEM.wav` where there is none."""
    for suffix in SUFFIXES:
        for shape in (suffix, suffix.upper()):
            if (found := path.with_suffix(shape)).is_file():
                return found
    return path.with_suffix(".wav")
