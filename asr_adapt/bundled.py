"""What comes with the package: the demo corpus and the base model."""

from pathlib import Path
from typing import Literal


def folder(name: Literal["demo", "base"]) -> Path:
    """Return the folder of an embedded thing: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "data" / name
    return inside if inside.is_dir() else package.parent / "data" / name
