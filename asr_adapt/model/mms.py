"""MMS checkpoints such as facebook/mms-1b-all: an adapter, a head and a vocabulary for each of many languages.

Pratap et al. 2023, arXiv:2305.13516. The weights in the checkpoint itself are English's, for any language
(and "work surprisingly well for French", transformers#24223): the language is determined here, or refused.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2AttnAdapterLayer
from transformers.utils import cached_file

from asr_adapt.errors import InputError
from asr_adapt.model import adapters
from asr_adapt.model.encoders import Net
from asr_adapt.storage import read_json

NONE = "none"
Vocabulary = dict[str, int]
_FAR = 50  # of langcodes' distances, 0 to 134: what is nearer is a member, a relative, or widely understood


def vocabularies(source: str, revision: str | None) -> dict[str, Vocabulary]:
    """Return the checkpoint's languages with the vocabulary of each; empty where it is one language's model.

    Args:
        source: A folder, or a name on the Hub.
        revision: Hub revision.

    Raises:
        InputError: the vocabulary is missing or damaged.
    """
    place = f"{source}/vocab.json"
    try:
        path = cached_file(source, "vocab.json", revision=revision or "main")
    except OSError as error:
        raise InputError(
            "the model has adapter layers, and does not say of which language: its vocabulary is missing",
            place=place,
            remedy=f"Fetch it, or start from new layers: --model.adapter_language {NONE}.",
        ) from error
    fields = read_json(Path(str(path)), "Fetch it again.")
    if not isinstance(fields, dict):
        raise InputError("damaged: not a vocabulary", place=place, remedy="Fetch it again.")
    return {tag: _checked(tag, tokens, place) for tag, tokens in fields.items() if isinstance(tokens, dict)}


def _checked(tag: str, tokens: dict, place: str) -> Vocabulary:
    """Return one language's vocabulary, which numbers its tokens from 0."""
    labels = list(tokens.values())
    if not labels or not all(isinstance(label, int) and 0 <= label < 2 * len(labels) + 100 for label in labels):
        raise InputError(
            f"damaged: the vocabulary of '{tag}' does not number its tokens", place=place, remedy="Fetch it again."
        )
    return tokens


def chosen(language: str, named: str | None, known: Iterable[str], source: str) -> str:
    """Return the checkpoint's name of a language: the one that is named, else the recipe's (`mi` is `mri` there).

    Nothing is guessed: a member of a macrolanguage (`swh` for `sw`), or one of two scripts, has to be named.

    Raises:
        InputError: the checkpoint has no such language; the error lists those near it.
    """
    tags = sorted(known)
    candidates = (named,) if named else (language, _alpha3(language))
    for tag in candidates:
        if tag in tags:
            return tag
    near = _near(candidates[0], tags)
    listed = f"Near it are {', '.join(near)}" if near else f"It has {len(tags):,} others"
    raise InputError(
        f"'{source}' has no adapter for the language '{candidates[0]}'",
        place="model.adapter_language",
        remedy=f"{listed}: name one to start from it, or {NONE} to start without.",
    )


def load(net: Net, tag: str, vocabulary: Vocabulary, *, pickled_weights: bool, revision: str | None) -> None:
    """Put a language's adapter and head into `net`, in place.

    Raises:
        InputError: they cannot be loaded, are another model's, or the head is not the vocabulary's.
    """
    place = f"{net.config._name_or_path}/adapter.{tag}.safetensors"
    try:
        net.load_adapter(tag, use_safetensors=not pickled_weights or None, revision=revision or "main")
    except Exception as error:  # OSError, ValueError, safetensors' own, and torch's for shapes
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the adapter of '{tag}' cannot be loaded ({first_line})", place=place, remedy="Fetch it again."
        ) from error
    rows = max(vocabulary.values()) + 1
    if net.lm_head.out_features != rows:
        raise InputError(
            f"the head writes {net.lm_head.out_features} labels, the vocabulary of '{tag}' has {rows}",
            place=place,
            remedy="One of the two is another language's: fetch both again.",
        )


def start_without(net: Net) -> None:
    """Replace a checkpoint's adapters, in place, by new ones that add nothing yet.

    Not by transformers' `init_adapter_layers`, which leaves weights that were loaded as they are (5.23).
    """
    for module in net.modules():
        if isinstance(module, Wav2Vec2AttnAdapterLayer):
            module.norm.reset_parameters()
            module.linear_1.reset_parameters()
    adapters.silence(net)


def _alpha3(language: str) -> str:
    """Return the ISO 639-3 code of a BCP-47 tag; the tag itself where it has none."""
    import langcodes

    try:
        return langcodes.Language.get(language, normalize=False).to_alpha3()
    except (LookupError, ValueError):
        return language


def _near(language: str, tags: list[str]) -> list[str]:
    """Return tags of the nearest languages by CLDR (members of a macrolanguage first), then those spelt alike."""
    import langcodes

    distances: dict[str, int] = {}
    for tag in tags:
        try:
            distances[tag] = langcodes.tag_distance(language, tag.partition("-")[0])
        except ValueError:  # no tag of BCP-47
            continue
    close = sorted((tag for tag in distances if distances[tag] < _FAR), key=lambda tag: distances[tag])[:5]
    spelt = difflib.get_close_matches(language, tags, n=3) + difflib.get_close_matches(_alpha3(language), tags, n=3)
    return list(dict.fromkeys(close + spelt))[:6]
