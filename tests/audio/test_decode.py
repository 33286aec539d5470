"""Decoding: containers, codecs, sample rates and channels to 16 kHz mono."""

import io
import logging
import math
import os
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import av
import numpy as np
import pytest
import soundfile
import soxr
import torch
import torchaudio

from asr_adapt import audio
from asr_adapt.audio import decode, ffmpeg, locators
from asr_adapt.errors import AudioError, printable

RATE = audio.SAMPLE_RATE_HZ


def tone(frequency_hz=440.0, rate=RATE, seconds=2.0, level=0.3):
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(rate=RATE, seconds=2.0):
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def encoded(waveform, rate, container="WAV", subtype="PCM_16", **options):
    """A file that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=container, subtype=subtype, **options)
    return file.getvalue()


def muxed(waveform, rate, container, codec, layout="mono"):
    """A file that FFmpeg writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform)[None], format="flt", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def wav_header(rate=RATE, channels=1, data_bytes=1_000, payload=b"\x01\x00" * 500):
    """A 16-bit WAV of 500 samples that claims what it likes."""
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 % 2**32, channels * 2 % 2**16, 16)
    riff = struct.pack("<I", min(data_bytes + 36, 2**32 - 1))
    return b"RIFF" + riff + b"WAVEfmt " + form + b"data" + struct.pack("<I", data_bytes) + payload


def level_db(waveform, frequency_hz):
    """Level of a sine in a waveform at 16 kHz, against full scale, without the edges, where filters start."""
    middle = waveform[1_600:-1_600].astype(np.float64)
    window = np.blackman(len(middle))
    carrier = np.exp(-2j * np.pi * frequency_hz * np.arange(len(middle)) / RATE)
    return 20 * np.log10(2 * abs(np.sum(middle * window * carrier)) / np.sum(window) + 1e-15)


def assert_is_the_tone(waveform, *, seconds=2.0, slack_s=0.0, frequency_hz=440.0, level=0.3):
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(seconds * RATE, abs=slack_s * RATE + 1)
    assert level_db(waveform, frequency_hz) == pytest.approx(20 * np.log10(level), abs=1.0)
    middle = waveform[4_000:-4_000]
    loudest = np.argmax(abs(np.fft.rfft(middle * np.hanning(len(middle)))))
    assert loudest * RATE / len(middle) == pytest.approx(frequency_hz, abs=2.0)


# Resampling


def test_48_to_16_khz_keeps_a_1_khz_tone_and_removes_what_lies_above_8_khz():
    full_scale = {hz: audio.resample(tone(hz, 48_000, level=1.0), 48_000) for hz in (1_000, 7_000, 9_000)}
    assert level_db(full_scale[1_000], 1_000) == pytest.approx(0, abs=0.01)
    assert level_db(full_scale[7_000], 7_000) == pytest.approx(0, abs=0.1)
    assert level_db(full_scale[9_000], 7_000) < -110


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_agrees_with_torchaudios_best(rate):
    # White noise below both cut-offs, so that only the shape of the transition bands may differ.
    spectrum = np.fft.rfft(noise(rate))
    spectrum[np.fft.rfftfreq(2 * rate, 1 / rate) > 0.85 * min(rate, RATE) / 2] = 0
    waveform = np.fft.irfft(spectrum).astype(np.float32)
    oracle = torchaudio.functional.resample(
        torch.from_numpy(waveform),
        rate,
        RATE,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    ).numpy()
    ours = audio.resample(waveform, rate)
    assert len(ours) == len(oracle)
    np.testing.assert_allclose(ours[800:-800], oracle[800:-800], atol=2e-4)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 16_000, 44_100, 44_101, 48_000, 192_000])
def test_a_stream_gives_what_one_shot_resampling_gives(rate):
    waveform = noise(rate, seconds=3.0)
    streamed = audio.load(encoded(waveform, rate, subtype="FLOAT"))
    np.testing.assert_allclose(streamed, soxr.resample(waveform, rate, RATE, quality="HQ"), atol=1e-5)
    np.testing.assert_allclose(streamed, audio.resample(waveform, rate), atol=1e-5)


def test_resampling_leaves_the_callers_array_alone():
    waveform = noise()
    before = waveform.copy()
    resampled = audio.resample(waveform, RATE)
    resampled[:] = 0
    np.testing.assert_array_equal(waveform, before)


