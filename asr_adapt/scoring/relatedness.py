"""How related languages are, by URIEL+ (Khan et al. 2025), where the extra `uriel` is installed."""

import functools
import logging
from collections.abc import Iterable
from typing import Any


def problem() -> str | None:
    """Return why nothing is known, and what helps; None where URIEL+ is there."""
    return _knowledge()[1]


def nearest(language: str, others: Iterable[str]) -> tuple[str, float] | None:
    """Return the language that is nearest in the family tree, and its distance: 0 for the same, 1 for no relative.

    Genetic distance alone: of sounds and of grammar URIEL+ knows nothing for many small languages.

    Args:
        language: BCP-47 tag.
        others: BCP-47 tags, or ISO 639 codes.

    Returns:
        None where URIEL+ cannot be used, or does not know the language or any of the others.
    """
    known, _ = _knowledge()
    if known is None:
        return None
    found = []
    for other in others:
        codes = [_code(language), _code(other)]
        if codes[0] is not None and codes[0] == codes[1]:
            found.append((0.0, other))
        elif None not in codes:
            try:
                found.append((float(known.new_genetic_distance(codes)), other))
            except ValueError:  # a language that it does not know, or of whose family it knows nothing
                continue
    if not found:
        return None
    distance, name = min(found)
    return name, distance


@functools.cache
def _knowledge() -> tuple[Any, str | None]:
    """Return URIEL+'s database, which takes seconds to load, or None and why."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        from urielplus.urielplus import URIELPlus

        logging.disable(logging.INFO)
        return URIELPlus(), None
    except ImportError:
        return None, "pip install 'asr-adapt[uriel]'"
    except OSError as error:  # at its first use it copies its database into the folder that it is installed in
        return None, f"URIEL+ cannot write its database ({error}): use it once as who may write there"
    finally:  # its import sets up logging for the whole process
        logging.disable(logging.NOTSET)
        root.handlers[:], root.level = handlers, level


def _code(tag: str) -> str | None:
    """Return the ISO 639-3 code of a tag; None where there is none."""
    import langcodes

    try:
        return langcodes.Language.get(tag).to_alpha3()
    except (LookupError, ValueError):
        return None
