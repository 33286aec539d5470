"""The way in: what Whisper makes of its log-mel bands, made of samples by wav2vec 2.0's convolutions.

Each of these convolutions is followed by a layer norm and GELU. **Norms.** Some channels hold plus and minus a value
so large that a norm divides by nearly the same whatever is heard, and others hold what makes the channels sum to
zero; so a norm only scales. **Convolutions**, of which two come before Whisper's own two:

- a short-time Fourier transform, each frequency in `DIRECTIONS` of the complex plane: what GELU leaves of them sums
  to the magnitude, but for 6 %;
- for each mel band, `KNOTS` channels that fall with its magnitude and reach zero at levels a constant factor apart.
  Weighted, they sum to a logarithm, in straight pieces; the weights are fitted to the teacher's bands, with those of
  neighbours, since a band's mean magnitude is not the root of its mean power;
- Whisper's first convolution of that sum, and its second one.

Frame `u` of the student is at the same samples as frame `u + LATE` of the teacher that hears `SHIFT` zeros first.
"""

import math

import numpy as np
import torch
from teacher import Teacher
from transformers import Wav2Vec2ForCTC, WhisperFeatureExtractor

LATE, SHIFT = 2, 120
DIRECTIONS = 3
KNOTS = 6
_FREQUENCIES, _BANDS = 201, 80
_LENGTH, _HOP = 400, 160
# Channels, kernel and stride of each; the last two are as wide as Whisper's, with room for what the norms need.
CONVOLUTIONS = ((608, _LENGTH, _HOP), (576, 1, 1), (528, 3, 1), (528, 3, 2))
_GAIN = 100.0  # of the Fourier transform: GELU bends a 100th of the samples' level
_LOUDEST = 125.0  # what one frame in 200 exceeds in each band; a whistle may exceed it 20 times
_QUIETEST = 0.03  # of the loudest band: no band counts as quieter, also where the fit heard nothing in it
_SLOPE = 2.0  # of knots: GELU bends the last half before they are zero
_RANGE_DB = 66.0  # between a band's highest and lowest knot; below it, all is as quiet
_LEVELS = (1e3, 4e3, 1e3, 1e3)  # of the channels that the norms divide by
_PROJECTED_LEVEL = 300.0
_RIDGE = 1e-3


def write(net: Wav2Vec2ForCTC, teacher: Teacher, turn: torch.Tensor, heard: torch.Tensor, mels: torch.Tensor) -> None:
    """Write convolutions and projection of `net`.

    Args:
        net: With `CONVOLUTIONS`.
        teacher: Whose convolutions are copied.
        turn: float64 (width, width), to the student's channels.
        heard: float32 (windows, samples), each at zero mean and unit variance.
        mels: float32 (windows, bands, frames), the log-mel bands that the teacher's convolutions are given of them.
    """
    layers = net.wav2vec2.feature_extractor.conv_layers
    with torch.no_grad():
        none = torch.zeros(0, DIRECTIONS * _FREQUENCIES)
        _write(layers[0], _waves()[:, None], torch.zeros(len(none.T)), none, _LEVELS[0], _GAIN)
        magnitudes = _filters().repeat_interleave(DIRECTIONS, dim=1)[..., None]  # (bands, channels, 1)
        spectra = _heard(layers[:1], heard)
        found = spectra[..., : magnitudes.shape[1]].flatten(0, 1) @ magnitudes[..., 0].T
        loud = torch.quantile(found[::7], 0.995, dim=0)
        magnitudes *= _LOUDEST / loud.clamp(min=_QUIETEST * float(loud.max()))[:, None, None]
        steps = torch.linspace(-_RANGE_DB, 0, KNOTS) / 20
        knots = (_LOUDEST * 10**steps).repeat(_BANDS)
        sums = torch.eye(_BANDS).repeat_interleave(KNOTS, dim=1)
        _write(layers[1], -magnitudes.repeat_interleave(KNOTS, dim=0), knots, sums, _LEVELS[1], _SLOPE / knots)
        units = _heard(layers[1:2], spectra)[..., : len(knots)]
        wanted = mels[..., LATE : LATE + units.shape[1]].transpose(1, 2)
        bands, offset = _fit(units.flatten(0, 1), wanted.flatten(0, 1))
        encoder = teacher.encoder
        first, second = encoder.conv1, encoder.conv2
        even = torch.ones(8, len(first.bias)) / 8
        _write(
            layers[2],
            torch.einsum("obk,bu->ouk", first.weight, bands),
            first.bias + torch.einsum("obk,b->o", first.weight, offset),
            even,
            _LEVELS[2],
            1.0,
        )
        _write(layers[3], second.weight, second.bias, even, _LEVELS[3], 1.0)
        _project(net, turn)