@pytest.mark.parametrize(
    ("waveform", "rate", "problem"),
    [
        (np.zeros((2, 100), np.float32), RATE, "is float32 (2, 100)"),
        (np.zeros(100, np.int16), RATE, "is int16 (100,)"),
        (np.zeros(0, np.float32), RATE, "is float32 (0,)"),
        (np.array([0.0, np.nan]), RATE, "a sample is nan"),
        (np.zeros(100, np.float32), 0, "but is 0"),
    ],
)
def test_an_array_that_is_no_waveform_is_refused(waveform, rate, problem):
    with pytest.raises(AudioError) as caught:
        audio.resample(waveform, rate)
    assert problem in str(caught.value)


# Formats


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (48_000, 1), (48_000, 2)])
def test_every_format_that_libsndfile_writes_gives_the_same_tone(container, subtype, rate, channels):
    waveform = np.repeat(tone(rate=rate)[:, None], channels, axis=1)
    data = encoded(waveform, rate, container, subtype)
    assert_is_the_tone(audio.load(data), slack_s=0.05)
    assert audio.duration_s(data) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("ipod", "aac", 44_100, "mono"),
        ("ipod", "aac", 48_000, "stereo"),
        ("ipod", "alac", 48_000, "stereo"),
        ("mp4", "aac", 16_000, "mono"),
        ("mov", "pcm_s24le", 8_000, "stereo"),
        ("avi", "pcm_u8", 8_000, "stereo"),
        ("matroska", "pcm_f64le", 8_000, "stereo"),
        ("webm", "libopus", 48_000, "stereo"),
        ("adts", "aac", 48_000, "mono"),
        ("amr", "libopencore_amrnb", 8_000, "mono"),
        ("3gp", "libopencore_amrnb", 8_000, "mono"),
    ],
)
def test_every_format_that_ffmpeg_writes_gives_the_same_tone(container, codec, rate, layout):
    data = muxed(tone(rate=rate), rate, container, codec, layout)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(io.BytesIO(data))
    # FFmpeg lowers mono by 3 dB in each channel of the stereo that it writes; AMR loses 1.5 dB. AAC fills its last
    # frame of 1,024 samples.
    level = 0.3 if layout == "mono" else 0.3 / 2**0.5
    assert_is_the_tone(audio.load(data), slack_s=0.15, level=0.25 if "amr" in codec else level)
    assert audio.duration_s(data) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_mono_is_the_mean_of_the_channels(channels):
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, channels)).astype(np.float32)
    np.testing.assert_allclose(
        audio.load(encoded(waveforms, RATE, subtype="FLOAT")), waveforms.mean(axis=1), atol=1e-6
    )


def test_both_decoders_give_the_same_samples():
    stereo = np.stack([noise(), tone()], axis=1)
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        file = io.BytesIO(encoded(stereo, RATE, subtype=subtype))
        libsndfile = np.concatenate([chunk for _, chunk in decode._by_libsndfile(file, 0.5, None, "a.wav")])
        file.seek(0)
        oracle = np.concatenate([chunk for _, chunk in ffmpeg.decode(file, 0.5, None, "a.wav")])
        np.testing.assert_allclose(libsndfile, oracle, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_an_mp3_is_the_same_whether_it_is_read_whole_or_in_pieces(rate):
    data = encoded(tone(rate=rate, seconds=6.0), rate, "MP3", "MPEG_LAYER_III")
    # One call of libsndfile for all of it is right; its later calls and its seeks are not.
    oracle, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(audio.load(data), audio.resample(oracle, rate), atol=1e-3)


def test_a_path_its_bytes_and_an_open_file_are_the_same(tmp_path):
    data = encoded(noise(), RATE)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    expected = audio.load(data)
    np.testing.assert_array_equal(audio.load(path), expected)
    np.testing.assert_array_equal(audio.load(str(path)), expected)
    with path.open("rb") as file:
        file.seek(100)
        np.testing.assert_array_equal(audio.load(file), expected)
        assert not file.closed


@pytest.mark.parametrize("container", ["wav", "m4a"])
@pytest.mark.parametrize(
    "name",
    ["two words", "ɓàlɛ̀ ŋ̀kùnda", "ກາງຄືນ", "قصة قديمة", "कथा", "a#1", "100%", "--help", "file:x", "é" * 100],
)
def test_a_file_may_have_any_name(tmp_path, name, container):
    path = tmp_path / name / f"{name}.{container}"
    path.parent.mkdir()
    path.write_bytes(encoded(tone(), RATE) if container == "wav" else muxed(tone(), RATE, "ipod", "aac"))
    assert_is_the_tone(audio.load(path), slack_s=0.15)


def test_the_name_does_not_decide_the_format(tmp_path):
    for name in ("a", "a.mp3", "a.raw", "a.txt"):
        path = tmp_path / name
        path.write_bytes(encoded(tone(), RATE))
        assert_is_the_tone(audio.load(path))


@pytest.mark.parametrize("archive", ["corpus.tar", "corpus.tar.gz", "corpus.zip", "#1 corpus.tar.xz"])
def test_a_locator_names_a_file_in_an_archive(tmp_path, archive):
    data, member = encoded(tone(), RATE, "FLAC"), "clips/ɓa #1.flac"
    path = tmp_path / archive
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(member, data)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '')}") as tar:
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    assert_is_the_tone(audio.load(f"{path}#{member}"))
    with pytest.raises(AudioError) as caught:
        audio.load(f"{path}#clips/b.flac")
    assert str(caught.value).startswith(f"{path}#clips/b.flac: cannot be opened (no file 'clips/b.flac'")


