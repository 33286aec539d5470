"""Channels and tracks: any number of channels is read, cancelling ones are not mixed, and both can be chosen."""

import io
import logging
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from asr_adapt import audio
from asr_adapt.errors import AudioError, InputError

RATE = 16_000


def tone(frequency_hz, seconds=2.0, rate=48_000, level=0.3):
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)


def muxed(waveforms, container, codec, rate=48_000, layout=None, tracks=1, languages=(), options=None):
    """A file that FFmpeg writes of waveforms (num_samples, channels), in every one of its tracks times its number."""
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}[waveforms.shape[1]]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = [output.add_stream(codec, rate=rate, layout=layout, options=options or {}) for _ in range(tracks)]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for number, stream in enumerate(streams, start=1):
            samples = np.ascontiguousarray(waveforms * number, np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                output.mux(stream.encode(piece))
            output.mux(stream.encode(None))
    return file.getvalue()


def loudest_hz(waveform):
    return np.argmax(abs(np.fft.rfft(waveform * np.hanning(len(waveform))))) * RATE / len(waveform)


# Any number of channels


@pytest.mark.parametrize("channels", [1, 2, 6, 8, 16])
@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("ipod", "aac", {}),
        ("ogg", "libopus", {"mapping_family": "255"}),
        ("webm", "libopus", {"mapping_family": "255"}),
        ("ogg", "vorbis", {"strict": "experimental"}),
        ("mov", "pcm_s16le", {}),
        ("matroska", "pcm_f32le", {}),
        ("ipod", "alac", {}),
        ("wav", "pcm_s24le", {}),
        ("flac", "flac", {}),
    ],
)
def test_a_file_of_any_number_of_channels_is_read(container, codec, options, channels):
    if channels > {"aac": 8, "alac": 6, "flac": 8, "vorbis": 2}.get(codec, 16):
        pytest.skip("FFmpeg encodes no more")
    if codec == "vorbis" and channels == 1:
        pytest.skip("FFmpeg encodes stereo only")
    waveforms = np.repeat(tone(440.0)[:, None], channels, axis=1)
    data = muxed(waveforms, container, codec, options=options)
    assert audio.tracks(data)[0].channels == channels
    waveform = audio.load(data)
    assert len(waveform) == pytest.approx(2 * RATE, abs=0.1 * RATE)
    assert loudest_hz(waveform) == pytest.approx(440, abs=2)
    last = audio.load(data, channel=channels)
    assert len(last) == len(waveform)


def vorbis_of_8_channels():
    file = io.BytesIO()
    soundfile.write(file, np.repeat(tone(440.0)[:, None], 8, axis=1), 48_000, format="OGG", subtype="VORBIS")
    return file.getvalue()


def test_vorbis_of_8_channels_is_read():
    assert loudest_hz(audio.load(vorbis_of_8_channels())) == pytest.approx(440, abs=2)


def in_an_order_of_its_own(channels):
    """A QuickTime file that lists its channels' positions one by one, from the last to the first."""
    data = bytearray(muxed(np.repeat(tone(440.0)[:, None], channels, axis=1), "mov", "pcm_s16le"))
    at = data.find(b"chan") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    labels = b"".join(struct.pack(">II12x", label, 0) for label in range(channels, 0, -1))
    listed = struct.pack(">I4sIIII", 24 + len(labels), b"chan", 0, 0, 0, channels) + labels
    position, end = 0, len(data)
    while position < end:
        box, kind = struct.unpack(">I4s", data[position : position + 8])
        if not position < at < position + box:
            position += box
            continue
        data[position : position + 4] = struct.pack(">I", box + len(listed) - size)
        end = position + box
        version = struct.unpack(">H", data[position + 16 : position + 18])[0] if kind in (b"sowt", b"lpcm") else 0
        position += {b"stsd": 16, b"sowt": (36, 52, 72)[version], b"lpcm": (36, 52, 72)[version]}.get(kind, 8)
        if position == at:
            break
    data[at : at + size] = listed
    return bytes(data)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_in_an_unusual_order_are_read(channels):
    data = in_an_order_of_its_own(channels)
    # In a process of its own: with PyAV's own conversion it ends with a signal.
    code = "import sys; from asr_adapt import audio; print(len(audio.load(sys.stdin.buffer.read())))"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"32000\n"), done.stderr.decode()[-500:]


