"""The n-gram that lies beside a model."""

from pathlib import Path

from asr_adapt.artifacts import DIGESTS, DecodingConfig, ModelMetadata, NGramWeights, check_model
from asr_adapt.errors import InputError
from asr_adapt.model import ctc_model
from asr_adapt.storage import write_text

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


def write(folder: Path, arpa: str, weights: NGramWeights) -> None:
    """Write an n-gram into a model folder, which is decoded with it from then on."""
    metadata = ModelMetadata.read(folder)
    had_digests = check_model(folder)
    (folder / DIGESTS).unlink(missing_ok=True)  # killed from here on, the model loads as one that never had any
    write_text(folder / _NGRAM, arpa)
    decoding = DecodingConfig(method="beam search", weights=weights)
    metadata.model_copy(update={"decoding": decoding}).write(folder)
    if had_digests:
        ctc_model.seal(folder)