# Streams and pieces


def test_blocks_put_together_are_what_load_gives():
    data = encoded(noise(44_100, seconds=5.0), 44_100)
    parts = list(audio.blocks(data, block_s=0.7))
    assert [len(part) for part in parts] == [11_200] * 7 + [1_600]
    np.testing.assert_array_equal(np.concatenate(parts), audio.load(data))


def test_the_memory_of_a_stream_does_not_grow_with_its_length(tmp_path):
    rate = 8_000

    def peak(minutes):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(tone(rate=rate, seconds=60.0))
        tracemalloc.start()
        try:
            assert sum(len(block) for block in audio.blocks(path)) == minutes * 60 * RATE
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what an import allocates
    assert peak(10) < 1.05 * peak(2) < 8e6


@pytest.mark.parametrize(
    "data",
    [
        encoded(noise(16_000, 6.0), 16_000),
        encoded(noise(44_100, 6.0), 44_100),
        encoded(noise(44_101, 6.0), 44_101),
        encoded(noise(48_000, 6.0), 48_000, "FLAC"),
        encoded(tone(rate=44_100, seconds=6.0), 44_100, "MP3", "MPEG_LAYER_III"),
        encoded(tone(rate=44_100, seconds=6.0), 44_100, "OGG", "VORBIS"),
        encoded(noise(48_000, 6.0), 48_000, "OGG", "OPUS"),
        muxed(noise(44_100, 6.0), 44_100, "ipod", "aac"),
    ],
    ids=["16000", "44100", "44101", "flac", "mp3", "vorbis", "opus", "m4a"],
)
@pytest.mark.parametrize(
    ("start_s", "end_s"), [(None, 1.5), (0.1, 0.9), (2.0, 2.025), (3.3333, 4.7), (4.5, None), (4.5, 99)]
)
def test_a_piece_is_the_slice_of_the_whole(data, start_s, end_s):
    whole = audio.load(data)
    expected = whole[round((start_s or 0) * RATE) : None if end_s is None else round(end_s * RATE)]
    piece = audio.load(data, start_s=start_s, end_s=end_s)
    assert len(piece) == len(expected)
    np.testing.assert_allclose(piece, expected, atol=1e-5)


def test_a_piece_of_a_long_wav_is_not_read_from_its_beginning(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(seconds=600.0), RATE, "PCM_16")

    class Counting(io.FileIO):
        bytes_read = 0

        def read(self, size=-1):
            data = super().read(size)
            self.bytes_read += len(data)
            return data

        def readinto(self, buffer):
            count = super().readinto(buffer)
            self.bytes_read += count
            return count

    with Counting(path) as file:
        assert len(audio.load(file, start_s=500.0, end_s=501.0)) == RATE
        assert file.bytes_read < 4 * 2 * RATE


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(-1, None), (1.0, 1.0), (2.0, 1.0), (0.0, 0.0), (0, 1e308), (1e308, None), (math.nan, None), (0, math.inf)],
)
def test_an_impossible_piece_is_refused(start_s, end_s):
    with pytest.raises(AudioError, match="0 <= start_s < end_s"):
        audio.load(encoded(tone(), RATE), start_s=start_s, end_s=end_s)


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_a_piece_after_the_end_is_refused(container):
    with pytest.raises(AudioError, match=r"holds no samples between 7.0 s and 8.0 s"):
        audio.load(encoded(tone(), RATE, container), start_s=7.0, end_s=8.0)


# Headers that lie, damage, and what is no audio


