"""The languages that a base model was trained on, as its own files say."""

from pathlib import Path

from asr_adapt.artifacts import MODEL_METADATA, ModelMetadata
from asr_adapt.model import base
from asr_adapt.recipe import Model
from asr_adapt.storage import decode_text

_NO_LANGUAGE = {"mul", "multilingual", "und", "zxx"}


def languages(spec: Model) -> tuple[str, ...]:
    """Return the tags of a base model's languages: `language` of its model card, and that of its asr_adapt.json.

    Empty where neither says any: a card's `multilingual` names none. Nothing is fetched.
    """
    found: list[str] = []
    folder = base.folder(spec)
    if folder is not None and (folder / MODEL_METADATA).is_file():
        found.append(ModelMetadata.read(folder).language)
    card = _card(spec, folder)
    if card is not None:
        from huggingface_hub import ModelCard

        try:
            fields = ModelCard(decode_text(card.read_bytes(), card), ignore_metadata_errors=True).data.to_dict()
            said = fields.get("language")
        except Exception:  # yaml's and huggingface_hub's errors of a card that people wrote: it says nothing then
            said = None
        found += [said] if isinstance(said, str) else list(said or ())
    return tuple(dict.fromkeys(str(tag) for tag in found if str(tag) not in _NO_LANGUAGE))


def _card(spec: Model, folder: Path | None) -> Path | None:
    if folder is not None:
        return folder / "README.md" if (folder / "README.md").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(spec.base, "README.md", revision=spec.revision)
    return Path(cached) if isinstance(cached, str) else None
