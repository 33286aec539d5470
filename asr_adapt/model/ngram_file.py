"""The n-gram beside a model."""

from contextlib import ExitStack
from pathlib import Path

from asr_adapt.artifacts import (
    DIGESTS,
    MODEL_METADATA,
    Calibration,
    DecodingConfig,
    ModelMetadata,
    NGramWeights,
    check_model,
)
from asr_adapt.errors import InputError
from asr_adapt.model import ctc_model
from asr_adapt.storage import atomic_file, unwritable_as_error

_NGRAM = "lm.arpa"


def read(folder: Path) -> tuple[Path, NGramWeights] | None:
    """Return the n-gram that a model folder decodes with, and its weights; None where it decodes greedily.

    Raises:
        InputError: the folder is not a model, or its n-gram is missing or is not the one that was written.
    """
    weights = ModelMetadata.read(folder).decoding.weights
    if weights is None:
        return None
    path = folder / _NGRAM
    if not path.is_file():
        raise InputError(
            "the model's n-gram is missing", place=path, remedy="Copy it, or estimate it with `asr-adapt lm`."
        )
    check_model(folder, (_NGRAM,))
    return path, weights


def write(folder: Path, arpa: str, weights: NGramWeights, calibration: Calibration | None = None) -> None:
    """Write an n-gram into a model folder, which is decoded with it from then on.

    Args:
        folder: The model's.
        arpa: The n-gram.
        weights: Its part in beam search.
        calibration: Of the confidence of words that are decoded with it; None leaves it uncalibrated.

    Raises:
        InputError: the folder is not a model, or cannot be written; it is then as it was.
    """
    metadata = ModelMetadata.read(folder)
    had_digests = check_model(folder)
    decoding = DecodingConfig(method="beam search", weights=weights)
    calibrations = metadata.calibrations.model_copy(update={"with_ngram": calibration})
    changed = metadata.model_copy(update={"decoding": decoding, "calibrations": calibrations})
    texts = {_NGRAM: arpa, MODEL_METADATA: changed.file_text()}
    with unwritable_as_error(folder, "Make room, or copy the model to where you may write."):
        with ExitStack() as partials:  # all are written before the first takes its place
            for name, text in texts.items():
                partials.enter_context(atomic_file(folder / name)).write_text(text, encoding="utf-8")
            (folder / DIGESTS).unlink(missing_ok=True)  # killed from here on, the model loads as one without digests
        if had_digests:
            ctc_model.seal(folder)
