"""Audio: any file becomes mono float32 at 16 kHz. The only package that decodes and resamples."""

from asr_adapt.audio.decode import Audio, blocks, duration_s, header_duration_s, is_seekable, load
from asr_adapt.audio.encode import encode_opus
from asr_adapt.audio.resample import SAMPLE_RATE_HZ, resample

__all__ = [
    "SAMPLE_RATE_HZ",
    "Audio",
    "blocks",
    "duration_s",
    "encode_opus",
    "header_duration_s",
    "is_seekable",
    "load",
    "resample",
]