@pytest.mark.parametrize("claimed", [4_000_000_000, 2**32 - 1, 0])
def test_a_wav_holds_what_is_there_whatever_its_header_claims(claimed):
    data = wav_header(data_bytes=claimed)
    tracemalloc.start()
    try:
        assert len(audio.load(data)) == 500
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    assert audio.duration_s(data) == 500 / RATE


@pytest.mark.parametrize("total", [0, 1_000, 2**36 - 1])
def test_a_flac_holds_what_is_there_whatever_its_header_claims(total):
    data = bytearray(encoded(noise(), RATE, "FLAC"))
    # STREAMINFO keeps the number of samples in 36 bits from the middle of byte 21 on (RFC 9639, section 8.2).
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    assert len(audio.load(bytes(data))) == 2 * RATE
    assert audio.duration_s(bytes(data)) == 2.0


@pytest.mark.parametrize(
    "data",
    [
        encoded(noise(48_000), 48_000, "OGG", "OPUS"),
        encoded(noise(48_000), 48_000, "OGG", "VORBIS"),
        encoded(noise(48_000), 48_000, "FLAC"),
        encoded(noise(48_000), 48_000, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE").replace(b"Xing", b"gone"),
    ],
    ids=["opus", "vorbis", "flac", "mp3 without a Xing header"],
)
def test_files_put_one_after_another_are_read_to_the_end(data):
    assert len(audio.load(data + data)) == pytest.approx(4 * RATE, abs=0.15 * RATE)
    assert audio.duration_s(data + data) == pytest.approx(4.0, abs=0.15)


def test_a_rate_may_change_in_mid_file():
    data = encoded(tone(rate=48_000), 48_000, "FLAC") + encoded(tone(rate=16_000), 16_000, "FLAC")
    assert_is_the_tone(audio.load(data), seconds=4.0)


@pytest.mark.parametrize(
    "data",
    [
        encoded(noise(seconds=6.0), RATE),
        encoded(noise(seconds=6.0), RATE, "FLAC"),
        encoded(noise(seconds=6.0), RATE, "MP3", "MPEG_LAYER_III"),
        encoded(noise(seconds=6.0), RATE, "OGG", "VORBIS"),
        muxed(noise(seconds=6.0), RATE, "adts", "aac"),
        muxed(noise(8_000, 6.0), 8_000, "amr", "libopencore_amrnb"),
    ],
    ids=["wav", "flac", "mp3", "vorbis", "aac", "amr"],
)
def test_a_truncated_file_gives_what_can_be_decoded(data):
    whole = audio.load(data)
    half = audio.load(data[: len(data) // 2])
    assert 1.5 * RATE < len(half) < 3.5 * RATE  # Ogg loses a whole page of more than a second
    np.testing.assert_allclose(half[:RATE], whole[:RATE], atol=1e-5)


@pytest.mark.parametrize("container", ["FLAC", "adts"])
def test_damage_in_the_middle_costs_only_what_is_damaged(container, caplog):
    waveform = noise(seconds=10.0)
    data = bytearray(encoded(waveform, RATE, "FLAC") if container == "FLAC" else muxed(waveform, RATE, "adts", "aac"))
    whole = audio.load(bytes(data))
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)
    with caplog.at_level(logging.WARNING):
        damaged = audio.load(bytes(data))
    assert len(damaged) == pytest.approx(10 * RATE, abs=RATE)
    np.testing.assert_allclose(damaged[: 4 * RATE], whole[: 4 * RATE], atol=1e-5)
    np.testing.assert_allclose(damaged[-4 * RATE :], whole[-4 * RATE :], atol=1e-5)
    assert "<bytes>: damaged" in caplog.text or container == "FLAC"  # FFmpeg mends it without a word


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_sample_that_is_no_number_is_refused(bad):
    waveform = tone(rate=48_000)
    waveform[50_000] = bad
    with pytest.raises(AudioError, match=r"^<bytes>: a sample is"):
        audio.load(encoded(waveform, 48_000, subtype="FLOAT"))


def video():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"R", "begins with b'R'"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "begins with b'<!DOCTYPE html><'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begins with b'version https://'"),
        (np.random.default_rng(0).bytes(5_000), "no audio can be decoded"),
        (bytes(5_000), "no audio can be decoded"),
        (video(), "it has no audio stream"),
        (encoded(np.zeros(0), RATE), "holds no samples"),
        (encoded(tone(), RATE, "FLAC")[:60], "no audio can be decoded"),
        (muxed(tone(), RATE, "ipod", "aac")[:5_000], "no audio can be decoded"),
        (wav_header(rate=0), "no audio can be decoded"),
        (wav_header(rate=500), "must be 1000 to 768000 Hz, but is 500"),
        (wav_header(rate=2**31 - 1), "must be 1000 to 768000 Hz, but is 2147483647"),
        (wav_header(rate=2**31), "no audio can be decoded"),
        (wav_header(channels=0), "no audio can be decoded"),
        (wav_header(channels=2**16 - 1), "no audio can be decoded"),
    ],
    ids=lambda value: "file" if isinstance(value, bytes) else None,  # a video is not made alike twice
)
def test_what_is_no_audio_is_refused_in_one_line_with_its_place(tmp_path, data, problem):
    path = tmp_path / "क ɓ.wav"
    path.write_bytes(data)
    for given, place in ((path, str(path)), (data, "<bytes>"), (io.BytesIO(data), "<file>")):
        for read in (audio.load, audio.duration_s, lambda given: list(audio.blocks(given))):
            with pytest.raises(AudioError) as caught:
                read(given)
            line = str(caught.value)
            assert line.startswith(f"{place}: ")
            assert problem in line
            assert caught.value.remedy
            assert "\n" not in line
            assert len(line) < len(place) + 300


