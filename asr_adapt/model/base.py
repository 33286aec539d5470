"""The base model: what it is, whether it can be used, and loading it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, PreTrainedConfig, Wav2Vec2Config
from transformers.utils import logging

from asr_adapt import bundled
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.model import adapters, checkpoint_files, encoders, freezing, mms
from asr_adapt.model.encoders import Net
from asr_adapt.recipe import AUTO, Model
from asr_adapt.storage import read_json

_UNTRAINED_HEAD = 32  # labels of a head that is replaced before it is used


@dataclass(frozen=True)
class ResolvedBase:
    """A base model that exists and can be adapted; its files are read once."""

    config: PreTrainedConfig
    adapter: tuple[str, mms.Vocabulary] | None
    """language and vocabulary of the MMS adapter and head to start from"""


def resolve(spec: Model, language: str) -> ResolvedBase:
    """Return the base model's configuration, and the adapter for a language that it is loaded with.

    Raises:
        InputError: the base model cannot be used (`configuration`), or has no adapter for the language (`adapter`).
    """
    config = configuration(spec)
    return ResolvedBase(config, adapter(spec, language, config))


def configuration(spec: Model) -> PreTrainedConfig:
    """Return the base model's configuration; fails early on anything that `load` would reject.

    Raises:
        InputError: the base model does not exist or is offline, is no encoder of a type in `encoders.KINDS`, has
            fewer layers than are to be frozen, or is a folder with pickled weights only.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    if spec.base == "none":
        return _small(spec)
    base = Path(source(spec))
    if not base.is_dir() and (spec.base.startswith((".", "/", "~")) or spec.base.count("/") > 1):
        raise InputError(
            f"no folder '{spec.base}'", place="model.base", remedy="Give a model's folder or a Hub name."
        )
    if base.is_dir():
        checkpoint_files.check(base, "Copy the base model again.")
    try:
        config = AutoConfig.from_pretrained(source(spec), revision=spec.revision or "main", local_files_only=True)
    except Exception as error:  # OSError, ValueError, RecursionError, and huggingface_hub's own for each field
        if base.is_dir():
            raise InputError(f"damaged: {_first_line(error)}", place=base / checkpoint_files.CONFIG) from error
        try:  # asked once, where loading would ask six times before it gives up
            HfApi().model_info(spec.base, revision=spec.revision, timeout=10)
        except RepositoryNotFoundError as missing:
            raise InputError(
                f"the Hub has no model '{spec.base}', or it requires a login", place="model.base"
            ) from missing
        except HfHubHTTPError as refused:  # the Hub was reached: a revision that is not there, say
            raise InputError(f"the Hub refuses '{spec.base}': {refused}", place="model.base") from refused
        except Exception as unreachable:  # httpx, urllib3 and sockets, as the versions go
            raise InputError(
                f"'{spec.base}' is no folder, is not in the local cache, and the Hub cannot be reached (offline?)",
                place="model.base",
                remedy="Fetch it where there is a network and give its folder, or `embedded`, which is here.",
            ) from unreachable
        try:
            config = AutoConfig.from_pretrained(source(spec), revision=spec.revision or "main")
        except Exception as unknown:  # as above
            raise InputError(f"'{spec.base}' has no configuration that can be read", place="model.base") from unknown
    encoders.check(config, spec.base)
    checkpoint_files.check_config(config, f"{spec.base}/{checkpoint_files.CONFIG}")
    if config.vocab_size is None:  # pre-trained, and never with a head
        config.vocab_size = _UNTRAINED_HEAD
    if spec.adapter == "mms" and not encoders.kind(config).takes_mms(config):
        raise InputError(
            f"'{spec.base}' has no place for MMS's layers",
            place="model.adapter",
            remedy="lora works with it; mms with XLS-R and MMS.",
        )
    if spec.freeze not in (None, AUTO):
        freezing.frozen_depth(spec.freeze, config)
    if base.is_dir() and not spec.pickled_weights and not any(base.glob("*.safetensors")):
        raise InputError(
            "no safetensors here",
            place=base,
            remedy="Pickled weights can run their maker's code; if you trust it: --model.pickled_weights true.",
        )
    return config


