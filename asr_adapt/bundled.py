"""Data that ships with the package: the demo corpus and the base model."""

from pathlib import Path
from typing import Literal


def folder(name: Literal["demo", "base"]) -> Path:
    """Return the folder of bundled data: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "data" / name
    return installed if installed.is_dir() else package.parent / "data" / name