@pytest.mark.parametrize("read", [audio.load, audio.duration_s])
def test_more_channels_than_64_are_refused(read):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((100, 65), np.float32), RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match=r"^<bytes>: has 65 channels, more than 64"):
        read(file.getvalue())


# Channels that cancel out


def wav(waveforms, rate=48_000):
    file = io.BytesIO()
    soundfile.write(file, waveforms, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def voice(seconds=4.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 48_000))


@pytest.mark.parametrize("gain", [1.0, 0.8, 1.2])
@pytest.mark.parametrize("codec", ["wav", "aac", "libopus"])
def test_of_cancelling_channels_the_louder_one_is_taken_with_one_warning(codec, gain, caplog):
    stereo = np.stack([tone(500, 4.0), -gain * tone(500, 4.0)], axis=1)
    data = wav(stereo) if codec == "wav" else muxed(stereo, {"aac": "ipod", "libopus": "webm"}[codec], codec)
    with caplog.at_level(logging.WARNING):
        waveform = audio.load(data)
    assert np.sqrt(np.mean(waveform[RATE:-RATE] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.05)
    assert caplog.messages == ["<bytes>: its channels cancel out when mixed; channel 1 is used instead"]
    report = audio.channel_report(data)
    assert report.used == 1 and report.cancelled > 0.7 and report.track.channels == 2
    assert report.note == "its channels cancel out when mixed; channel 1 is used instead"


@pytest.mark.parametrize("codec", ["wav", "mp3"])
def test_a_file_is_warned_of_once_however_many_of_its_segments_are_read(codec, caplog, tmp_path: Path):
    stereo = np.stack([tone(500, 4.0), -tone(500, 4.0)], axis=1)
    paths = [tmp_path / f"{name}.{codec}" for name in "ab"]
    for path in paths:
        path.write_bytes(wav(stereo) if codec == "wav" else muxed(stereo, "mp3", "libmp3lame"))
    with caplog.at_level(logging.WARNING):
        for path in paths:
            for start_s in (0.0, 1.0, 2.0):
                audio.load(path, start_s=start_s, end_s=start_s + 1)
    problem = "its channels cancel out when mixed; channel 1 is used instead"
    assert caplog.messages == [f"{path}: {problem}" for path in paths]


def test_the_louder_of_cancelling_channels_is_taken():
    stereo = np.stack([0.7 * voice(), -voice()], axis=1)
    np.testing.assert_allclose(audio.load(wav(stereo)), audio.load(wav(stereo), channel="right"), atol=1e-6)
    assert audio.channel_report(wav(stereo)).used == 2


def test_other_channels_are_mixed(caplog):
    one, two = voice(seed=1), voice(seed=2)
    for channels in ([one, one], [one, two], [one, 0 * one], [0 * one] * 2, [one, 0.1 * one], [one, *[0 * one] * 7]):
        waveforms = np.stack(channels, axis=1)
        with caplog.at_level(logging.WARNING):
            found = audio.load(wav(waveforms))
        np.testing.assert_allclose(found, audio.load(wav(waveforms.mean(axis=1))), atol=1e-6)
        assert audio.channel_report(wav(waveforms)).note == ""
    assert not caplog.messages


@pytest.mark.parametrize("codec", ["wav", "flac", "aac"])
def test_a_segment_of_cancelling_channels_is_the_slice_of_the_whole(codec):
    # They cancel out from second 2 to 5 only, and the second one becomes the louder one.
    mono = voice(8.0)
    sign = np.where(np.arange(len(mono)) // 48_000 < 2, 1, -1) * np.where(np.arange(len(mono)) // 48_000 < 4, 0.9, 3)
    waveforms = np.stack([mono, np.where(np.arange(len(mono)) // 48_000 < 5, sign * mono / 3, mono)], axis=1)
    if codec == "aac":
        data = muxed(waveforms, "ipod", "aac")
    else:
        file = io.BytesIO()
        soundfile.write(file, waveforms, 48_000, format=codec.upper(), subtype="PCM_16")
        data = file.getvalue()
    whole = audio.load(data)
    for start_s, end_s in ((0.4, 2.6), (1.9, 5.2), (4.5, 7.5)):
        segment = audio.load(data, start_s=start_s, end_s=end_s)
        np.testing.assert_allclose(segment, whole[round(start_s * RATE) : round(end_s * RATE)], atol=1e-5)


# Choice


@pytest.mark.parametrize("data", [wav, lambda waveforms: muxed(waveforms, "matroska", "pcm_f32le")])
def test_a_channel_can_be_chosen(data):
    file = data(np.stack([tone(300), tone(900)], axis=1))
    assert [round(loudest_hz(audio.load(file, channel=c))) for c in ("left", "right", 1, 2)] == [300, 900, 300, 900]
    assert round(loudest_hz(audio.load(file, channel=2, start_s=0.5, end_s=1.5))) == 900
    for missing in (0, 3, -1):
        with pytest.raises(AudioError, match=f"^<bytes>: has no channel '{missing}': it has 2"):
            audio.load(file, channel=missing)


def test_what_a_user_chooses_stands_for_channels():
    file = wav(np.zeros((100, 3)))
    assert audio.chosen_channels(file, "left") == (1,)
    assert audio.chosen_channels(file, "right") == (2,)
    assert audio.chosen_channels(file, "3") == (3,)
    assert audio.chosen_channels(file, "each") == (1, 2, 3)
    for choice in ("middle", "", "1.5", "²", "-1", "1" * 10_000):
        with pytest.raises(InputError, match=r"is no channel\. Give left, right, each, or a number"):
            audio.chosen_channels(file, choice)
    with pytest.raises(AudioError, match="has no channel '4': it has 3"):
        audio.chosen_channels(file, "4")


@pytest.mark.parametrize("container", ["matroska", "mp4", "mov"])
def test_of_several_tracks_the_default_is_read_and_the_others_are_named(container, caplog, tmp_path: Path):
    path = tmp_path / "interview.mkv"
    path.write_bytes(muxed(0.1 * tone(440)[:, None], container, "aac", tracks=3, languages=("eng", "fra", "ita")))
    with caplog.at_level(logging.WARNING):
        first = audio.load(path)
    assert caplog.messages == [
        f"{path}: has several audio tracks; track 1 (eng, 1 channel) is read, "
        "not track 2 (fra, 1 channel), track 3 (ita, 1 channel)"
    ]
    caplog.clear()
    for number in (1, 2, 3):
        level = np.sqrt(np.mean(audio.load(path, track=number)[RATE:] ** 2) / np.mean(first[RATE:] ** 2))
        assert level == pytest.approx(number, rel=0.05)
    assert not caplog.messages
    assert [track.language for track in audio.tracks(path)] == ["eng", "fra", "ita"]
    assert audio.channel_report(path).note.startswith("track 1 (eng, 1 channel) is read, not track 2")
    assert audio.channel_report(path, track=2).note == ""
    with pytest.raises(AudioError, match=r"has no audio track 4\. It has track 1 \(eng"):
        audio.load(path, track=4)


def test_a_file_of_one_track_has_no_second(tmp_path: Path):
    for data in (wav(np.zeros((100, 1))), muxed(tone(440)[:, None], "mp3", "libmp3lame")):
        assert len(audio.tracks(data)) == 1
        with pytest.raises(AudioError, match="has no audio track 2"):
            audio.load(data, track=2)
    with pytest.raises(AudioError, match="no audio can be decoded"):
        audio.tracks(b"no audio at all")
