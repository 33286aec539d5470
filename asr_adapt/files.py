"""Files that are there whole or not at all."""

import hashlib
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file; killed at any moment, `path` holds either all of it or what it held before."""
    # A long name and the suffix of a temporary one may not fit a file system's 255 bytes; a hash does.
    partial = path.parent / f".{hashlib.sha1(path.name.encode()).hexdigest()[:16]}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def printable(path: Path | str) -> str:
    """Return a path as text that UTF-8 can hold, whatever bytes the file's name is made of."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")