def frame_grid(config: PreTrainedConfig) -> FrameGrid:
    """Return the positions of the frames of a model."""
    return encoders.kind(config).grid(config)


def adapter(spec: Model, language: str, config: PreTrainedConfig | None = None) -> tuple[str, mms.Vocabulary] | None:
    """Return the language whose adapter and head an MMS checkpoint is loaded with, and that head's vocabulary.

    None where the base model has no adapters by language, or none is wanted.

    Args:
        spec: The base model.
        language: BCP-47 tag.
        config: The base model's configuration; None: read it.

    Raises:
        InputError: it has none for the language, or the language of its adapter layers is unknown.
    """
    named = spec.adapter_language
    if spec.base == "none" or named == mms.NONE:
        return None
    known: dict[str, mms.Vocabulary] = {}
    if _has_adapters(config or configuration(spec)):
        known = mms.vocabularies(source(spec), spec.revision)
    if not known:
        if named is not None:
            raise InputError(
                f"'{spec.base}' has no adapters by language",
                place="model.adapter_language",
                remedy="facebook/mms-1b-all has.",
            )
        return None
    tag = mms.chosen(language, named, known, spec.base)
    return tag, known[tag]


def load(spec: Model, seed: int, language: str, resolved: ResolvedBase | None = None) -> tuple[Net, bool]:
    """Return the base model in float32, and whether it expects each clip at zero mean and unit variance.

    Its head is its own where it has one, else as good as random. `resolved`: from `resolve`, if that was called.

    Raises:
        InputError: the base model cannot be loaded (see `configuration` and `adapter`).
    """
    resolved = resolved or resolve(spec, language)
    config = resolved.config
    torch.manual_seed(seed)
    if spec.base == "none":
        net = encoders.build(copy.deepcopy(config))
        _start_as_mel(net.base_model.feature_extractor.conv_layers[0].conv)
        return net, True
    origin = source(spec)
    inside: dict[str, Any] = (
        {"adapter_attn_dim": spec.adapter_size} if spec.adapter == "mms" and not _has_adapters(config) else {}
    )
    net = from_pretrained(
        origin,
        pickled_weights=spec.pickled_weights,
        revision=spec.revision,
        vocab_size=config.vocab_size,
        **inside,
    )
    if inside:
        adapters.silence(net)
    elif resolved.adapter is not None:
        mms.load(net, *resolved.adapter, pickled_weights=spec.pickled_weights, revision=spec.revision)
    elif spec.adapter_language == mms.NONE and _has_adapters(config):
        mms.start_without(net)
    return net, normalises(origin, spec.revision, config)


def folder(spec: Model) -> Path | None:
    """Return the folder that the base model is in, None where it comes from the Hub or from nowhere."""
    path = Path(source(spec))
    return path if spec.base != "none" and path.is_dir() else None


def vocabulary(spec: Model) -> mms.Vocabulary:
    """Return the tokens of a checkpoint that was fine-tuned for one vocabulary; empty where there is none.

    Raises:
        InputError: the vocabulary is damaged.
    """
    from transformers.utils import cached_file

    origin = source(spec)
    try:
        path = cached_file(origin, "vocab.json", revision=spec.revision or "main")
    except OSError:
        return {}
    fields = read_json(Path(str(path)), "Fetch it again.")
    if not isinstance(fields, dict) or not all(isinstance(label, int) for label in fields.values()):
        raise InputError("damaged: not a vocabulary", place=f"{origin}/vocab.json", remedy="Fetch it again.")
    return fields


def _has_adapters(config: PreTrainedConfig) -> bool:
    """Whether these are MMS weights, whose adapters are trained on as they are."""
    return getattr(config, "adapter_attn_dim", None) is not None


def source(spec: Model) -> str:
    """Return what transformers loads the base model from: a folder, or a name on the Hub."""
    return str(bundled.folder(bundled.BASES[spec.base])) if spec.base in bundled.BASES else spec.base


