"""Degrade clean speech with random rooms, noise, microphones and recorders.

`degrade` applies them in physical order: the speaker's size and tempo, the room, background noise, the microphone and
its frequency band, the recorder. It takes 5 ms for a clip of 3 s (one core of a cloud server).
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
import scipy.signal
import soxr

SAMPLE_RATE_HZ = 16_000

SPEED = (0.88, 1.14)
SNR_DB = (5.0, 35.0)
REVERBERATION_TIME_S = (0.08, 0.7)
DIRECT_TO_REVERBERANT_DB = (-2.0, 15.0)
LOW_PASS_HZ = (3_400.0, 7_000.0)
HIGH_PASS_HZ = (40.0, 300.0)
PEAK_DB = (-24.0, -0.5)
HUM_HZ = (50.0, 60.0)


def degrade(waveform: np.ndarray, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return the waveform as recorded in a random room with a random microphone and recorder.

    The speed changes (pitch and formants with it), and so does the length, by -12 to +14 %; nothing else
    changes timing, so the transcript stays correct.

    Args:
        waveform: float32 (num_samples,), 16 kHz, in [-1, 1].
        rng: Source of every random choice.
        others: Waveforms of other speakers at 16 kHz, from which babble is mixed; may be empty.

    Returns:
        float32 (num_samples',), 16 kHz, in [-1, 1].
    """
    speech = waveform.astype(np.float32)
    if rng.random() < 0.6:
        speech = change_speed(speech, rng.uniform(*SPEED))
    return record(speech, rng, others)


