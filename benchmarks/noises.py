"""Recordings without speech, as `recordings.py` and the tests of voice activity use them."""

import numpy as np

RATE_HZ = 16_000


def noises(seconds: int, seed: int) -> dict[str, np.ndarray]:
    """Return what a room without speech may sound like: float32 (num_samples,) each, 16 kHz."""
    rng = np.random.default_rng(seed)
    t = np.arange(seconds * RATE_HZ) / RATE_HZ
    white = rng.standard_normal(len(t))
    low = np.fft.irfft(np.fft.rfft(white) / (1 + np.fft.rfftfreq(len(t), 1 / RATE_HZ) / 150), len(t))
    low /= low.std()
    hum = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in (1, 2, 3, 5, 7))
    chords = np.zeros(len(t))
    for begin in range(0, len(t), RATE_HZ // 2):
        note = t[: RATE_HZ // 2]
        root = rng.choice([220, 261.6, 293.7, 329.6, 392])
        sounds = (np.sin(2 * np.pi * root * r * h * note) / h for r in (1, 1.26, 1.5) for h in (1, 2, 3))
        chords[begin : begin + RATE_HZ // 2] = 0.1 * sum(sounds) * np.exp(-2 * note)
    clicks = 0.0005 * white
    for at in rng.integers(0, len(t) - 200, 3 * seconds):
        clicks[at : at + 160] += 0.5 * rng.standard_normal(160) * np.exp(-np.arange(160) / 30)
    found = {
        "room": 0.0005 * low,
        "loud room": 0.006 * low,
        "hum": 0.03 * hum + 0.0005 * white,
        "chords": chords,
        "clicks": clicks,
        "wind": 0.1 * low * (1 + 0.9 * np.sin(2 * np.pi * 0.3 * t)),
        "hiss": 0.01 * white,
    }
    return {name: np.clip(noise, -1, 1).astype(np.float32) for name, noise in found.items()}
