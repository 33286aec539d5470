"""Audio: any file becomes mono float32 at 16 kHz. The only package that decodes and resamples.

A recording with several audio tracks is read by its default one, several channels are mixed. Both can be chosen:

    audio.tracks("a.mkv")                             # (Track(number=1, channels=2, language='eng', …), …)
    audio.load("a.mkv", track=2, channel="left")      # channel: left, right, or a number from 1 on
    audio.chosen_channels("a.mkv", "each", track=2)   # (1, 2): the channels of a command line's --channel
    audio.channel_report("a.mkv").note                # one line for people, where mixing or choosing lost something
"""

from asr_adapt.audio.channels import Channel, ChannelReport, Track
from asr_adapt.audio.decode import (
    blocks,
    channel_report,
    chosen_channels,
    duration_s,
    header_duration_s,
    is_seekable,
    load,
    tracks,
)
from asr_adapt.audio.encode import encode_opus
from asr_adapt.audio.locators import Audio
from asr_adapt.audio.resample import SAMPLE_RATE_HZ, resample

__all__ = [
    "SAMPLE_RATE_HZ",
    "Audio",
    "Channel",
    "ChannelReport",
    "Track",
    "blocks",
    "channel_report",
    "chosen_channels",
    "duration_s",
    "encode_opus",
    "header_duration_s",
    "is_seekable",
    "load",
    "resample",
    "tracks",
]
