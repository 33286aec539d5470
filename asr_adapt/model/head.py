"""A new CTC head on a base model."""

import unicodedata

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asr_adapt.artifacts import MODEL_METADATA, ModelMetadata
from asr_adapt.errors import InputError
from asr_adapt.model import adapters, base
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Text
from asr_adapt.text.alphabet import BLANK, BLANK_ID, DELIMITER, Alphabet

_NEVER = -1e4  # a logit that no other is below


_IPA = {"g": "ɡ", "ε": "ɛ"}  # letters that look like the IPA's and are other code points


def create(
    spec: Model,
    alphabet: Alphabet,
    language: str,
    text: Text,
    seed: int,
    resolved: base.ResolvedBase | None = None,
) -> CTCModel:
    """Return the base model with a head for `alphabet`, not yet trained.

    Units that the base writes already start from its own rows of the head (see `inherited`), the others at random.

    Raises:
        InputError: the base model cannot be loaded (see `base.configuration`).
    """
    resolved = resolved or base.resolve(spec, language)
    net, normalises = base.load(spec, seed, language, resolved)
    torch.manual_seed(seed)
    # A head of the same size must not be taken over unchanged: its rows are other letters.
    head = torch.nn.Linear(net.lm_head.in_features, len(alphabet))
    torch.nn.init.normal_(head.weight, std=net.config.initializer_range)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        for label, old_label in inherited(spec, alphabet, language, resolved).items():
            head.weight[label] = net.lm_head.weight[old_label]
            head.bias[label] = net.lm_head.bias[old_label]
    net.lm_head = head
    net.config.update(
        {"vocab_size": len(alphabet), "pad_token_id": BLANK_ID, "bos_token_id": None, "eos_token_id": None}
    )
    _set_dropout(net.config, spec.dropout, net)
    lora = adapters.add_lora(net, spec.adapter_size) if spec.adapter == "lora" else None
    return CTCModel(net, alphabet, language, text, normalises, lora)


def zero_shot(spec: Model, language: str) -> CTCModel:
    """Return an MMS checkpoint as it is for a language, with the language's own adapter and head: not trained here.

    Of its special tokens the blank alone is kept; it writes no others.

    Raises:
        InputError: the base model has no adapters by language, or none for this one.
    """
    whose = base.adapter(spec, language)
    if whose is None:
        raise InputError(
            f"'{spec.base}' has no adapters by language", place="model.base", remedy="facebook/mms-1b-all has."
        )
    _, vocabulary = whose
    letters = [token for token in sorted(vocabulary, key=lambda token: vocabulary[token])
               if token != DELIMITER and not (len(token) > 2 and token[0] == "<" and token[-1] == ">")]  # fmt: skip
    alphabet = Alphabet((BLANK, DELIMITER, *letters))
    made = create(spec, alphabet, language, Text(), seed=0)
    with torch.no_grad():  # a vocabulary without the word delimiter, of a script without spaces: never written
        for label in {*range(len(alphabet))} - inherited(spec, alphabet, language).keys():
            made.net.lm_head.bias[label] = _NEVER
    made.net.eval()
    return made


def inherited(
    spec: Model, alphabet: Alphabet, language: str, resolved: base.ResolvedBase | None = None
) -> dict[int, int]:
    """Return which labels of a new head start from which of the base's: `{label: the base's label}`.

    A base trained by this package records its labels, and MMS does for each language. The same unit is taken
    over, and a letter with marks (`á`) starts from the letter without (`a`). Orthographies of the last hundred years
    are nearly phonemic, so that letters and the phones of the embedded base model have much in common.
    """
    folder = base.folder(spec)
    if folder is not None and (folder / MODEL_METADATA).is_file():
        old = {unit: label for label, unit in enumerate(ModelMetadata.read(folder).alphabet)}
    else:
        _, old = (resolved or base.resolve(spec, language)).adapter or ("", {})
    found = {}
    for label, unit in enumerate(alphabet.units):
        bare = unicodedata.normalize("NFD", unit)[0]
        known = next((name for name in (unit, bare, _IPA.get(bare)) if name in old), None)
        if known is not None:
            found[label] = old[known]
    return found


def _set_dropout(config: Wav2Vec2Config, dropout: float, net: Wav2Vec2ForCTC) -> None:
    """Give the transformer one dropout, and no layer drop; the checkpoint's own values are its pre-training's."""
    for name in ("hidden", "attention", "activation", "feat_proj", "final"):
        setattr(config, f"{name}_dropout", dropout)
    config.layerdrop = 0.0
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        if isinstance(getattr(module, "dropout", None), float):  # attention keeps its dropout as a number
            module.dropout = dropout  # type: ignore[assignment]
