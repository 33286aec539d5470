"""Log-mel frames of w2v-BERT 2.0, as transformers' SeamlessM4TFeatureExtractor computes them, on any device."""

import functools

import torch

BANDS, WINDOW, HOP = 80, 400, 160  # samples at 16 kHz: 25 ms, every 10 ms
STACKED = 2  # mel frames in a frame of the model
_FFT = 512
_PREEMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07  # of a band's power
_SCALE = 2.0**15  # Kaldi's samples are 16-bit integers


def stacked(waveform: torch.Tensor, *, whole: bool, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return pairs of log-mel frames side by side, each band of the clip at zero mean and unit variance.

    transformers computes them in float64; in float32 they differ by rounding.

    Args:
        waveform: float32 (num_samples,), 16 kHz, in [-1, 1], at least two mel frames long.
        whole: Keep a last mel frame without a partner, beside zeros, as transformers does.
        dtype: Of the computation.

    Returns:
        float32 (frames, 160).
    """
    mels = _log_mel(waveform, dtype)  # (M, 80)
    mels = (mels - mels.mean(0)) / torch.sqrt(mels.var(0, correction=1) + 1e-7)
    frames = mels.shape[0] // STACKED
    if whole:  # sizes may be symbolic, in export: nothing here depends on whether M is odd
        frames = (mels.shape[0] + 1) // STACKED
        mels = torch.cat([mels, torch.zeros_like(mels[:1])])
    return mels[: STACKED * frames].reshape(frames, STACKED * BANDS).float()


def paired_frames(num_samples: int) -> int:
    """Return how many pairs of mel frames a clip has; a last one without a partner does not count."""
    return (1 + (num_samples - WINDOW) // HOP) // STACKED


def _log_mel(waveform: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the log power in each band: (mel frames, 80) of a waveform (num_samples,)."""
    analysis, bands = constants(dtype, waveform.device)
    spectrum = torch.nn.functional.conv1d(waveform[None, None].to(dtype) * _SCALE, analysis, stride=HOP)[0]
    power = spectrum[: _FFT // 2 + 1].square() + spectrum[_FFT // 2 + 1 :].square()  # (257, M)
    return (bands @ power).clamp(min=_FLOOR).log().T


@functools.cache
def constants(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the filters (514, 1, 400), of real and imaginary parts, and the bands (80, 257).

    What Kaldi does to a window is linear: its mean taken off, pre-emphasis, Povey's window, a Fourier transform. So
    it is one matrix.
    """
    from transformers import SeamlessM4TFeatureExtractor

    theirs = SeamlessM4TFeatureExtractor()
    with torch.inference_mode(False), torch.no_grad():
        samples = torch.eye(WINDOW, dtype=torch.float64)
        centred = samples - 1 / WINDOW  # a column is what a sample of the window becomes
        before = torch.cat([centred[:1], centred[:-1]])
        emphasised = centred - _PREEMPHASIS * before
        windowed = emphasised * torch.from_numpy(theirs.window)[:, None]
        spectrum = torch.fft.rfft(windowed, n=_FFT, dim=0)  # (257, 400)
        filters = torch.cat([spectrum.real, spectrum.imag])[:, None]
        bands = torch.from_numpy(theirs.mel_filters).T
        return tuple(each.to(device, dtype).contiguous() for each in (filters, bands))  # type: ignore[return-value]
