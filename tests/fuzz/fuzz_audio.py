"""Fuzzes the decoding of audio: small valid files of each container, mutated."""

import io

import av
import numpy as np
import soundfile
from runner import Target, main, mutated

from asr_adapt import audio

_LIMIT_S = 600.0  # more than this is not asked for, as by a server


def _waveform(channels: int = 1, rate: int = 16_000) -> np.ndarray:
    tone = 0.3 * np.sin(np.arange(int(0.3 * rate)) / 6)
    return np.repeat(tone.astype(np.float32)[:, None], channels, axis=1)


def _by_libsndfile(container: str, subtype: str, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, _waveform(channels), 16_000, format=container, subtype=subtype)
    return file.getvalue()


def _by_ffmpeg(container: str, codec: str, layout: str = "mono", rate: int = 16_000, tracks: int = 1) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = [output.add_stream(codec, rate=rate, layout=layout) for _ in range(tracks)]
        for stream in streams:
            samples = _waveform(av.AudioLayout(layout).nb_channels, rate).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))
    return file.getvalue()


def _seeds() -> list[bytes]:
    return [
        _by_libsndfile("WAV", "PCM_16"),
        _by_libsndfile("WAVEX", "PCM_24", channels=2),
        _by_libsndfile("WAV", "MS_ADPCM"),
        _by_libsndfile("AIFF", "PCM_16"),
        _by_libsndfile("CAF", "PCM_16", channels=2),
        _by_libsndfile("FLAC", "PCM_16"),
        _by_libsndfile("FLAC", "PCM_24", channels=8),
        _by_libsndfile("OGG", "VORBIS", channels=8),
        _by_libsndfile("OGG", "OPUS"),
        _by_ffmpeg("mp3", "libmp3lame"),
        _by_ffmpeg("ipod", "aac"),
        _by_ffmpeg("ipod", "aac", "7.1", 48_000),
        _by_ffmpeg("ipod", "alac", "stereo"),
        _by_ffmpeg("mp4", "aac", tracks=2),
        _by_ffmpeg("mov", "pcm_s16le", "stereo", 8_000),
        _by_ffmpeg("webm", "libopus", "stereo", 48_000),
        _by_ffmpeg("matroska", "aac", "5.1", 48_000),
        _by_ffmpeg("matroska", "pcm_f64le", rate=8_000),
        _by_ffmpeg("adts", "aac"),
        _by_ffmpeg("amr", "libopencore_amrnb", rate=8_000),
        _by_ffmpeg("mpegts", "aac"),
        _by_ffmpeg("flv", "aac", rate=44_100),
        _by_ffmpeg("wv", "wavpack", "stereo"),
    ]


def read(data: bytes) -> None:
    """Decode a file in every way that there is: whole, a segment, a channel, its tracks and its length."""
    samples = 0
    for block in audio.blocks(data, end_s=_LIMIT_S):
        assert block.dtype == np.float32 and block.ndim == 1 and len(block)
        assert np.isfinite(block).all()
        samples += len(block)
    assert samples <= _LIMIT_S * audio.SAMPLE_RATE_HZ
    assert audio.tracks(data)
    audio.channel_report(data, end_s=2.0)
    audio.load(data, channel="left", end_s=1.0)
    audio.load(data, start_s=0.1, end_s=0.2)


TARGET = Target("audio", mutated(_seeds()), read)

if __name__ == "__main__":
    main(TARGET)
