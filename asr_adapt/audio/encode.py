"""Encoding: speech as a browser plays it."""

import io

import numpy as np

from asr_adapt.audio.resample import SAMPLE_RATE_HZ


def encode_opus(waveform: np.ndarray) -> bytes:
    """Return a waveform (float32 (num_samples,), 16 kHz) as Opus in Ogg, 24 kb/s: for a browser to play.

    By FFmpeg at libopus's complexity 5, some five times faster than libsndfile, which uses the highest.
    """
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as output:
        stream = output.add_stream(
            "libopus", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=24_000, options={"compression_level": "5"}
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform)[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for sent in (frame, None):
            output.mux(stream.encode(sent))
    return file.getvalue()
