"""Audio quality of clips: level, noise, bandwidth, and whether the amount of text is plausible."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.corpora.checks import SILENCE_PEAK
from asr_adapt.records import Utterance
from asr_adapt.stages.doctor.finding import Finding, always, found

# A clip that touches its own peak in more of its samples has its tops cut off: speech spends far less there.
CLIPPED_SHARE = 0.003
_NEAR_PEAK = 0.98
_LOUD = 0.25  # a softer one that is flat on top is a codec's work or a square wave
# A mean of -40 dB of full scale is a fault of the recorder; a few hundredths of it are everywhere.
DC_OFFSET = 0.01
# Loud frames above soft ones, in dB: there is a pause in almost any clip, and a room at 10 dB is hardly understood.
NOISY_SNR_DB = 8.0
# What telephone filters leave: a wall at 4 kHz of more than 30 dB within an octave's quarter.
BAND_WALL_DB = 30.0
# Seven syllables a second, of three or four letters each, is the fastest that people speak.
MOST_LETTERS_S = 30.0
# One letter a second: most of the clip has no transcript (scripts of a syllable a sign have 4 and more).
LEAST_LETTERS_S = 1.0
_LONG_ENOUGH_S = 2.0  # to judge the rate of speech by
# Encoders pad, and cut at frames: a tenth of a second is no lie.
LENGTH_TOLERANCE_S = 0.1
_FRAME = 400  # 25 ms


@dataclass(frozen=True)
class Measurements:
    """What was measured in one clip of float32 at 16 kHz."""

    duration_s: float
    peak: float
    clipped_share: float
    mean: float
    snr_db: float
    """the 95th percentile of 25 ms frames above the 5th"""
    wall_db: float
    """3 to 3.6 kHz above 4.3 to 5 kHz"""
    digest: str
    """of its samples"""


def measure(waveform: np.ndarray) -> Measurements:
    """Measure a waveform: float32 (num_samples,), 16 kHz, at least one sample. It is not changed."""
    peak = float(np.abs(waveform).max())
    mean = float(waveform.mean(dtype=np.float64))
    frames = waveform[: len(waveform) // _FRAME * _FRAME].reshape(-1, _FRAME)
    snr_db, wall_db = 99.0, 0.0
    if len(frames) > 1 and peak >= SILENCE_PEAK:
        centred = frames - mean
        power = np.square(centred).mean(axis=1) + 1e-12
        soft, loud = np.percentile(power, [5, 95])
        snr_db = float(10 * np.log10(loud / soft))
        spectrum = np.square(np.abs(np.fft.rfft(centred * np.hanning(_FRAME).astype(np.float32), axis=1))).mean(
            axis=0
        )
        hertz = np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE_HZ)
        below = spectrum[(hertz >= 3000) & (hertz <= 3600)].mean()
        above = spectrum[(hertz >= 4300) & (hertz <= 5000)].mean()
        wall_db = float(10 * np.log10((below + 1e-10) / (above + 1e-10)))
    return Measurements(
        duration_s=len(waveform) / SAMPLE_RATE_HZ,
        peak=peak,
        clipped_share=float((np.abs(waveform) >= _NEAR_PEAK * peak).mean()) if peak >= _LOUD else 0.0,
        mean=mean,
        snr_db=snr_db,
        wall_db=wall_db,
        digest=hashlib.sha1(np.ascontiguousarray(waveform).tobytes()).hexdigest(),
    )


def check(
    clips: Sequence[tuple[Utterance, Measurements, str, float | None]], skipped: frozenset[str] = frozenset()
) -> list[Finding]:
    """Return what is wrong with the sound of clips.

    Args:
        clips: `(utterance, its measurements, normalised text, length that header or manifest claims)`.
        skipped: Ids of clips that cannot be trained on anyway, and are not judged twice.
    """
    clipped, offset, noisy, narrow, fast, slow, lying = [], [], [], [], [], [], []
    for utterance, sound, text, declared_s in clips:
        if declared_s is not None and abs(declared_s - sound.duration_s) > LENGTH_TOLERANCE_S:
            lying.append((utterance.id, f"{declared_s:.2f} s stated, {sound.duration_s:.2f} s decoded"))
        if utterance.id in skipped:
            continue
        letters_s = len(text.replace(" ", "")) / sound.duration_s
        if sound.clipped_share > CLIPPED_SHARE:
            clipped.append((utterance.id, f"{sound.clipped_share:.1%} of the samples at the peak"))
        if abs(sound.mean) > DC_OFFSET:
            offset.append((utterance.id, f"mean {sound.mean:+.3f} of full scale"))
        if sound.snr_db < NOISY_SNR_DB:
            noisy.append((utterance.id, f"loud parts {sound.snr_db:.0f} dB above soft ones"))
        if sound.wall_db > BAND_WALL_DB:
            narrow.append((utterance.id, f"{sound.wall_db:.0f} dB less above 4 kHz than below"))
        if letters_s > MOST_LETTERS_S:
            fast.append((utterance.id, f"{letters_s:.0f} letters per second"))
        elif letters_s < LEAST_LETTERS_S and sound.duration_s >= _LONG_ENOUGH_S:
            slow.append((utterance.id, f"{letters_s:.2f} letters per second in {sound.duration_s:.1f} s"))
    return [
        *found("length_claimed", "error", "recordings whose duration is not the stated one",
               "Copy or export them again, or correct the times.", lying),
        *found("too_fast", "error", "more letters per second than anybody speaks",
               "The text belongs to another clip, or the clip is cut off; --fix leaves them out.", fast, always,
               usable=True),
        *found("too_slow", "warning", "hardly any text for so much audio",
               "Transcribe the rest, or cut the clip.", slow),
        *found("clipped", "warning", "recordings that are clipped at their peaks",
               "Record with less gain; keep them if there are no others.", clipped),
        *found("noisy", "warning", "speech hardly above the noise", "Listen to them; leave out what nobody "
               "understands.", noisy),
        *found("narrow_band", "warning", "nothing above 4 kHz: once recorded at 8 kHz, or over a telephone",
               "Look for the originals; s and f are guessed otherwise.", narrow),
        *found("dc_offset", "note", "waveforms with a DC offset", "A high-pass filter at 20 Hz mends it.",
               offset),
    ]  # fmt: skip
