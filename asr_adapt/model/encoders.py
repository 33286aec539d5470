"""Encoders: what tells one type of base model from another. Nothing else in the package asks for the type.

All types have the same parts in the same order: a feature encoder makes frames of a waveform, the feature projection
widens them, the positional part adds where they are, transformer layers follow, and a linear head writes labels. A
class here is a type, by transformers' `model_type`; an instance is a view of a model of that type.
"""

import functools
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from transformers import (
    MODEL_FOR_CTC_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)
from transformers.masking_utils import create_bidirectional_mask

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.model import mel

if TYPE_CHECKING:

    class Net(PreTrainedModel):
        """A model of any type with a CTC head: transformers' `Wav2Vec2ForCTC`, `HubertForCTC` and so on."""

        lm_head: torch.nn.Linear
        dropout: torch.nn.Dropout
        base_model: Any
else:
    Net = PreTrainedModel


class Encoder:
    """wav2vec 2.0 (arXiv:2006.11477) and UniSpeech (arXiv:2101.07597); the other types say where they differ.

    Args:
        net: The model.
    """

    feature_encoder_is: ClassVar[str] = "convolutions"
    """what is frozen as the feature encoder, in words"""
    lora_targets: ClassVar[Sequence[str]] = (
        "q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense",
    )  # fmt: skip
    """names of every matrix of a layer: what low-rank training lacks against full training is least with all of them
    (Dettmers et al. 2023, arXiv:2305.14314, section 4)"""
    kept_by_a_layer: ClassVar[int] = 20
    """values that a layer keeps for each frame and hidden unit until the backward pass: 17 without the matrix of
    attention, which is never kept whole (Korthikanti et al. 2022, arXiv:2205.05198); 20 fits what was measured"""
    kept_matrices: ClassVar[int] = 0
    """matrices (frames, frames) of each head that a layer keeps"""
    extractor: ClassVar[Any] = Wav2Vec2FeatureExtractor
    """transformers' preprocessing of waveforms; one without `do_normalize` leaves their level to the encoder"""
    no_token: ClassVar[int | None] = None
    """what a configuration says of tokens that CTC does not have; some types insist on a number"""
    _has_mms: ClassVar[bool] = False

    def __init__(self, net: Net) -> None:
        self.net, self.config = net, net.config
        self._body: Any = net.base_model

    # What the configuration alone says.

    @classmethod
    def grid(cls, config: PreTrainedConfig) -> FrameGrid:
        """Return the positions of the frames."""
        return FrameGrid(tuple(config.conv_kernel), tuple(config.conv_stride))

    @classmethod
    def convolutions(cls, config: PreTrainedConfig) -> list[tuple[int, int]]:
        """Return channels and stride of each convolution of the feature encoder."""
        return list(zip(config.conv_dim, config.conv_stride, strict=True))

    @classmethod
    def parameters(cls, config: Any) -> int:
        """Return about how many parameters a model has, without biases and norms.

        Args:
            config: A configuration, or any object with its fields.
        """
        inputs = [1, *config.conv_dim]
        convolutions = sum(a * b * k for a, b, k in zip(inputs, config.conv_dim, config.conv_kernel, strict=False))
        width = config.hidden_size
        ends = width * config.conv_dim[-1] + width * (config.vocab_size or 0)
        layers = config.num_hidden_layers * cls._parameters_of_a_layer(config)
        return convolutions + cls._parameters_of_positions(config) + layers + ends

    @classmethod
    def _parameters_of_positions(cls, config: Any) -> int:
        width = config.hidden_size
        return width * width // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings

    @classmethod
    def _parameters_of_a_layer(cls, config: Any) -> int:
        width = config.hidden_size
        mms = 2 * width * (getattr(config, "adapter_attn_dim", None) or 0)
        return 4 * width * width + 2 * width * config.intermediate_size + mms

    @classmethod
    def unsupported(cls, config: PreTrainedConfig) -> str | None:
        """Return what of a configuration of this type cannot be adapted, in words."""
        return "has a convolutional adapter on top" if getattr(config, "add_adapter", False) else None

    @classmethod
    def takes_mms(cls, config: PreTrainedConfig) -> bool:
        """Whether a layer has a place for MMS's small layers (transformers has it in pre-norm wav2vec 2.0 alone)."""
        return cls._has_mms and cls._is_pre_norm(config)

    @classmethod
    def processor(cls, config: PreTrainedConfig, tokenizer: Any, *, normalise: bool) -> Any:
        """Return transformers' preprocessing, with which `pipeline` reads what this package reads."""
        extractor = cls.extractor(
            sampling_rate=SAMPLE_RATE_HZ,
            do_normalize=normalise,
            return_attention_mask=getattr(config, "feat_extract_norm", "layer") == "layer",
        )
        return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)

    @classmethod
    def _is_pre_norm(cls, config: PreTrainedConfig) -> bool:
        """Whether the norm of the whole transformer stands after its last layer (XLS-R), not before its first."""
        return bool(config.do_stable_layer_norm)

    # The parts of a model.

    @property
    def channels(self) -> int:
        """Width of the feature encoder's output."""
        return int(self.config.conv_dim[-1])

    @property
    def feature_encoder(self) -> list[torch.nn.Module]:
        """What makes frames of a waveform."""
        return [self._body.feature_extractor]

    @property
    def feature_projection(self) -> list[torch.nn.Module]:
        """What widens the frames to the transformer's width."""
        return [self._body.feature_projection]

    @property
    def positional(self) -> list[torch.nn.Module]:
        """What else a frame goes through before the first layer, as far as it is trained."""
        return [self._body.encoder.pos_conv_embed, *([] if self.ends_with_norm else [self._body.encoder.layer_norm])]

    @property
    def unused(self) -> list[torch.nn.Module]:
        """Modules that the checkpoint has and transformers never runs."""
        return []

    @property
    def layers(self) -> torch.nn.ModuleList:
        """The transformer's layers."""
        return self._body.encoder.layers

    @property
    def ends_with_norm(self) -> bool:
        """Whether a norm follows the last layer."""
        return self._is_pre_norm(self.config)

    @property
    def final(self) -> list[torch.nn.Module]:
        """What follows the last layer, before the head."""
        return [self._body.encoder.layer_norm] if self.ends_with_norm else []

    @property
    def mask_embedding(self) -> torch.Tensor | None:
        """What stands in place of a masked frame; checkpoints that were pre-trained without masking have none."""
        return getattr(self._body, "masked_spec_embed", None)

    @property
    def constants(self) -> torch.Tensor | None:
        """Which channels hold the same value in every frame, and so carry no speech: bool (hidden,).

        None: none, or the positional convolution reads others as well. What it writes depends on the position alone
        otherwise, as in a base model that was given absolute positions: it is a table, which is never trained.
        """
        return getattr(self._place, "constants", None)

    @property
    def _place(self) -> Any:
        return getattr(self._body.encoder, "pos_conv_embed", None)

    @property
    def never_trained(self) -> list[torch.nn.Module | torch.nn.Parameter]:
        """What makes the positions, if they do not depend on what is heard: the first layer completes them."""
        if self.constants is None:
            return []
        masked = [] if self.mask_embedding is None else [self.mask_embedding]
        return [*self.feature_projection, self._place, *masked, self.layers[0]]

    def below(self, depth: int) -> list[torch.nn.Module]:
        """Return the modules that the hidden state at a depth is computed with (`model.freezing`)."""
        if depth == 0:
            return self.feature_encoder
        if depth == len(self.layers):
            return [self._body]
        return [*self.feature_encoder, *self.feature_projection, *self.positional, *self.layers[:depth]]

    def layers_above(self, name: str) -> int:
        """Return how many layers stand above a parameter; what is beneath them counts as a layer more."""
        _, is_of_layer, rest = name.partition("encoder.layers.")
        if is_of_layer:
            return len(self.layers) - 1 - int(rest.partition(".")[0])
        return 0 if self.ends_with_norm and "encoder.layer_norm" in name else len(self.layers)

    # The forward pass. `real`: bool (batch, frames), False is padding, which must never reach a frame that is not;
    # None: there is no padding.

    def encode(self, clip: torch.Tensor, *, whole: bool = False) -> torch.Tensor:
        """Return the feature encoder's output (frames, channels) of a waveform (num_samples,).

        Args:
            clip: float32, 16 kHz.
            whole: Keep a last frame that is partly padding, which `attended` does not count.
        """
        del whole
        return self._body.feature_extractor(clip[None])[0].T

    def attended(self, num_samples: int) -> int | None:
        """Return how many frames of `encode(whole=True)` are attended to; None: all."""
        del num_samples
        return None

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Return (batch, frames, hidden) of the feature encoder's output (batch, frames, channels)."""
        projected = self._body.feature_projection(features)
        return projected[0] if isinstance(projected, tuple) else projected

    def enter(self, states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return what the first layer gets, (batch, frames, hidden), as transformers' encoders compute it."""
        encoder = self._body.encoder
        states = _silenced(states, real)
        states = states + self._positions(states, real)
        return encoder.dropout(states if self.ends_with_norm else encoder.layer_norm(states))

    def _positions(self, states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return what is added to `states`, which are zero in the padding."""
        del real
        return self._body.encoder.pos_conv_embed(states)

    def run(self, states: torch.Tensor, real: torch.Tensor | None, depth: int, until: int) -> torch.Tensor:
        """Return hidden states (batch, frames, hidden) after layer `until`, with the final norm after the last."""
        around = self._around(states, real)
        for layer in self.layers[depth:until]:
            states = self._through(layer, states, around)
        if until == len(self.layers):
            for module in self.final:
                states = module(states)
        return states

    def _around(self, states: torch.Tensor, real: torch.Tensor | None) -> dict[str, Any]:
        """Return what every layer gets beside the hidden states."""
        return {"attention_mask": self._attention_mask(states, real)}

    def _attention_mask(self, states: torch.Tensor, real: torch.Tensor | None) -> Any:
        return create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=real)

    def _through(self, layer: torch.nn.Module, states: torch.Tensor, around: dict[str, Any]) -> torch.Tensor:
        return layer(states, **around)

    def prepare(self) -> None:
        """Replace, in place, computations of transformers by equal ones that are faster or can be adapted."""
        (projection,) = self.feature_projection
        _put_channels_last(self._place.conv)
        _tabulate(self._place, getattr(projection, "projection", None))


class Wav2Vec2(Encoder):
    """wav2vec 2.0, XLS-R and MMS."""

    _has_mms = True


class UniSpeechSat(Encoder):
    """UniSpeech-SAT (arXiv:2110.05752)."""

    no_token = 0


class Hubert(Encoder):
    """HuBERT (arXiv:2106.07447); mHuBERT-147 normalises the input of the positional convolution over time."""

    def _positions(self, states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        place = self._body.encoder.pos_conv_embed
        if place.batch_norm is None:
            return place(states)
        states = place.batch_norm(states.transpose(1, 2)).transpose(1, 2)  # no longer zero in the padding
        states = place.conv(_silenced(states, real).transpose(1, 2))
        return place.activation(place.padding(states)).transpose(1, 2)


class Data2Vec(Encoder):
    """data2vec (arXiv:2202.03555): several positional convolutions, with norms between them; norms after layers."""

    @classmethod
    def _parameters_of_positions(cls, config: Any) -> int:
        return super()._parameters_of_positions(config) * config.conv_pos_kernel_size

    @classmethod
    def _is_pre_norm(cls, config: PreTrainedConfig) -> bool:
        return False

    @property
    def _positional_convolutions(self) -> Any:
        return self._body.encoder.pos_conv_embed.layers

    def _positions(self, states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        for each in self._positional_convolutions:
            states = each(_silenced(states, real).transpose(1, 2)).transpose(1, 2)
        return states

    def prepare(self) -> None:
        """Replace convolutions, as `Encoder.prepare` does."""
        for each in self._positional_convolutions:
            _put_channels_last(each.conv)


class WavLM(Encoder):
    """WavLM (arXiv:2110.13900): every layer adds a bias by distance to the attention, through a gate of its own."""

    kept_matrices = 1

    def _around(self, states: torch.Tensor, real: torch.Tensor | None) -> dict[str, Any]:
        batch, frames, _ = states.shape
        first: Any = self.layers[0]  # whose weights serve all layers
        bias = first.attention.compute_bias(frames, frames)  # (heads, T, T)
        bias = bias[None].expand(batch, -1, -1, -1).reshape(-1, frames, frames)
        return {"attention_mask": real, "position_bias": bias}

    def _through(self, layer: torch.nn.Module, states: torch.Tensor, around: dict[str, Any]) -> torch.Tensor:
        return layer(states, **around)[0]

    def prepare(self) -> None:
        """Replace convolutions, as `Encoder.prepare` does, and products that would go past LoRA's matrices."""
        super().prepare()
        for layer in self.layers:
            attention: Any = layer.attention
            attention.torch_multi_head_self_attention = types.MethodType(_attend, attention)


class Conformer(Encoder):
    """wav2vec 2.0 with Conformer layers (arXiv:2010.05171), with relative, rotary or no positions."""

    lora_targets = (
        "linear_q", "linear_k", "linear_v", "linear_out", "linear_pos", "pointwise_conv1", "pointwise_conv2",
        "intermediate_dense", "output_dense",
    )  # fmt: skip
    kept_by_a_layer = 45  # measured: 36 to 39, where wav2vec 2.0 keeps 16, for which 20 is taken
    kept_matrices = 1

    @classmethod
    def _parameters_of_a_layer(cls, config: Any) -> int:
        width = config.hidden_size
        more = 3 * width + 2 * config.intermediate_size + config.conv_depthwise_kernel_size
        return super()._parameters_of_a_layer(config) + width * more

    @classmethod
    def _is_pre_norm(cls, config: PreTrainedConfig) -> bool:
        return True

    @property
    def positional(self) -> list[torch.nn.Module]:
        """None: positions are computed."""
        return []

    @property
    def unused(self) -> list[torch.nn.Module]:
        """A positional convolution."""
        return [self._body.encoder.pos_conv_embed]

    def enter(self, states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return what the first layer gets, (batch, frames, hidden)."""
        return self._body.encoder.dropout(_silenced(states, real))

    def _around(self, states: torch.Tensor, real: torch.Tensor | None) -> dict[str, Any]:
        return {
            "attention_mask": self._attention_mask(states, real),
            "relative_position_embeddings": self._relative(states),
            "real": real,
        }

    def _relative(self, states: torch.Tensor) -> torch.Tensor | None:
        """Return embeddings of positions; transformers keeps them on the module, where other threads change them."""
        embed, frames = self._body.encoder.embed_positions, states.shape[1]
        if self.config.position_embeddings_type == "relative":
            table = embed.extend_pe(states, embed.pe)  # (1, 2 M - 1, H): of distances from M - 1 down to 1 - M
            middle = table.shape[1] // 2
            return table[:, middle - frames + 1 : middle + frames]
        if self.config.position_embeddings_type == "rotary":
            angles = torch.arange(frames, device=states.device)[:, None] * embed.inv_freq
            angles = torch.cat([angles, angles], dim=-1)[:, None, None]
            return torch.stack([angles.cos(), angles.sin()])
        return None

    def _through(self, layer: torch.nn.Module, states: torch.Tensor, around: dict[str, Any]) -> torch.Tensor:
        def run(given: torch.Tensor) -> torch.Tensor:
            return _conformer_layer(layer, given, **around)

        checkpointed: Any = layer
        if checkpointed.gradient_checkpointing and layer.training:
            return checkpointed._gradient_checkpointing_func(run, states)
        return run(states)

    def prepare(self) -> None:
        """Replace nothing."""


class Wav2Vec2Bert(Conformer):
    """w2v-BERT 2.0 (arXiv:2312.05187): Conformer layers with causal convolutions, on log-mel frames."""

    feature_encoder_is = "the projection of log-mel frames: this type has no convolutions"
    extractor = SeamlessM4TFeatureExtractor
    kept_matrices = 6  # with embeddings of the distance between any two frames

    @classmethod
    def grid(cls, config: PreTrainedConfig) -> FrameGrid:
        """Return the positions of the frames: pairs of mel frames."""
        return FrameGrid((mel.WINDOW, mel.STACKED), (mel.HOP, mel.STACKED))

    @classmethod
    def parameters(cls, config: Any) -> int:
        """Return about how many parameters a model has, without biases and norms."""
        ends = config.hidden_size * (config.feature_projection_input_dim + (config.vocab_size or 0))
        return config.num_hidden_layers * cls._parameters_of_a_layer(config) + ends

    @classmethod
    def convolutions(cls, config: PreTrainedConfig) -> list[tuple[int, int]]:
        """Return channels and stride of what makes frames."""
        return [(mel.BANDS, mel.HOP), (config.hidden_size, mel.STACKED)]

    @classmethod
    def unsupported(cls, config: PreTrainedConfig) -> str | None:
        """Return what of a configuration of this type cannot be adapted, in words."""
        if config.feature_projection_input_dim != mel.BANDS * mel.STACKED:
            return f"reads frames of {config.feature_projection_input_dim} values, not pairs of {mel.BANDS} mel bands"
        return super().unsupported(config)

    @classmethod
    def processor(cls, config: PreTrainedConfig, tokenizer: Any, *, normalise: bool) -> Any:
        """Return transformers' preprocessing, with which `pipeline` reads what this package reads."""
        return Wav2Vec2BertProcessor(feature_extractor=cls.extractor(), tokenizer=tokenizer)

    @classmethod
    def _is_pre_norm(cls, config: PreTrainedConfig) -> bool:
        return False

    @property
    def channels(self) -> int:
        """Width of the feature projection's output."""
        return int(self.config.hidden_size)

    @property
    def feature_encoder(self) -> list[torch.nn.Module]:
        """The feature projection; the mel frames before it have no weights."""
        return [self._body.feature_projection]

    @property
    def feature_projection(self) -> list[torch.nn.Module]:
        """None beside the feature encoder."""
        return []

    @property
    def unused(self) -> list[torch.nn.Module]:
        """None."""
        return []

    def encode(self, clip: torch.Tensor, *, whole: bool = False) -> torch.Tensor:
        """Return the projected mel frames (frames, hidden) of a waveform (num_samples,)."""
        # What runs a graph on a processor knows no float64.
        precision = torch.float32 if torch.compiler.is_exporting() else torch.float64
        return self._body.feature_projection(mel.stacked(clip, whole=whole, dtype=precision))[0]

    def attended(self, num_samples: int) -> int | None:
        """Return the number of frames without the last one, where half of that is padding."""
        return mel.paired_frames(num_samples)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Return features as they are: they have been projected."""
        return features

    def prepare(self) -> None:
        """Work out the filters that a graph takes up: made during export, they would be of export's own kind."""
        mel.constants(torch.float32, torch.device("cpu"))

    def _around(self, states: torch.Tensor, real: torch.Tensor | None) -> dict[str, Any]:
        around = super()._around(states, real)
        return {"conv_attention_mask": around.pop("real"), **around}

    def _through(self, layer: torch.nn.Module, states: torch.Tensor, around: dict[str, Any]) -> torch.Tensor:
        return layer(states, **around)


KINDS: dict[str, type[Encoder]] = {
    "wav2vec2": Wav2Vec2,
    "hubert": Hubert,
    "wavlm": WavLM,
    "data2vec-audio": Data2Vec,
    "unispeech": Encoder,
    "unispeech-sat": UniSpeechSat,
    "wav2vec2-conformer": Conformer,
    "wav2vec2-bert": Wav2Vec2Bert,
}
"""by transformers' `model_type`"""
NAMES = (
    "wav2vec2 (XLS-R, MMS), wav2vec2-bert (w2v-BERT 2.0), hubert (mHuBERT-147), wavlm, data2vec-audio, unispeech, "
    "unispeech-sat or wav2vec2-conformer"
)


_ARCHITECTURE = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation",
    "do_stable_layer_norm", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "conv_pos_batch_norm",
    "conv_pos_kernel_size", "feat_proj_layer_norm", "num_buckets", "max_bucket_distance", "position_embeddings_type",
    "conv_depthwise_kernel_size", "left_max_position_embeddings", "right_max_position_embeddings",
)  # fmt: skip


def kind(config: PreTrainedConfig) -> type[Encoder]:
    """Return the class of a configuration, which must be of a type that can be adapted."""
    return KINDS[config.model_type]


def of(net: Net) -> Encoder:
    """Return the view of a model."""
    return kind(net.config)(net)


@contextmanager
def plain_attention(net: Net) -> Iterator[None]:
    """Have a model attend by plain products in the block, not by PyTorch's kernel."""
    before = net.config._attn_implementation
    net.set_attn_implementation("eager")
    try:
        yield
    finally:
        net.set_attn_implementation(before)


def build(config: PreTrainedConfig) -> Net:
    """Return a model with random weights."""
    return prepared(net_class(config)(config))


def architecture(config: PreTrainedConfig) -> dict[str, Any]:
    """Return what of a configuration tells an architecture from another: random weights in both differ."""
    return {field: getattr(config, field) for field in _ARCHITECTURE if hasattr(config, field)}


def check(config: PreTrainedConfig, name: str) -> None:
    """Refuse what cannot be adapted.

    Raises:
        InputError: the configuration is of another type, or of a variant that has other parts.
    """
    if config.model_type not in KINDS:
        problem: str | None = "is no encoder that can be fine-tuned with CTC here"
    else:
        problem = kind(config).unsupported(config)
    if problem:
        raise InputError(
            f"'{name}' is of type '{config.model_type}' and {problem}", place="model.base", remedy=f"Use {NAMES}."
        )


def net_class(config: PreTrainedConfig) -> Any:
    """Return transformers' class of a configuration's models with a CTC head."""
    return MODEL_FOR_CTC_MAPPING[type(config)]


def prepared(net: Net) -> Net:
    """Return a model that transformers has made, ready for this package."""
    of(net).prepare()
    return net


def _silenced(states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Return hidden states (batch, frames, hidden) with zeros in the padding."""
    return states if real is None else states.masked_fill(~real[..., None], 0)


def _attend(
    attention: Any, hidden: torch.Tensor, real: torch.Tensor | None, bias: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """Return what WavLM's `torch_multi_head_self_attention` does, by the modules and not their weights.

    transformers gives the weights to a function of PyTorch's: what LoRA adds to a module would have no effect.

    Args:
        attention: WavLM's module.
        hidden: (batch, frames, hidden).
        real: bool (batch, frames), False is padding; None: there is none.
        bias: (batch · heads, frames, frames).
    """
    batch, frames, width = hidden.shape
    query, key, value = (
        each(hidden).view(batch, frames, attention.num_heads, attention.head_dim).transpose(1, 2)
        for each in (attention.q_proj, attention.k_proj, attention.v_proj)
    )  # (B, heads, T, width of a head)
    scores = (query * attention.scaling) @ key.transpose(2, 3) + bias.view(batch, -1, frames, frames)
    if real is not None:
        scores = scores.masked_fill(~real[:, None, None], torch.finfo(scores.dtype).min)
    weights = torch.nn.functional.dropout(scores.softmax(dim=-1), attention.dropout, attention.training)
    return attention.out_proj((weights @ value).transpose(1, 2).reshape(batch, frames, width)), None


def _conformer_layer(layer: Any, states: torch.Tensor, *, real: torch.Tensor | None, **around: Any) -> torch.Tensor:
    """Return what a layer of transformers' Wav2Vec2Conformer does, whose convolution must not see the padding."""
    states = states + 0.5 * layer.ffn1(layer.ffn1_layer_norm(states))
    attended, _ = layer.self_attn(layer.self_attn_layer_norm(states), **around)
    states = states + layer.self_attn_dropout(attended)
    module = layer.conv_module
    hidden = _silenced(module.layer_norm(states), real).transpose(1, 2)  # (B, H, T); zeros stay zeros up to the next
    hidden = module.depthwise_conv(module.glu(module.pointwise_conv1(hidden)))
    hidden = module.pointwise_conv2(module.activation(module.batch_norm(hidden)))
    states = states + module.dropout(hidden).transpose(1, 2)
    states = states + 0.5 * layer.ffn2(layer.ffn2_layer_norm(states))
    return layer.final_layer_norm(states)


def _tabulate(place: Any, projection: Any) -> None:
    """Have a positional convolution read what it writes from a table, if that depends on the position alone.

    It does where the convolution is depthwise, reaches back only, and reads no channels but those that the feature
    projection makes constant. The numbers are the same up to rounding; reaching back 1,500 frames takes .8 s for
    32 s of speech otherwise (one core of a Xeon).
    """
    conv = place.conv
    if projection is None or conv.groups != conv.in_channels or conv.kernel_size[0] % 2:
        return
    if projection.weight.is_meta:  # a model of sizes only
        return
    constants = (projection.weight == 0).all(1)
    weight = conv.weight.detach()[:, 0]  # (hidden, kernel)
    reach = conv.kernel_size[0] // 2
    if not constants.any() or weight[~constants].any() or weight[:, reach + 1 :].any():
        return
    steps = weight[:, 1 : reach + 1].flip(1).double() * projection.bias.detach().double()[:, None]
    written = torch.cumsum(steps, dim=1) + conv.bias.detach().double()[:, None]
    place.register_buffer("constants", constants, persistent=False)
    place.register_buffer("table", place.activation(written.T.float()), persistent=False)  # (reach, hidden)
    place.forward = functools.partial(_look_up, place)


def _look_up(place: Any, states: torch.Tensor) -> torch.Tensor:
    """Return (1, frames, hidden); all frames past the end of the table are at its last position."""
    frames = torch.arange(states.shape[1], device=states.device).clamp(max=len(place.table) - 1)
    return place.table[frames][None]


def _put_channels_last(convolution: Any) -> None:
    convolution._conv_forward = functools.partial(
        _convolve, padding=convolution.padding[0], groups=convolution.groups
    )


def _convolve(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, padding: int, groups: int
) -> torch.Tensor:
    """Return conv1d's output, (batch, channels, frames), as that of a picture one pixel high.

    Its channels are innermost then, where oneDNN is twice as fast at it; as three dimensions PyTorch never does so.
    The numbers are the same up to rounding.
    """
    if hidden.device.type != "cpu":
        return torch.nn.functional.conv1d(hidden, weight, bias, padding=padding, groups=groups)
    hidden, weight = (each[:, :, None].contiguous(memory_format=torch.channels_last) for each in (hidden, weight))
    return torch.nn.functional.conv2d(hidden, weight, bias, padding=(0, padding), groups=groups)[:, :, 0]
