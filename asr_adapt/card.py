"""What a model's folder says of itself: `asr_adapt.json`."""

import json
from pathlib import Path
from typing import Any

from asr_adapt import __version__
from asr_adapt.errors import InputError
from asr_adapt.recipe import Text
from asr_adapt.text import Normaliser

FILE = "asr_adapt.json"
FORMAT_VERSION = 1


def read(folder: Path) -> dict[str, Any]:
    """Return `format_version`, `asr_adapt` (its version), `language`, `alphabet`, `normaliser` and `decoding`.

    Raises:
        InputError: the folder is no model, of a newer format, or damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"no model of asr-adapt is here: {FILE} is missing",
            place=folder,
            remedy="Give a run's model/ folder.",
        )
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        newer, _ = card["format_version"] > FORMAT_VERSION, card["alphabet"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"damaged ({error!r})", place=path, remedy="Copy the model again.") from error
    if newer:
        raise InputError(
            f"format {card['format_version']}, but this is asr-adapt {__version__}, which reads {FORMAT_VERSION}",
            place=path,
            remedy=f"Install asr-adapt {card.get('asr_adapt', 'of a newer version')} or newer.",
        )
    return card


def normaliser(folder: Path) -> Normaliser:
    """Return the normaliser of a model's folder; the model itself is not loaded.

    Raises:
        InputError: the folder is no model, of a newer format, or damaged.
    """
    card = read(folder)
    try:
        return Normaliser(Text.model_validate(card["normaliser"]), card["language"])
    except (ValueError, KeyError) as error:
        raise InputError(f"damaged ({error!r})", place=folder / FILE, remedy="Copy the model again.") from error
