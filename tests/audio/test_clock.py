"""The container's clock: late starts and gaps count, as silence; damaged clocks do not."""

import io
import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from asr_adapt import audio
from asr_adapt.audio.clock import Clock
from asr_adapt.audio.decoded_cache import DecodedCache
from asr_adapt.errors import AudioError
from asr_adapt.records import Utterance

RATE = 16_000
CONTAINERS = [("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "aac"), ("matroska", "libmp3lame"),
              ("webm", "libopus"), ("mpegts", "aac"), ("flv", "aac")]  # fmt: skip
# Where a burst of 20 ms begins in the sound itself.
BURSTS_S = (0.5, 1.5, 2.5, 3.5)


def bursts(rate):
    waveform = np.zeros(4 * rate, np.float32)
    for at_s in BURSTS_S:
        t = np.arange(round(0.02 * rate)) / rate
        waveform[round(at_s * rate) : round(at_s * rate) + len(t)] = 0.5 * np.sin(2 * np.pi * 1_000 * t)
    return waveform


def muxed(container, codec, time_of, video_s=0.0, rate=48_000):
    """A file with bursts whose packets are presented when `time_of(seconds)` says; with a video from `video_s` on."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if video_s is not None:
            video = output.add_stream({"webm": "libvpx", "flv": "flv"}.get(container, "mpeg4"), rate=10)
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        stream = output.add_stream(codec, rate=rate, layout="mono")
        packets = []
        if video_s is not None:
            for number in range(100):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts, picture.time_base = number + round(video_s * 10), Fraction(1, 10)
                packets += video.encode(picture)
            packets += video.encode(None)
        frame = av.AudioFrame.from_ndarray(bursts(rate)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        sound = [packet for part in resampler.resample(frame) for packet in stream.encode(part)]
        for packet in [*sound, *stream.encode(None)]:
            if packet.pts is not None:
                moved = round(time_of(float(packet.pts * packet.time_base)) / packet.time_base)
                packet.pts = packet.dts = moved
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return file.getvalue()


def heard(waveform):
    """Where bursts begin, in seconds."""
    loud = np.flatnonzero(np.abs(waveform) > 0.15) / RATE
    return loud[np.diff(loud, prepend=-1.0) > 0.2]


def late(seconds):
    return lambda t: t + seconds


def gap_of_16_s(t):
    return t + 16 * (t >= 2)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_a_track_that_starts_late_is_heard_when_a_player_plays_it(container, codec):
    waveform = audio.load(muxed(container, codec, late(4.9)))
    assert heard(waveform) == pytest.approx([4.9 + at_s for at_s in BURSTS_S], abs=0.03)
    assert not waveform[: int(4.8 * RATE)].any()


@pytest.mark.parametrize(("container", "codec"), [case for case in CONTAINERS if case[0] != "mov"])  # it has no gaps
def test_a_gap_between_packets_is_silence(container, codec):
    data = muxed(container, codec, gap_of_16_s)
    whole = audio.load(data)
    assert heard(whole) == pytest.approx([0.5, 1.5, 18.5, 19.5], abs=0.03)
    assert not whole[3 * RATE : 17 * RATE].any()
    for start_s, end_s in ((1.2, 2.3), (10, 11), (17.5, 19), (18.25, None)):
        segment = audio.load(data, start_s=start_s, end_s=end_s)
        expected = whole[round(start_s * RATE) : None if end_s is None else round(end_s * RATE)]
        np.testing.assert_allclose(segment, expected, atol=1e-5)
    assert audio.duration_s(data) == pytest.approx(len(whole) / RATE)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "aac"), ("webm", "libopus")])
def test_a_late_start_and_a_gap_are_kept_to_a_millisecond(container, codec):
    plain = heard(audio.load(muxed(container, codec, late(0))))
    moved = heard(audio.load(muxed(container, codec, lambda t: gap_of_16_s(t) + 4.9)))
    assert moved - plain == pytest.approx([4.9, 4.9, 20.9, 20.9], abs=0.0015)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_the_time_line_begins_with_the_first_stream_wherever_its_clock_begins(container, codec):
    for video_s, sound_s in ((None, 0), (None, 7), (0, 0), (3, 3), (5, 0)):
        waveform = audio.load(muxed(container, codec, late(sound_s), video_s))
        assert heard(waveform) == pytest.approx(BURSTS_S, abs=0.05), (video_s, sound_s)


def test_segments_of_a_corpus_are_cut_by_the_containers_clock(tmp_path: Path):
    path = tmp_path / "interview.mp4"
    path.write_bytes(muxed("mp4", "aac", lambda t: gap_of_16_s(t) + 4.9))
    (tmp_path / "scratch").mkdir()
    utterances = [
        Utterance(id=str(at_s), audio=str(path), start_s=at_s - 0.2, end_s=at_s + 0.2) for at_s in (5.4, 23.4, 24.4)
    ]
    cache = DecodedCache(utterances, tmp_path / "scratch")
    for utterance in utterances:
        for waveform in (cache.load(utterance), audio.load(path, start_s=utterance.start_s, end_s=utterance.end_s)):
            assert heard(waveform) == pytest.approx([0.2], abs=0.03)


@pytest.mark.parametrize("seconds", [4_000, 1e6, 1e8])
def test_a_clock_that_jumps_by_hours_is_ignored_with_a_warning(seconds, caplog):
    data = muxed("matroska", "aac", lambda t: t + seconds * (t >= 2))
    with caplog.at_level(logging.WARNING):
        waveform = audio.load(data)
    assert heard(waveform) == pytest.approx(BURSTS_S, abs=0.05)
    assert sum("the clock jumps by" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("speed", [0.4, 2.5])
def test_a_clock_that_is_wrong_all_the_time_is_not_followed(speed, caplog):
    with caplog.at_level(logging.WARNING):
        waveform = audio.load(muxed("matroska", "aac", lambda t: t * speed, video_s=None))
    assert len(waveform) == pytest.approx(4 * RATE, abs=1.6 * RATE)
    assert sum("the clock is off again and again" in message for message in caplog.messages) == 1


def position_after(times, frame_s=0.02, earliest_s=float("inf")):
    """Where a clock is after frames with these presentation times, and what was added or dropped."""
    clock, corrections = Clock("a.webm", earliest_s), []
    for time in times:
        corrections.append(round(clock.correction_s(time, frame_s), 6))
        clock.position_s += max(0.0, frame_s + corrections[-1])
    return clock.position_s, [correction for correction in corrections if correction]


def test_what_overlaps_is_dropped_and_time_never_runs_backwards():
    times = [*np.arange(100) * 0.02, *1.7 + np.arange(100) * 0.02]
    position, corrections = position_after(times)
    assert position == pytest.approx(3.7, abs=0.04)
    assert min(corrections) < 0


def test_a_clock_that_begins_again_is_another_file():
    assert position_after([*np.arange(20) * 0.02] * 3) == (pytest.approx(1.2), [])


def test_jitter_and_frames_without_a_time_are_no_gaps():
    jitter = np.random.default_rng(0).uniform(-0.015, 0.015, 1_000)
    assert position_after(np.arange(1_000) * 0.02 + jitter) == (pytest.approx(20.0), [])
    assert position_after([0.0, None, None, 0.06, None]) == (pytest.approx(0.1), [])


def test_slow_drift_is_followed():
    position, corrections = position_after(np.arange(50_000) * 0.02 * 1.0005)
    assert position == pytest.approx(1_000.5, abs=0.05)
    assert all(correction < 0.06 for correction in corrections)


def test_silence_is_bounded_in_all():
    position, _ = position_after([3_000 * number for number in range(1_000)])
    assert position < 4 * 3_600 + 1_000


def test_a_segment_that_ends_before_a_late_start_is_silence_and_one_after_the_end_is_refused():
    data = muxed("mp4", "aac", late(4.9))
    assert not audio.load(data, start_s=1, end_s=2).any()
    with pytest.raises(AudioError, match="holds no samples between 20 s"):
        audio.load(data, start_s=20, end_s=21)