def record(waveform: np.ndarray, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Degrade as `degrade` does, but at the same speed: every sample stays at its time."""
    speech = waveform.astype(np.float32)
    if rng.random() < 0.45:
        speech = reverberate(speech, rng)
    if rng.random() < 0.5:
        speech = equalise(speech, rng)
    noises = rng.choice([0, 1, 2], p=[0.1, 0.7, 0.2])
    for _ in range(noises):
        speech = add_at(speech, make_noise(len(speech), rng, others), rng.uniform(*SNR_DB))
    if rng.random() < 0.3:
        speech = equalise(speech, rng)
    if rng.random() < 0.35:
        speech = limit_band(speech, rng)
    if rng.random() < 0.1:
        speech = saturate(speech, rng.uniform(1.0, 4.0))
    speech = set_peak(speech, rng.uniform(*PEAK_DB))
    if rng.random() < 0.1:
        speech = mu_law(speech)
    return speech


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play the waveform `factor` times as fast, which raises pitch and formants when above 1."""
    return soxr.resample(waveform, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="MQ").astype(np.float32)


def reverberate(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve with a room impulse response: a direct impulse, then exponentially decaying noise.

    The tail is low-pass filtered, as in a real room. Timing of the direct sound and length do not change.
    """
    reverberation_time_s = rng.uniform(*REVERBERATION_TIME_S)
    length = int(reverberation_time_s * SAMPLE_RATE_HZ)
    time_s = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
    # 60 dB down after the reverberation time: ln(10 ** 3) = 6.9.
    tail = rng.standard_normal(length, dtype=np.float32) * np.exp(-6.9 / reverberation_time_s * time_s)
    tail[: int(rng.uniform(0.001, 0.012) * SAMPLE_RATE_HZ)] = 0.0  # the way to the nearest wall and back
    damping = rng.uniform(0.0, 0.8)
    tail = scipy.signal.lfilter([1.0 - damping], [1.0, -damping], tail)
    energy = np.sum(tail**2) + 1e-9
    tail *= np.sqrt(10 ** (-rng.uniform(*DIRECT_TO_REVERBERANT_DB) / 10) / energy)
    tail[0] = 1.0
    return scipy.signal.oaconvolve(waveform, tail.astype(np.float32))[: len(waveform)].astype(np.float32)


def equalise(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a random smooth frequency response: a tilt of up to 4 dB per octave and up to three peaks."""

    def gain_db(frequency_hz: np.ndarray) -> np.ndarray:
        octave = np.log2(np.maximum(frequency_hz, 30.0) / 1_000.0)
        response = rng.uniform(-4.0, 4.0) * np.clip(octave, -3.0, 3.0)
        for _ in range(rng.integers(0, 4)):
            centre, width = rng.uniform(-3.5, 3.0), rng.uniform(0.2, 1.0)
            response += rng.uniform(-10.0, 10.0) * np.exp(-(((octave - centre) / width) ** 2))
        return response

    return _shape(waveform, gain_db)


def limit_band(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Low-pass at 3.4 to 7 kHz, and in half of the cases also high-pass at 40 to 300 Hz."""
    top_hz = rng.uniform(*LOW_PASS_HZ)
    bottom_hz = rng.uniform(*HIGH_PASS_HZ) if rng.random() < 0.5 else 0.0
    slope_db = rng.uniform(24.0, 120.0)  # per octave

    def gain_db(frequency_hz: np.ndarray) -> np.ndarray:
        frequency_hz = np.maximum(frequency_hz, 1.0)
        above = np.maximum(np.log2(frequency_hz / top_hz), 0.0)
        below = np.maximum(np.log2(bottom_hz / frequency_hz), 0.0) if bottom_hz else 0.0
        return -slope_db * above - 18.0 * below

    return _shape(waveform, gain_db)


def make_noise(length: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return `length` samples of one kind of noise: coloured noise, a hum, or babble of other speakers."""
    kinds = ["coloured", "gusts", "hum", *(["babble"] if len(others) else [])]
    weights = np.array([0.5, 0.15, 0.1, 0.25][: len(kinds)])
    match rng.choice(kinds, p=weights / weights.sum()):
        case "babble":
            return _babble(length, rng, others)
        case "hum":
            return _hum(length, rng)
        case "gusts":
            knots = rng.uniform(0.05, 1.0, size=max(2, length // 4_000))
            envelope = np.interp(np.linspace(0, len(knots) - 1, length), np.arange(len(knots)), knots)
            return (_coloured(length, rng) * envelope).astype(np.float32)
        case _:
            return _coloured(length, rng)


def add_at(waveform: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add the noise at the given signal-to-noise ratio; a silent waveform is returned unchanged."""
    speech_power, noise_power = np.mean(waveform**2), np.mean(noise**2)
    if speech_power == 0 or noise_power == 0:
        return waveform
    return waveform + noise * np.sqrt(speech_power / noise_power * 10 ** (-snr_db / 10)).astype(np.float32)


def saturate(waveform: np.ndarray, drive: float) -> np.ndarray:
    """Overdrive the recorder's input: `drive` times the peak into a soft clipper."""
    peak = np.max(np.abs(waveform)) + 1e-9
    return np.tanh(waveform * (drive / peak)).astype(np.float32)


def set_peak(waveform: np.ndarray, peak_db: float) -> np.ndarray:
    """Scale to a peak of `peak_db` below full scale."""
    peak = np.max(np.abs(waveform)) + 1e-9
    return (waveform * (10 ** (peak_db / 20) / peak)).astype(np.float32)


def mu_law(waveform: np.ndarray) -> np.ndarray:
    """Pass the waveform through 8 bits of mu-law (ITU-T G.711's curve) and back."""
    compressed = np.sign(waveform) * np.log1p(255.0 * np.abs(waveform)) / np.log(256.0)
    coarse = np.round(compressed * 127.0) / 127.0
    return (np.sign(coarse) * np.expm1(np.abs(coarse) * np.log(256.0)) / 255.0).astype(np.float32)


def _shape(waveform: np.ndarray, gain_db: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Multiply the spectrum by `gain_db(frequency in Hz)`, with zero phase."""
    padded = scipy.fft.next_fast_len(len(waveform) + 512, real=True)
    spectrum = scipy.fft.rfft(waveform, padded)
    # The response is smooth: 256 points describe it, and cost less than evaluating every bin.
    grid_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, 257)
    gain = 10 ** (gain_db(grid_hz) / 20)
    gain = np.interp(np.linspace(0.0, 256.0, len(spectrum)), np.arange(257), gain).astype(np.float32)
    return scipy.fft.irfft(spectrum * gain, padded)[: len(waveform)].astype(np.float32)


def _coloured(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls as 1 / frequency ** a: a = 0 is white, 1 pink, 2 brown."""
    exponent = rng.uniform(0.0, 2.0)
    white = rng.standard_normal(length, dtype=np.float32)
    return _shape(white, lambda hz: -10.0 * exponent * np.log10(np.maximum(hz, 30.0) / 1_000.0))


def _hum(length: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum and its harmonics, over a floor of coloured noise."""
    phase = 2 * np.pi * rng.choice(HUM_HZ) / SAMPLE_RATE_HZ * np.arange(length)
    hum = np.zeros(length)
    for harmonic in range(1, 9):
        hum += rng.uniform(0.0, 1.0) / harmonic * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi))
    floor = _coloured(length, rng)
    return (hum + floor * (0.2 * np.std(hum) / (np.std(floor) + 1e-9))).astype(np.float32)


def _babble(length: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Three to eight other clips at once, each looped from a random start."""
    babble = np.zeros(length, dtype=np.float32)
    for index in rng.integers(0, len(others), size=rng.integers(3, 9)):
        voice = np.roll(others[index], rng.integers(0, len(others[index])))
        babble += np.resize(voice, length) * np.float32(rng.uniform(0.3, 1.0) / (np.std(voice) + 1e-6))
    return babble
