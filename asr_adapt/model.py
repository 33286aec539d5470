"""The model: load a base checkpoint, put the CTC head on it, say what is frozen, run it, save and load it."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)
from transformers.utils import logging

from asr_adapt import __version__, ctc
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.errors import InputError
from asr_adapt.recipe import Model, Text
from asr_adapt.text import BLANK, BLANK_ID, DELIMITER, Alphabet, Normaliser

FORMAT_VERSION = 1
_CARD = "asr_adapt.json"


@dataclass(frozen=True)
class CTCModel:
    """Wav2Vec 2.0 with a CTC head (Baevski et al. 2020, arXiv:2006.11477) and what is needed to use it."""

    net: Wav2Vec2ForCTC
    alphabet: Alphabet
    language: str
    text: Text
    normalise_waveform: bool
    """whether the base model wants each clip at zero mean and unit variance"""

    @property
    def normaliser(self) -> Normaliser:
        """The normaliser that its training transcripts went through."""
        return Normaliser(self.text, self.language)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next (0.02 for wav2vec 2.0)."""
        return int(np.prod(self.net.config.conv_stride)) / SAMPLE_RATE_HZ

    @property
    def shortest_clip(self) -> int:
        """Samples that the feature encoder needs for one frame."""
        return ctc.receptive_field(self.net.config.conv_kernel, self.net.config.conv_stride)

    def save(self, folder: Path) -> None:
        """Write the model in `save_pretrained`'s format, which `transformers.pipeline` loads as it is.

        `folder` holds the whole new model, or still the old one.
        """
        partial = folder.with_name(folder.name + ".partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        with _quiet():
            self.net.save_pretrained(partial)
        _processor(self.alphabet, self.net.config, self.normalise_waveform, partial).save_pretrained(partial)
        card = {
            "format_version": FORMAT_VERSION,
            "asr_adapt": __version__,
            "language": self.language,
            "alphabet": self.alphabet.units,
            "normaliser": self.text.model_dump(mode="json"),
            "decoding": {"method": "greedy"},
        }
        (partial / _CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> "CTCModel":
        """Load what `save` wrote, in evaluation mode and float32.

        Raises:
            InputError: the folder is no model of this package, of a newer format, or damaged.
        """
        path = folder / _CARD
        if not path.is_file():
            raise InputError(
                f"no model of asr-adapt is here: {_CARD} is missing",
                place=folder,
                remedy="Give a run's model/ folder.",
            )
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            newer = card["format_version"] > FORMAT_VERSION
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"damaged ({error!r})", place=path, remedy="Copy the model again.") from error
        if newer:
            raise InputError(
                f"format {card['format_version']}, but this is asr-adapt {__version__}, which reads {FORMAT_VERSION}",
                place=path,
                remedy=f"Install asr-adapt {card.get('asr_adapt', 'of a newer version')} or newer.",
            )
        net = _from_pretrained(folder, pickled_weights=False)
        try:
            settings = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
            model = cls(
                net=net.eval(),
                alphabet=Alphabet(tuple(card["alphabet"])),
                language=card["language"],
                text=Text.model_validate(card["normaliser"]),
                normalise_waveform=settings["feature_extractor"]["do_normalize"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"damaged ({error!r})", place=folder, remedy="Copy the model again.") from error
        if len(model.alphabet) != net.config.vocab_size:
            raise InputError(
                f"the alphabet has {len(model.alphabet)} units, the head {net.config.vocab_size}",
                place=path,
                remedy="Copy the model again.",
            )
        return model


def check_base(spec: Model) -> None:
    """Say early what `create` would stumble over, before the corpus is prepared.

    Raises:
        InputError: the base model is not there (offline is said as such), is no Wav2Vec2 encoder, or is a folder
            with pickled weights only.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    base = Path(spec.base)
    if spec.base == "none":
        return
    if not base.is_dir() and (spec.base.startswith((".", "/", "~")) or spec.base.count("/") > 1):
        raise InputError(
            f"no folder '{spec.base}'", place="model.base", remedy="Give a model's folder or a Hub name."
        )
    try:
        config = AutoConfig.from_pretrained(spec.base, revision=spec.revision or "main", local_files_only=True)
    except (OSError, ValueError) as error:
        if base.is_dir():
            raise InputError("no model is here: config.json is missing or damaged", place=base) from error
        try:  # asked once, where loading would ask six times before it gives up
            HfApi().model_info(spec.base, revision=spec.revision, timeout=10)
        except RepositoryNotFoundError as missing:
            raise InputError(
                f"the Hub has no model '{spec.base}', or it wants a login", place="model.base"
            ) from missing
        except HfHubHTTPError as refused:  # the Hub was reached: a revision that is not there, say
            raise InputError(f"the Hub refuses '{spec.base}': {refused}", place="model.base") from refused
        except Exception as unreachable:  # httpx, urllib3 and sockets, as the versions go
            raise InputError(
                f"'{spec.base}' is no folder, is not in the local cache, and the Hub cannot be reached (offline?)",
                place="model.base",
                remedy="Fetch it where there is a network and give its folder, or `none` for a small new model.",
            ) from unreachable
        try:
            config = AutoConfig.from_pretrained(spec.base, revision=spec.revision or "main")
        except (OSError, ValueError) as unknown:
            raise InputError(f"'{spec.base}' has no configuration that can be read", place="model.base") from unknown
    if config.model_type != "wav2vec2" or config.add_adapter:
        what = (
            "has a convolutional adapter on top" if config.model_type == "wav2vec2" else "is not a Wav2Vec2 encoder"
        )
        raise InputError(
            f"'{spec.base}' is of type '{config.model_type}' and {what}",
            place="model.base",
            remedy="XLS-R, MMS and wav2vec2 checkpoints can be adapted.",
        )
    if base.is_dir() and not spec.pickled_weights and not any(base.glob("*.safetensors")):
        raise InputError(
            "no safetensors here",
            place=base,
            remedy="Pickled weights can run their maker's code; if you trust it: --model.pickled_weights true.",
        )


def create(spec: Model, alphabet: Alphabet, language: str, text: Text, seed: int) -> CTCModel:
    """Return the base model with a new head for `alphabet`, not yet trained.

    Raises:
        InputError: the base model cannot be loaded (see `check_base`).
    """
    check_base(spec)
    torch.manual_seed(seed)
    if spec.base == "none":
        net, normalise = _from_nothing(spec, alphabet), True
    else:
        net = _from_pretrained(
            spec.base,
            pickled_weights=spec.pickled_weights,
            revision=spec.revision,
            vocab_size=len(alphabet),
            pad_token_id=BLANK_ID,
            bos_token_id=None,
            eos_token_id=None,
            ignore_mismatched_sizes=True,
        )
        normalise = _normalises(spec)
        # A head of the same size would have been taken over with its old letters; ours are others.
        torch.manual_seed(seed)
        net.lm_head = torch.nn.Linear(net.lm_head.in_features, len(alphabet))
        torch.nn.init.normal_(net.lm_head.weight, std=net.config.initializer_range)
        torch.nn.init.zeros_(net.lm_head.bias)
    _set_dropout(net.config, spec.dropout, net)
    return CTCModel(net, alphabet, language, text, normalise)


def freeze(net: Wav2Vec2ForCTC, policy: str) -> None:
    """Set `requires_grad` by a policy's name.

    Args:
        net: The model, changed in place.
        policy: `feature_encoder` (its convolutions stay; transformer and head are trained), `all_but_head`, or
            `nothing`.
    """
    net.requires_grad_(True)
    if policy == "feature_encoder":
        net.wav2vec2.feature_extractor.requires_grad_(False)
    elif policy == "all_but_head":
        net.wav2vec2.requires_grad_(False)
    elif policy != "nothing":
        raise ValueError(f"no freezing policy '{policy}'")


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


def log_probs(model: CTCModel, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return float32 (frames, vocab) for each waveform: what a batch says equals what each clip says alone.

    Args:
        model: In evaluation mode.
        waveforms: float32 (num_samples,), 16 kHz, each with at least `model.shortest_clip` samples.
    """
    net = model.net
    with torch.inference_mode():
        clips = [torch.from_numpy(np.array(w, dtype=np.float32)).to(net.device) for w in waveforms]
        features = encode(model, clips)
        logits = net.lm_head(contextualise(net, features))  # (B, T, V)
        scores = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
    return [row[: len(clip)] for row, clip in zip(scores, features, strict=True)]


def _from_nothing(spec: Model, alphabet: Alphabet) -> Wav2Vec2ForCTC:
    """Return a small pre-norm Wav2Vec2 whose first convolution starts as a mel filterbank.

    Two convolutions see what wav2vec 2.0's seven see (400 samples, every 320), at a fortieth of their cost: 240
    samples every 160, then 2 every 2. A filterbank that starts at mel and is trained on is Zeghidour et al.'s
    (2018, arXiv:1711.01161).
    """

    config = Wav2Vec2Config(
        vocab_size=len(alphabet),
        pad_token_id=BLANK_ID,
        bos_token_id=None,
        eos_token_id=None,
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.hidden_size // 64,
        intermediate_size=4 * spec.hidden_size,
        conv_dim=(256, 256),
        conv_kernel=(240, 2),
        conv_stride=(160, 2),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=16,
    )
    net = Wav2Vec2ForCTC(config)
    _start_as_mel(net.wav2vec2.feature_extractor.conv_layers[0].conv)
    return net


def _start_as_mel(conv: torch.nn.Conv1d) -> None:
    """Fill a convolution (out, 1, kernel) with windowed cosines and sines at mel-spaced frequencies.

    Each band has four channels, a quarter of a period apart, so that the rectified sum of the four is the band's
    magnitude, whatever its phase. Louder towards high frequencies, as pre-emphasis is.
    """
    bands = conv.out_channels // 4
    mels = torch.linspace(_mel(80.0), _mel(7600.0), bands)
    hertz = 700 * (10 ** (mels / 2595) - 1)  # (bands,)
    kernel = conv.kernel_size[0]
    seconds = (torch.arange(kernel) - kernel / 2) / SAMPLE_RATE_HZ
    phases = torch.arange(4) * torch.pi / 2
    waves = torch.cos(2 * torch.pi * hertz[:, None, None] * seconds + phases[:, None])  # (bands, 4, kernel)
    filters = waves * torch.hann_window(kernel, periodic=False)
    filters = filters / filters.norm(dim=-1, keepdim=True) * (hertz[:, None, None] / 1000).sqrt()
    with torch.no_grad():
        conv.weight.copy_(filters.reshape(conv.out_channels, 1, kernel))
        if conv.bias is not None:
            conv.bias.zero_()


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _from_pretrained(
    base: str | Path, *, pickled_weights: bool, revision: str | None = None, **settings: Any
) -> Wav2Vec2ForCTC:
    try:
        with _quiet():
            return Wav2Vec2ForCTC.from_pretrained(
                base, use_safetensors=not pickled_weights or None, revision=revision or "main", **settings
            )
    except Exception as error:  # safetensors, zipfile, unpickling and torch each raise their own on damage
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"no model can be loaded from here ({first_line})", place=base) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting the new head as missing weights, and from drawing bars."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _normalises(spec: Model) -> bool:
    """Return whether the base model's own preprocessing normalises clips; all published ones do."""
    try:
        settings = Wav2Vec2FeatureExtractor.from_pretrained(spec.base, revision=spec.revision or "main")
    except OSError:  # a folder with weights alone
        return True
    return bool(settings.do_normalize)


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
