"""Recordings beside their transcripts."""

from pathlib import Path

# The one list of what a recording's name ends with. Of one recording in several formats the first is taken: what is
# sought without decoding goes first, video last.
# fmt: off
SUFFIXES = (
    ".wav", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".mp3", ".ogg", ".oga",
    ".opus", ".spx", ".m4a", ".m4b", ".aac", ".wv", ".mp2", ".mka", ".weba", ".amr", ".awb", ".wma", ".mp4", ".m4v",
    ".mov", ".webm", ".mkv", ".3gp", ".3g2", ".ogv", ".avi", ".wmv", ".mpg", ".mpeg", ".mts", ".flv",
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
