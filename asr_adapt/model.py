"""The model: load a base checkpoint, put the CTC head on it, say what is frozen, run it, save and load it."""

import copy
import json
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from asr_adapt import __version__, adapters, base, card
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.ctc import FrameGrid, Weights
from asr_adapt.errors import InputError
from asr_adapt.files import write_whole
from asr_adapt.precisions import Precision
from asr_adapt.recipe import Model, Text
from asr_adapt.text import BLANK, BLANK_ID, DELIMITER, Alphabet, Normaliser

_NGRAM = "lm.arpa"
_NEVER = -1e4  # a logit that no other is below
_GREEDY = {"method": "greedy"}
_IPA = {"g": "ɡ", "ε": "ɛ"}  # letters that look like the IPA's and are other code points


@dataclass(frozen=True)
class CTCModel:
    """Wav2Vec 2.0 with a CTC head (Baevski et al. 2020, arXiv:2006.11477) and what is needed to use it."""

    net: Wav2Vec2ForCTC
    alphabet: Alphabet
    language: str
    text: Text
    normalise_waveform: bool
    """whether the base model wants each clip at zero mean and unit variance"""
    lora: Any = None
    """peft's wrapper of `net`, while low-rank additions are trained"""

    @property
    def normaliser(self) -> Normaliser:
        """The normaliser that its training transcripts went through."""
        return Normaliser(self.text, self.language)

    @property
    def grid(self) -> FrameGrid:
        """Where its frames lie."""
        return base.frame_grid(self.net.config)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next (0.02 for wav2vec 2.0)."""
        return self.grid.stride / SAMPLE_RATE_HZ

    @property
    def shortest_clip(self) -> int:
        """Samples that the feature encoder needs for one frame."""
        return self.grid.receptive_field

    def save(self, folder: Path) -> None:
        """Write the model in `save_pretrained`'s format, which `transformers.pipeline` loads as it is.

        `folder` holds the whole new model, or still the old one.
        """
        partial = folder.with_name(folder.name + ".partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        with base.quiet():
            self.net.save_pretrained(partial)
        _processor(self.alphabet, self.net.config, self.normalise_waveform, partial).save_pretrained(partial)
        about = {
            "format_version": card.FORMAT_VERSION,
            "asr_adapt": __version__,
            "language": self.language,
            "alphabet": self.alphabet.units,
            "normaliser": self.text.model_dump(mode="json"),
            "decoding": _GREEDY,
        }
        (partial / card.FILE).write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors writes for its owner alone, and a server is somebody else
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    def save_adapter(self, folder: Path) -> None:
        """Write what was trained beside the base model: peft's format for LoRA, MMS's for its layers."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.lora is not None:
            self.lora.save_pretrained(folder, save_embedding_layers=False)  # there are none; it would look for them
        else:
            adapters.save_mms(self.net, self.language, folder)

    def merged(self) -> "CTCModel":
        """Return the model with LoRA's additions inside its matrices; MMS's layers are a part of it as they are."""
        if self.lora is None:
            return self
        return replace(self, net=copy.deepcopy(self.lora).merge_and_unload(), lora=None)

    @classmethod
    def load(cls, folder: Path) -> "CTCModel":
        """Load what `save` wrote, in evaluation mode and float32.

        Raises:
            InputError: the folder is no model of this package, of a newer format, or damaged.
        """
        about = card.read(folder)
        net = base.from_pretrained(folder, pickled_weights=False)
        try:
            settings = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
            model = cls(
                net=net.eval(),
                alphabet=Alphabet(tuple(about["alphabet"])),
                language=about["language"],
                text=Text.model_validate(about["normaliser"]),
                normalise_waveform=settings["feature_extractor"]["do_normalize"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"damaged ({error!r})", place=folder, remedy="Copy the model again.") from error
        if len(model.alphabet) != net.config.vocab_size:
            raise InputError(
                f"the alphabet has {len(model.alphabet)} units, the head {net.config.vocab_size}",
                place=folder / card.FILE,
                remedy="Copy the model again.",
            )
        return model


def create(spec: Model, alphabet: Alphabet, language: str, text: Text, seed: int) -> CTCModel:
    """Return the base model with a head for `alphabet`, not yet trained.

    Units that the base writes already start from its own rows of the head (see `inherited`), the others at random.

    Raises:
        InputError: the base model cannot be loaded (see `base.configuration`).
    """
    net, normalises = base.load(spec, seed, language)
    torch.manual_seed(seed)
    # A head of the same size must not be taken over as it is: its rows are other letters.
    head = torch.nn.Linear(net.lm_head.in_features, len(alphabet))
    torch.nn.init.normal_(head.weight, std=net.config.initializer_range)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        for label, old_label in inherited(spec, alphabet, language).items():
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
    with torch.no_grad():  # a vocabulary without the word delimiter, of a writing without spaces: never heard
        for label in {*range(len(alphabet))} - inherited(spec, alphabet, language).keys():
            made.net.lm_head.bias[label] = _NEVER
    made.net.eval()
    return made


def inherited(spec: Model, alphabet: Alphabet, language: str) -> dict[int, int]:
    """Return which labels of a new head start from which of the base's: `{label: the base's label}`.

    A base that this package trained says what its labels are, and MMS does for each language. The same unit is taken
    over, and a letter with marks (`á`) starts from the letter without (`a`). Orthographies of the last hundred years
    are nearly phonemic, so that letters and the phones of the embedded base model have much in common.
    """
    folder = base.folder(spec)
    if folder is not None and (folder / card.FILE).is_file():
        old = {unit: label for label, unit in enumerate(card.read(folder)["alphabet"])}
    else:
        _, old = base.adapter(spec, language) or ("", {})
    found = {}
    for label, unit in enumerate(alphabet.units):
        bare = unicodedata.normalize("NFD", unit)[0]
        known = next((name for name in (unit, bare, _IPA.get(bare)) if name in old), None)
        if known is not None:
            found[label] = old[known]
    return found


def freeze(net: Wav2Vec2ForCTC, policy: str, adapter: str = "none") -> None:
    """Set `requires_grad` by a policy's name.

    Args:
        net: The model, changed in place.
        policy: `feature_encoder` (its convolutions stay; transformer and head are trained), `all_but_head`, or
            `nothing`.
        adapter: Where it is not `none`, nothing but the adapter and the head is trained.
    """
    net.requires_grad_(True)
    if policy == "feature_encoder":
        net.wav2vec2.feature_extractor.requires_grad_(False)
    elif policy == "all_but_head":
        net.wav2vec2.requires_grad_(False)
    elif policy != "nothing":
        raise ValueError(f"no freezing policy '{policy}'")
    if adapter != "none":
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(adapters.belongs(name, adapter))


def trainable_table(net: Wav2Vec2ForCTC) -> list[tuple[str, int, int]]:
    """Return `(part, parameters, of which trained)`, from the waveform up to the head."""
    parts: dict[str, Any] = {
        "feature encoder": net.wav2vec2.feature_extractor,
        "feature projection": net.wav2vec2.feature_projection,
        "transformer": net.wav2vec2.encoder,
        "head": net.lm_head,
    }
    return [
        (
            name,
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in parts.items()
    ]


def normalised(waveform: torch.Tensor) -> torch.Tensor:
    """Return a clip (float32 (num_samples,)) at zero mean and unit variance, as transformers' feature extractor."""
    return (waveform - waveform.mean()) / torch.sqrt(waveform.var(correction=0) + 1e-7)


def encode(model: CTCModel, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Run the feature encoder clip by clip.

    Alone, because wav2vec2-base normalises its first convolution over the whole clip, padding and all: batching
    changes what it hears (transformers#18501).

    Args:
        model: The model.
        waveforms: float32 (num_samples,) each, 16 kHz, not yet normalised.

    Returns:
        (frames, channels) each.
    """
    encoder = model.net.wav2vec2.feature_extractor
    clips = (normalised(w) if model.normalise_waveform else w for w in waveforms)
    return [encoder(clip[None])[0].T for clip in clips]


def contextualise(
    net: Wav2Vec2ForCTC,
    features: Sequence[torch.Tensor],
    masks: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run feature projection and transformer over a padded batch; frames of padding are attended by nobody.

    Args:
        net: The model.
        features: (frames, channels) each, of `encode`.
        masks: SpecAugment's bool masks over time (batch, frames) and over features (batch, hidden), True is hidden.

    Returns:
        (batch, frames, hidden); frames past a clip's own length mean nothing.
    """
    lengths = torch.tensor([len(f) for f in features], device=features[0].device)
    padded = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)  # (B, T, C)
    hidden, _ = net.wav2vec2.feature_projection(padded)  # (B, T, H)
    if masks is not None:
        over_time, over_features = masks
        # Checkpoints that were pre-trained without masking have no embedding for it.
        hider = getattr(net.wav2vec2, "masked_spec_embed", torch.zeros((), device=hidden.device))
        hidden = torch.where(over_time[..., None], hider.to(hidden.dtype), hidden)
        hidden = hidden.masked_fill(over_features[:, None], 0)
    real = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]  # (B, T)
    return net.wav2vec2.encoder(hidden, attention_mask=None if bool(real.all()) else real).last_hidden_state


def log_probs(model: CTCModel, waveforms: Sequence[np.ndarray], precision: Precision = "fp32") -> list[np.ndarray]:
    """Return float32 (frames, vocab) for each waveform: in fp32 a batch says what each clip says alone.

    Args:
        model: In evaluation mode.
        waveforms: float32 (num_samples,), 16 kHz, each with at least `model.shortest_clip` samples.
        precision: What matrices are multiplied in.
    """
    net = model.net
    with torch.inference_mode(), torch.autocast(net.device.type, torch.bfloat16, enabled=precision == "bf16"):
        clips = [torch.from_numpy(np.array(w, dtype=np.float32)).to(net.device) for w in waveforms]
        features = encode(model, clips)
        logits = net.lm_head(contextualise(net, features))  # (B, T, V)
        scores = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
    return [row[: len(clip)] for row, clip in zip(scores, features, strict=True)]


def ngram_beside(folder: Path) -> tuple[Path, Weights] | None:
    """Return the n-gram that a model's folder decodes with, and its weights; None where it decodes greedily.

    Raises:
        InputError: the folder is no model, or its n-gram is missing.
    """
    decoding = card.read(folder).get("decoding", _GREEDY)
    if decoding == _GREEDY:
        return None
    path = folder / _NGRAM
    if not path.is_file():
        raise InputError("the model's n-gram is missing", place=path, remedy="Copy it, or make it with asr-adapt lm.")
    try:
        return path, Weights(**decoding["weights"])
    except (KeyError, TypeError) as error:
        raise InputError(f"damaged ({error!r})", place=folder / card.FILE, remedy="Copy the model again.") from error


def put_ngram_beside(folder: Path, arpa: str, weights: Weights) -> None:
    """Write an n-gram into a model's folder; from then on the model decodes with it."""
    write_whole(folder / _NGRAM, arpa)
    about = card.read(folder) | {"decoding": {"method": "beam search", "weights": asdict(weights)}}
    write_whole(folder / card.FILE, json.dumps(about, ensure_ascii=False, indent=1))


def _processor(alphabet: Alphabet, config: Wav2Vec2Config, normalise: bool, folder: Path) -> Any:
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(
        json.dumps({unit: index for index, unit in enumerate(alphabet.units)}, ensure_ascii=False),
        encoding="utf-8",
    )
    tokenizer = Wav2Vec2CTCTokenizer(
        str(vocabulary),
        pad_token=BLANK,
        unk_token=BLANK,
        bos_token=None,
        eos_token=None,
        word_delimiter_token=DELIMITER,
        clean_up_tokenization_spaces=False,
    )
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLE_RATE_HZ,
        do_normalize=normalise,
        return_attention_mask=config.feat_extract_norm == "layer",
    )
    return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


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
