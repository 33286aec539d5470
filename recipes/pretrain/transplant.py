"""A student that begins as its teacher: Whisper's encoder, rewritten as `Wav2Vec2ForCTC`.

wav2vec 2.0's pre-norm transformer (`do_stable_layer_norm`) has the same layers as Whisper's, so that weights can be
copied. What differs comes before them.

**Positions.** Whisper adds sinusoids of the absolute position, without which its layers are lost (the last one's
cosine is .34); wav2vec 2.0 has a convolution there. Such a convolution can write any function of the position: of a
channel that always holds the same value c, and of the zeros before the beginning, it makes c times the sum of its
weights up to that position. So `EXTRA` of the 512 channels hold constants, and the convolution, depthwise, reaches
back `POSITIONS` frames and writes principal components of the sinusoids there. A layer more than the teacher has
makes the sinusoids themselves of these, by random features in its feed-forward part, and clears the channels; its
attention writes nothing at first. Two channels hold plus and minus `LEVEL` meanwhile, so that layer norm divides by
nearly the same value whatever is heard.

**Channels.** There is room for that, because layer norm takes no notice of a mean, and the teacher's first hidden
states are nearly all in 448 directions. The residual stream is turned so that these are channels 0 to 447. A turn
that leaves the vector of ones where it is commutes with layer norm, once norms have no weights of their own: these go
into what reads them.

**The way in** from samples is `way_in.py`'s.

Given the teacher's first hidden states, the last ones are the teacher's: cosine .993 in fp32, .946 in bf16.
"""

import math
from dataclasses import dataclass

import torch
import way_in
from teacher import Teacher
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from way_in import CONVOLUTIONS, LATE

EXTRA = 64
LEVEL = 128.0
POSITIONS = 1_500  # frames of 20 ms
_FRAMES = 300  # the weight of a position falls by e in so many, when components are chosen: most clips are short


@dataclass(frozen=True)
class Turn:
    """The teacher's residual stream in the student's channels."""

    matrix: torch.Tensor
    """float64 (width, width), orthogonal; maps ones to ones"""

    @classmethod
    def of(cls, first: torch.Tensor) -> "Turn":
        """Return one that gives the principal directions of `first` the channels that are not extra.

        Args:
            first: float (frames, width), what the teacher's first layer is given, less the positions.
        """
        width = first.shape[1]
        centred = first.double() - first.double().mean(1, keepdim=True)
        centred = centred - centred.mean(0)
        *_, directions = torch.linalg.svd(centred.T @ centred)
        ones = torch.ones(width, dtype=torch.double) / math.sqrt(width)
        old = _orthonormal(torch.cat([ones[:, None], directions[: width - 1].T], dim=1))
        # The new axes: ones; all that sums to zero among the first channels and the contrast of first and extra ones,
        # turned at random; all that sums to zero among the extra ones.
        rows = width - EXTRA
        generator = torch.Generator().manual_seed(1)
        content = torch.randn(width, rows, generator=generator, dtype=torch.double)
        content[rows:] = content[rows:].mean(0)
        rest = torch.randn(width, EXTRA - 1, generator=generator, dtype=torch.double)
        rest[:rows] = 0
        rest[rows:] -= rest[rows:].mean(0)
        new = _orthonormal(torch.cat([ones[:, None], content[:, :rows], rest], dim=1))
        return cls(new @ old.T)

    def reads(self, weight: torch.Tensor) -> torch.Tensor:
        """Return a matrix (out, width) that reads the student's channels as `weight` reads the teacher's."""
        return (weight.double() @ self.matrix.T).float()

    def writes(self, weight: torch.Tensor) -> torch.Tensor:
        """Return (width, …) in the student's channels, less its mean."""
        weight = weight.double()
        return (self.matrix @ (weight - weight.mean(0))).float()


def _orthonormal(columns: torch.Tensor) -> torch.Tensor:
    """Return the columns made orthonormal one after another, each on the side where it was."""
    q, r = torch.linalg.qr(columns)
    return q * torch.sign(torch.diagonal(r))


def student(teacher: Teacher, labels: int, turn: Turn, heard: torch.Tensor, mels: torch.Tensor) -> Wav2Vec2ForCTC:
    """Return the student: the teacher but for its head, which knows nothing.

    Args:
        teacher: Whisper's encoder.
        labels: Of the head, the blank among them.
        turn: How the teacher's channels become the student's.
        heard: float32 (windows, samples) to fit the way in to, each at zero mean and unit variance.
        mels: float32 (windows, bands, frames), what the teacher's convolutions are given of them.
    """
    encoder = teacher.encoder
    channels, kernels, strides = (list(values) for values in zip(*CONVOLUTIONS, strict=True))
    net = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=labels, hidden_size=teacher.width, num_hidden_layers=len(encoder.layers) + 1,
            num_attention_heads=encoder.config.encoder_attention_heads,
            intermediate_size=encoder.config.encoder_ffn_dim,
            conv_dim=channels, conv_kernel=kernels, conv_stride=strides, num_feat_extract_layers=len(channels),
            conv_bias=True, feat_extract_norm="layer", do_stable_layer_norm=True,
            num_conv_pos_embeddings=2 * POSITIONS, num_conv_pos_embedding_groups=teacher.width,
            hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
            final_dropout=0.0, layerdrop=0.0, pad_token_id=0, bos_token_id=None, eos_token_id=None,
            ctc_loss_reduction="sum", mask_time_prob=0.05,
        )
    )  # fmt: skip
    body = net.wav2vec2
    with torch.no_grad():
        way_in.write(net, teacher, turn.matrix, heard, mels)
        _write_positions(net, sinusoids(encoder), turn)
        for source, target in zip(encoder.layers, body.encoder.layers[1:], strict=True):
            _copy_layer(source, target, turn)
    return net