def _small(spec: Model) -> Wav2Vec2Config:
    """Return the small pre-norm Wav2Vec2 that is trained from nothing, and that `embedded-small` is.

    Three convolutions see 75 ms every 40 ms: a filterbank of 15 ms every 10 ms, then two that each halve its rate,
    as the subsampling of a Conformer does (Gulati et al. 2020, arXiv:2005.08100). Beside wav2vec 2.0's seven, which
    end at 20 ms, they cost next to nothing, and the transformer on top half as much.
    """
    return Wav2Vec2Config(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.hidden_size // 64,
        intermediate_size=4 * spec.hidden_size,
        conv_dim=(256, 256, 256),
        conv_kernel=(240, 3, 3),
        conv_stride=(160, 2, 2),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=16,
    )


def _start_as_mel(conv: torch.nn.Conv1d) -> None:
    """Fill a convolution (out, 1, kernel) with windowed cosines and sines at mel-spaced frequencies.

    Each band has four channels, a quarter of a period apart, so that the rectified sum of the four is the band's
    magnitude, whatever its phase. Louder towards high frequencies, as pre-emphasis is. A filterbank that starts at
    mel and is trained on is Zeghidour et al.'s (2018, arXiv:1711.01161).
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


def from_pretrained(
    base: str | Path,
    *,
    pickled_weights: bool,
    revision: str | None = None,
    whole: bool = False,
    **settings: Any,
) -> Net:
    """Load a checkpoint in float32, from any precision.

    Args:
        base: A folder, or a name on the Hub.
        pickled_weights: Allow pickled weights.
        revision: Hub revision.
        whole: Refuse a checkpoint that lacks weights of the model, which would be drawn at random.
        settings: Fields of the configuration to override.

    Raises:
        InputError: it is missing or damaged, or pickled where that was not allowed.
    """
    try:
        with quiet():
            revision = revision or "main"
            config = AutoConfig.from_pretrained(base, revision=revision)
            encoders.check(config, str(base))
            loaded: Any = encoders.net_class(config).from_pretrained(
                base,
                output_loading_info=True,
                use_safetensors=not pickled_weights or None,
                revision=revision,
                dtype=torch.float32,
                **settings,
            )
    except InputError:
        raise
    except Exception as error:  # safetensors, zipfile, unpickling and torch each raise their own on damage
        raise InputError(f"no model can be loaded from here ({_first_line(error)})", place=base) from error
    net, info = loaded
    for name, weight in net.named_parameters():
        # The sum is ten times faster, and NaN where one weight is.
        if not bool(torch.isfinite(weight.sum())) and not bool(torch.isfinite(weight).all()):
            raise InputError(f"the weight {name} holds NaN or infinity", place=base, remedy="Copy the model again.")
    if whole and (missing := sorted(info["missing_keys"])):
        raise InputError(
            f"{len(missing)} weights are missing, such as {missing[0]}", place=base, remedy="Copy the model again."
        )
    return encoders.prepared(net)


def _first_line(error: Exception) -> str:
    """Return the first line of an exception, with the next one where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:300] if lines[0].endswith(":") else lines[0][:300]


@contextmanager
def quiet() -> Iterator[None]:
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


def normalises(source: str, revision: str | None, config: PreTrainedConfig) -> bool:
    """Return whether the base model's own preprocessing normalises clips; all published ones do."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        path, remedy = Path(source) / name, "Copy the base model again."
        if path.is_file() and not isinstance(read_json(path, remedy), dict):
            raise InputError("damaged: not a JSON object", place=path, remedy=remedy)
    extractor = encoders.kind(config).extractor
    try:
        settings = extractor.from_pretrained(source, revision=revision or "main")
    except OSError:  # a folder with weights alone
        settings = extractor()
    except Exception as error:  # TypeError, ValueError and others of a damaged file
        raise InputError(
            f"the settings of its feature extractor are damaged ({_first_line(error)})", place=source
        ) from error
    return bool(getattr(settings, "do_normalize", False))
