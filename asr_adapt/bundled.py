"""Data that ships with the package: the demo corpus and the base models."""

from pathlib import Path
from typing import Literal

BASES: dict[str, Literal["base", "base_small"]] = {"embedded": "base", "embedded-small": "base_small"}
"""name of a base model in a recipe -> folder of `folder`"""


def folder(name: Literal["demo", "base", "base_small"]) -> Path:
    """Return the folder of bundled data: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "data" / name
    return installed if installed.is_dir() else package.parent / "data" / name