def sinusoids(encoder: WhisperEncoder) -> torch.Tensor:
    """Return what is added at each of the student's frames: float64 (POSITIONS, width), each summing to zero."""
    known = encoder.embed_positions.weight.detach()[LATE:].double()
    known = torch.cat([known, known[-1:].repeat(max(0, POSITIONS - len(known)), 1)])[:POSITIONS]
    return known - known.mean(1, keepdim=True)


def _write_positions(net: Wav2Vec2ForCTC, wanted: torch.Tensor, turn: Turn) -> None:
    """Make projection, positional convolution and first layer add `wanted`, float64 (positions, width)."""
    width = wanted.shape[1]
    wanted = wanted @ turn.matrix.T
    body, extra = net.wav2vec2, slice(width - EXTRA, width - 2)
    # Components, each as large as the others and summing to zero, in all extra channels but two.
    weights = torch.exp(-torch.arange(len(wanted), dtype=torch.double) / _FRAMES)[:, None]
    mean = (weights * wanted).sum(0) / weights.sum()
    *_, directions = torch.linalg.svd(weights.sqrt() * (wanted - mean), full_matrices=False)
    square = torch.randn(EXTRA - 2, EXTRA - 2, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    square[:, 0] = 1
    values = (wanted - mean) @ directions[: EXTRA - 3].T @ _orthonormal(square)[:, 1:].T  # (positions, EXTRA - 2)
    offset = math.ceil(-float(values.min())) + 1.0
    before = values + offset
    for _ in range(50):  # Newton: what GELU makes `values + offset` of
        slope = torch.special.ndtr(before) + before * torch.exp(-(before**2) / 2) / math.sqrt(2 * math.pi)
        before = before - (torch.nn.functional.gelu(before) - values - offset) / slope
    steps = torch.diff(before, dim=0, prepend=torch.zeros_like(before[:1])) / -offset
    conv = body.encoder.pos_conv_embed.conv
    kernel = torch.zeros(width, 1, conv.kernel_size[0], dtype=torch.double)
    kernel[extra, 0, 1 : len(steps) + 1] = steps.flip(0).T
    # Weight norm divides by what is at a place; in half precision, squares of small numbers are zero.
    scales = kernel.norm(dim=(0, 1))
    unit = torch.where(scales > 0, kernel / scales.clamp(min=1e-30), torch.ones_like(kernel))
    conv.parametrizations.weight.original1.copy_(unit)
    conv.parametrizations.weight.original0.copy_(scales)
    conv.bias.zero_()
    projection, masked = body.feature_projection.projection, body.masked_spec_embed
    projection.weight[extra.start :] = 0
    projection.bias.zero_()
    masked.zero_()
    for constants in (projection.bias, masked):
        constants[extra] = -offset
        constants[-2], constants[-1] = LEVEL, -LEVEL

    layer = body.encoder.layers[0]
    layer.attention.out_proj.weight.zero_()
    layer.attention.out_proj.bias.zero_()
    level = LEVEL * math.sqrt(2 / width)  # what layer norm divides by
    layer.layer_norm.weight.fill_(level)  # its attention hears as loud as that of others
    layer.layer_norm.weight[extra.start :] = 1.0
    reading, writing = layer.feed_forward.intermediate_dense, layer.feed_forward.output_dense
    units = reading.out_features
    weight = torch.randn(units, EXTRA - 2, generator=torch.Generator().manual_seed(2), dtype=torch.double) * 0.3
    weight[: 2 * (EXTRA - 2)] = torch.cat([torch.eye(EXTRA - 2), -torch.eye(EXTRA - 2)]).double() * 0.5
    bias = torch.randn(units, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    bias[: 2 * (EXTRA - 2)] = 0
    made = torch.nn.functional.gelu(values @ weight.T + bias)
    made = torch.cat([made, torch.ones(len(made), 1, dtype=torch.double)], dim=1)
    missing = wanted.clone()
    missing[:, extra] -= values
    gram = made.T @ (made * weights.sqrt()) + 1e-3 * torch.eye(units + 1, dtype=torch.double)
    solved = torch.linalg.solve(gram, made.T @ (missing * weights.sqrt())).T  # (width, units + 1)
    reading.weight.zero_()
    reading.weight[:, extra] = (weight * level).float()
    reading.bias.copy_(bias)
    writing.weight.copy_(solved[:, :-1])
    writing.bias.copy_(solved[:, -1])
    writing.bias[-2] -= LEVEL
    writing.bias[-1] += LEVEL


def _copy_layer(source: torch.nn.Module, target: torch.nn.Module, turn: Turn) -> None:
    """Copy a layer of Whisper; what its norms multiply by goes into what reads them."""
    old, new = source.self_attn, target.attention
    for name in ("q_proj", "k_proj", "v_proj"):
        _copy_reading(getattr(old, name), getattr(new, name), source.self_attn_layer_norm, turn)
    _copy_writing(old.out_proj, new.out_proj, turn)
    _copy_reading(source.fc1, target.feed_forward.intermediate_dense, source.final_layer_norm, turn)
    _copy_writing(source.fc2, target.feed_forward.output_dense, turn)


def _copy_reading(source: torch.nn.Linear, target: torch.nn.Linear, norm: torch.nn.LayerNorm, turn: Turn) -> None:
    target.weight.copy_(turn.reads(source.weight * norm.weight))
    target.bias.copy_(source.weight @ norm.bias)
    if source.bias is not None:
        target.bias += source.bias


def _copy_writing(source: torch.nn.Linear, target: torch.nn.Linear, turn: Turn) -> None:
    target.weight.copy_(turn.writes(source.weight))
    target.bias.copy_(turn.writes(source.bias))
