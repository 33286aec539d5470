"""A new CTC head on a base model."""

import math
import unicodedata
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedConfig

from asr_adapt.artifacts import MODEL_METADATA, ModelMetadata
from asr_adapt.errors import InputError
from asr_adapt.model import adapters, base, encoders
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.encoders import Net
from asr_adapt.recipe import Model, Text
from asr_adapt.text.alphabet import BLANK, BLANK_ID, DELIMITER, DELIMITER_ID, Alphabet

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
    rows: dict[int, tuple[int, ...]] = {
        label: (old,) for label, old in inherited(spec, alphabet, language, resolved).items()
    }
    torch.manual_seed(seed)
    _replace(net, len(alphabet), rows)
    _set_dropout(net.config, spec.dropout, net)
    lora = adapters.add_lora(net, spec.adapter_size) if spec.adapter == "lora" else None
    return CTCModel(net, alphabet, language, text, normalises, lora)


def from_phones(
    spec: Model,
    alphabet: Alphabet,
    phones: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    language: str,
    text: Text,
) -> CTCModel:
    """Return a base model that writes phones with a head that writes letters, not trained (arXiv:2604.18204).

    A letter's row is the mean of its phones' rows. Letters that share their phones share their probability too, in
    proportion to how often each is written. A letter without phones, and the word delimiter where the base has none,
    may be any of the phones: its row is the mean of all that letters have.

    Args:
        spec: The base model, one with `phone_units`.
        alphabet: Letters and digraphs.
        phones: The base's units for each.
        counts: Of each unit in text.
        language: BCP-47 tag.
        text: The normaliser's rules.

    Raises:
        InputError: the base model cannot be loaded, or does not write phones.
    """
    resolved = base.resolve(spec, language)
    known = phone_units(spec, language, resolved)
    net, normalises = base.load(spec, 0, language, resolved)
    rows: dict[int, tuple[int, ...]] = {BLANK_ID: (known[BLANK],)}
    if DELIMITER in known:
        rows[DELIMITER_ID] = (known[DELIMITER],)
    sharing: dict[tuple[int, ...], list[int]] = {}
    for label, unit in enumerate(alphabet.units[2:], 2):
        if phones.get(unit):
            rows[label] = tuple(known[phone] for phone in phones[unit])
            sharing.setdefault(rows[label], []).append(label)
    if not sharing:
        raise InputError("no letter stands for a phone", place="--letters", remedy="Give a table of letters and IPA.")
    every = tuple(sorted({row for known_rows in sharing for row in known_rows}))
    unknown = [label for label in range(len(alphabet)) if label not in rows]
    head = _replace(net, len(alphabet), rows | dict.fromkeys(unknown, every))
    with torch.no_grad():
        for members in (*sharing.values(), *([label] for label in unknown)):
            smoothed = [counts.get(alphabet.units[label], 0) + 0.5 for label in members]
            whole = sum(smoothed) if members[0] in rows else sum(counts.values()) + len(alphabet)
            for label, count in zip(members, smoothed, strict=True):
                head.bias[label] += math.log(count / whole)
    _set_dropout(net.config, spec.dropout, net)
    return CTCModel(net.eval(), alphabet, language, text, normalises)


def phone_units(spec: Model, language: str, resolved: base.ResolvedBase | None = None) -> dict[str, int]:
    """Return the units that a base model writes, `{unit: label}`, with the blank as `<pad>`.

    Those of a model of this package, of an MMS adapter, or of a checkpoint whose vocabulary is one language's, such
    as facebook/wav2vec2-xlsr-53-espeak-cv-ft, which writes the phones of many.

    Raises:
        InputError: it writes nothing yet: it was pre-trained only.
    """
    resolved = resolved or base.resolve(spec, language)
    found = _recorded_units(spec, language, resolved) or base.vocabulary(spec)
    blank = resolved.config.pad_token_id
    special = {token for token in found if len(token) > 2 and token[0] in "<[" and token[-1] in ">]"}
    units = {unit: label for unit, label in found.items() if unit not in special}
    if len(units) < 2 or blank is None:
        raise InputError(
            f"'{spec.base}' writes no letters or phones: it was pre-trained without labels",
            place="model.base",
            remedy="`embedded` writes phones; so does facebook/wav2vec2-xlsr-53-espeak-cv-ft.",
        )
    return {BLANK: blank, **units}


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
    are nearly phonemic, so that letters and the phones of the embedded base models have much in common.
    """
    old = _recorded_units(spec, language, resolved)
    found = {}
    for label, unit in enumerate(alphabet.units):
        bare = unicodedata.normalize("NFD", unit)[0]
        known = next((name for name in (unit, bare, _IPA.get(bare)) if name in old), None)
        if known is not None:
            found[label] = old[known]
    return found


def _recorded_units(spec: Model, language: str, resolved: base.ResolvedBase | None) -> dict[str, int]:
    """Return the labels of a base model that this package trained, or of an MMS adapter; empty for others."""
    folder = base.folder(spec)
    if folder is not None and (folder / MODEL_METADATA).is_file():
        return {unit: label for label, unit in enumerate(ModelMetadata.read(folder).alphabet)}
    _, vocabulary = (resolved or base.resolve(spec, language)).adapter or ("", {})
    return vocabulary


def _replace(net: Net, labels: int, rows: Mapping[int, Sequence[int]]) -> torch.nn.Linear:
    """Give a model a new head, whose rows are the means of old ones, or random where `rows` has none."""
    # A head of the same size must not be taken over unchanged: its rows are other letters.
    head = torch.nn.Linear(net.lm_head.in_features, labels)
    torch.nn.init.normal_(head.weight, std=net.config.initializer_range)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        for label, old in rows.items():
            head.weight[label] = net.lm_head.weight[list(old)].mean(dim=0)
            head.bias[label] = net.lm_head.bias[list(old)].mean()
    net.lm_head = head
    absent = encoders.of(net).no_token
    net.config.update(
        {"vocab_size": labels, "pad_token_id": BLANK_ID, "bos_token_id": absent, "eos_token_id": absent}
    )
    return head


def _set_dropout(config: PreTrainedConfig, dropout: float, net: Net) -> None:
    """Give the transformer one dropout, and no layer drop; the checkpoint's own values are its pre-training's."""
    for name in ("hidden", "attention", "activation", "feat_proj", "final", "conformer_conv"):
        if hasattr(config, f"{name}_dropout"):
            setattr(config, f"{name}_dropout", dropout)
    config.layerdrop = 0.0
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        if isinstance(getattr(module, "dropout", None), float | int):  # attention keeps its dropout as a number
            module.dropout = dropout  # type: ignore[assignment]
