"""What recordings of several channels hold: channels that cancel out when mixed, or a speaker in each channel."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from asr_adapt import audio
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.errors import AudioError
from asr_adapt.records import Utterance
from asr_adapt.stages.doctor.finding import Finding, found

MOST_RECORDINGS = 200
"""recordings that are looked at; of more, so many are drawn, always the same ones"""
_LISTEN_S = 60.0
_WINDOW = SAMPLE_RATE_HZ // 2
# Microphones of one room differ by a few dB; a headset hears the other speaker some 20 dB softer.
_DOMINANT_DB = 15.0
_LOUD_DB = 30.0  # windows this far below the loudest hold no speech
_CANCELLED_SHARE = 0.2  # of the seconds; a hum of opposite signs in a pause is no fault
_EACH_SHARE, _TOGETHER_SHARE = 0.1, 0.6


def check(utterances: Sequence[Utterance]) -> list[Finding]:
    """Return findings about the channels of recordings, or of a sample of them; unreadable ones are skipped."""
    of_recording: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        of_recording[utterance.audio].append(utterance)
    names = sorted(of_recording)
    looked_at = sorted(random.Random(0).sample(names, min(MOST_RECORDINGS, len(names))))
    cancelling, separate, tracks = [], [], []
    for name in looked_at:
        members = of_recording[name]
        start_s = min(u.start_s or 0.0 for u in members)
        try:
            report = audio.channel_report(name, end_s=start_s + _LISTEN_S)
            shares = speaker_shares(name, start_s) if report.track.channels == 2 else (0.0, 0.0)
        except AudioError:
            continue
        if report.cancelled >= _CANCELLED_SHARE:
            detail = f"in {report.cancelled:.0%} of the seconds; channel {report.used} is used instead"
            cancelling += [(u.id, detail) for u in members]
        elif min(shares) >= _EACH_SHARE and sum(shares) >= _TOGETHER_SHARE:
            detail = f"left alone in {shares[0]:.0%}, right alone in {shares[1]:.0%} of the speech"
            separate += [(u.id, detail) for u in members]
        if report.other_tracks:
            tracks += [(u.id, report.note) for u in members]
    of = f" (of {len(looked_at):,} recordings looked at)" if len(looked_at) < len(names) else ""
    return [
        *found("channels_cancel", "warning", f"recordings whose channels cancel out when mixed{of}",
               "The louder channel is used; check how the recorder was wired.", cancelling),
        *found("speaker_per_channel", "warning", f"stereo recordings with another speaker in each channel{of}: "
               "mixed, they overlap", "Save each channel as a recording with a transcript of its own.", separate),
        *found("several_tracks", "note", f"recordings with several audio tracks{of}",
               "Nothing if the default track is the right one; else extract the other.", tracks),
    ]  # fmt: skip


def speaker_shares(name: str, start_s: float) -> tuple[float, float]:
    """Return in which shares of the loud half seconds the left and the right channel clearly dominate.

    Args:
        name: Locator of a recording of two channels.
        start_s: Where to begin; the minute from there on is decoded.

    Raises:
        AudioError: the recording cannot be decoded.
    """
    sides = [audio.load(name, start_s=start_s, end_s=start_s + _LISTEN_S, channel=side) for side in ("left", "right")]
    count = min(map(len, sides)) // _WINDOW
    if not count:
        return 0.0, 0.0
    power = np.stack([np.square(s[: count * _WINDOW].reshape(count, _WINDOW)).mean(axis=1) for s in sides])
    level_db = 10 * np.log10(power + 1e-12)  # (2, count)
    difference = (level_db[0] - level_db[1])[level_db.max(axis=0) > level_db.max() - _LOUD_DB]
    return float((difference > _DOMINANT_DB).mean()), float((difference < -_DOMINANT_DB).mean())