def _waves() -> torch.Tensor:
    """Return float32 (frequencies * directions, length)."""
    window = torch.hann_window(_LENGTH, dtype=torch.double)
    angles = 2 * math.pi * torch.arange(_FREQUENCIES)[:, None, None] * torch.arange(_LENGTH).double() / _LENGTH
    phases = 2 * math.pi * torch.arange(DIRECTIONS)[:, None] / DIRECTIONS
    return ((angles + phases).cos() * window / window.norm()).flatten(0, 1).float()


def _filters() -> torch.Tensor:
    """Return float32 (bands, frequencies): each band's root of Whisper's mel filter, summing to one."""
    roots = torch.from_numpy(np.asarray(WhisperFeatureExtractor().mel_filters)).float().sqrt()
    return (roots / roots.sum(0)).T


def _write(
    layer: torch.nn.Module,
    weight: torch.Tensor,
    bias: torch.Tensor,
    sums: torch.Tensor,
    level: float,
    slope: torch.Tensor | float,
) -> None:
    """Make a layer write GELU of `slope` times what `weight` and `bias` make of its input.

    Args:
        layer: Convolution, norm and GELU.
        weight: (channels, inputs, kernel); the inputs that there are beyond these are not read.
        bias: (channels).
        sums: (balancing channels, channels): their rows sum to a row of ones, or the channels sum to zero.
        level: Of the channels that the norm divides by.
        slope: Of each channel.
    """
    conv, norm = layer.conv, layer.layer_norm
    written, balanced = len(bias), len(bias) + len(sums)
    for parameter in (conv.weight, conv.bias, norm.weight, norm.bias):
        parameter.zero_()
    conv.weight[:balanced, : weight.shape[1]] = torch.cat([weight, -torch.einsum("bo,ouk->buk", sums, weight)])
    conv.bias[:balanced] = torch.cat([bias, -sums @ bias])
    pairs = (conv.out_channels - balanced) // 2
    conv.bias[balanced : balanced + pairs] = level
    conv.bias[balanced + pairs : balanced + 2 * pairs] = -level
    norm.weight[:written] = slope * level * math.sqrt(2 * pairs / conv.out_channels)


def _heard(layers: torch.nn.ModuleList, states: torch.Tensor) -> torch.Tensor:
    """Return what layers make of samples (windows, samples) or of states (windows, frames, channels)."""
    states = states[:, None] if states.ndim == 2 else states.transpose(1, 2)
    for layer in layers:
        states = layer(states)
    return states.transpose(1, 2)


def _fit(units: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (outputs, inputs) and offsets (outputs) by ridge regression."""
    units, wanted = units.double(), wanted.double()
    mean, scale = units.mean(0), units.std(0) + 1e-6
    units = (units - mean) / scale
    gram = units.T @ units / len(units) + _RIDGE * torch.eye(len(scale), dtype=torch.double)
    weights = torch.linalg.solve(gram, units.T @ (wanted - wanted.mean(0)) / len(units)).T / scale
    return weights.float(), (wanted.mean(0) - weights @ mean).float()


def _project(net: Wav2Vec2ForCTC, turn: torch.Tensor) -> None:
    """Turn what Whisper's convolutions write; the norm before it divides by the level of one channel, too."""
    last = net.wav2vec2.feature_extractor.conv_layers[-1]
    projection = net.wav2vec2.feature_projection
    width, channels = len(turn), last.conv.out_channels
    last.layer_norm.bias[-1] = _PROJECTED_LEVEL
    mean = _PROJECTED_LEVEL / channels
    scale = _PROJECTED_LEVEL * math.sqrt(1 / channels - 1 / channels**2)
    projection.layer_norm.weight.zero_()
    projection.layer_norm.bias.zero_()
    projection.layer_norm.weight[:width] = 1.0
    projection.layer_norm.bias[:width] = mean / scale
    # A mean is not wanted, so that the norm's takes nothing away.
    matrix = turn - turn.mean(1, keepdim=True)
    projection.projection.weight.zero_()
    projection.projection.weight[:, :width] = (matrix * scale).float()
