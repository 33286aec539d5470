"""Audio: any file becomes mono float32 at 16 kHz. The only package that decodes and resamples."""

from asr_adapt.audio.decode import Audio, blocks, claimed_s, duration_s, load, seeks
from asr_adapt.audio.encode import encode_opus
from asr_adapt.audio.resample import SAMPLE_RATE_HZ, resample

__all__ = [
    "SAMPLE_RATE_HZ",
    "Audio",
    "blocks",
    "claimed_s",
    "duration_s",
    "encode_opus",
    "load",
    "resample",
    "seeks",
]