@pytest.mark.parametrize("name", ["missing.wav", ".", "nul\0.wav", "x" * 10_000, "missing.tar#a.wav", "no.tar#a.wav"])
def test_what_cannot_be_opened_is_refused_with_its_place(tmp_path, name):
    (tmp_path / "no.tar").write_text("no archive")
    path = f"{tmp_path}/{name}"
    with pytest.raises(AudioError) as caught:
        audio.load(path)
    assert str(caught.value).startswith(printable(f"{path}: cannot be opened ("))


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "/dev/stdin", "folder"])
@pytest.mark.parametrize("read", [audio.load, audio.duration_s, audio.tracks, audio.channel_report])
def test_only_regular_files_are_read(tmp_path, kind, read):
    path = tmp_path / "clip.wav"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    with pytest.raises(AudioError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: cannot be opened (")


def tar_entry(name, size=0, **pax):
    entry = tarfile.TarInfo(name)
    entry.size, entry.pax_headers = size, pax
    return entry


@pytest.mark.parametrize("packing", ["zip", "gz", "xz"])
def test_a_member_that_unpacks_to_more_than_a_limit_is_refused_in_bounded_memory(tmp_path, monkeypatch, packing):
    monkeypatch.setattr(locators, "MAX_MEMBER_MB", 50)
    path, zeros = tmp_path / f"bomb.{packing}", bytes(100_000_000)
    if packing == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("a.wav", zeros)
        # The directory may claim less than there is.
        lying = path.read_bytes().replace(struct.pack("<I", len(zeros)), struct.pack("<I", 1_000))
        (tmp_path / "lying.zip").write_bytes(lying)
        with pytest.raises(AudioError):
            audio.load(f"{tmp_path / 'lying.zip'}#a.wav")
    else:
        with tarfile.open(path, f"w:{packing}") as tar:
            tar.addfile(tar_entry("a.wav", len(zeros)), io.BytesIO(zeros))
    del zeros
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match=r"#a\.wav: has 1?00 MB, more than 50 MB\. Unpack the archive"):
            audio.load(f"{path}#a.wav")
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_a_sparse_member_and_a_nul_in_a_members_name_are_refused(tmp_path):
    sparse = tar_entry("a.wav", 512, **{"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**40)})
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(sparse, io.BytesIO(bytes(512)))
    with pytest.raises(AudioError, match=r"cannot be opened \(a sparse file in the archive\)"):
        audio.load(f"{tmp_path / 'a.tar'}#a.wav")
    with pytest.raises(AudioError, match="cannot be opened"):
        audio.load(f"{tmp_path / 'a.tar'}#a\0.wav")


def test_a_playlist_cannot_reach_another_file(tmp_path):
    secret = tmp_path / "secret.ts"
    secret.write_bytes(muxed(tone(rate=48_000), 48_000, "mpegts", "aac"))
    assert len(audio.load(secret)) > RATE
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2.0,\n{secret}\n#EXT-X-ENDLIST\n")
    # The name is what makes FFmpeg take it for a playlist.
    with av.open(str(playlist)) as container:
        assert container.format.name == "hls"
    with pytest.raises(AudioError, match="no audio can be decoded"):
        audio.load(playlist)


def test_importing_the_module_imports_no_decoder():
    code = "import sys, asr_adapt.audio; sys.exit(bool({'av', 'soundfile', 'soxr', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
