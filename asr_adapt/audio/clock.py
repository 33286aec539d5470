"""A container's clock: silence before, between and instead of packets, by their presentation times."""

import logging

from asr_adapt.audio.locators import warn

# Timestamps in whole milliseconds, or of a recorder that reads its clock now and then, are off by this much while no
# sample is missing. A packet of Opus or AAC lasts 20 or 21 ms.
_JITTER_S = 0.04
_MAX_GAP_S = 3_600.0
_MAX_SILENCE_S = 4 * 3_600.0
# An overlap is dropped up to here; what is longer is another part of the recording, or a clock that was set.
_MAX_OVERLAP_S = 0.5
# Corrections below a second may add up to this share of a recording: a clock that is wrong all the time, such as one
# of half the speed, is not followed.
_SMALL_S = 1.0
_MAX_SHARE = 0.1

_log = logging.getLogger(__name__)


class Clock:
    """Places decoded samples on the container's time line, which begins at 0 s with its first audio or video.

    A late start and gaps are silence of that length. Samples that overlap with earlier ones are dropped, and where a
    clock begins again, as in files put one after another, samples follow each other. A clock that jumps by more than
    an hour, or is off most of the time, is ignored there, with one warning.

    Args:
        place: What the warning calls the file.
        earliest_s: When the container's other streams begin, on its own clock; infinity where there are none.
    """

    def __init__(self, place: str, earliest_s: float) -> None:
        self._place = place
        self._earliest_s = earliest_s
        self._offset_s: float | None = None
        self._first_s = 0.0
        self._silence_s = self._corrected_s = 0.0
        self._warned = False
        self.position_s = 0.0
        """time of the next sample"""

    def correction_s(self, presentation_s: float | None, duration_s: float) -> float:
        """Return the gap between the last frame and the next: silence if positive, an overlap if negative.

        Args:
            presentation_s: The next frame's time on the container's clock; None where it has none.
            duration_s: How long the frame is.
        """
        if presentation_s is None:
            return 0.0
        if self._offset_s is None:
            self._first_s = presentation_s
            self._offset_s = min(presentation_s, self._earliest_s)
        gap_s = presentation_s - self._offset_s - self.position_s
        if abs(gap_s) <= _JITTER_S:
            return 0.0
        changed_s = min(-gap_s, duration_s) if gap_s < 0 else gap_s
        if self._is_credible(gap_s, presentation_s, changed_s):
            if gap_s > 0:
                self._silence_s += gap_s
            if changed_s < _SMALL_S:
                self._corrected_s += changed_s
            return gap_s
        self._offset_s = presentation_s - self.position_s
        return 0.0

    def _is_credible(self, gap_s: float, presentation_s: float, changed_s: float) -> bool:
        if presentation_s <= self._first_s + _JITTER_S and self.position_s > 0:
            return False  # the clock begins again
        if changed_s < _SMALL_S and self._corrected_s + changed_s > _SMALL_S + _MAX_SHARE * self.position_s:
            problem = f"the clock is off again and again, by {gap_s:.3f} s"
        elif gap_s < -_MAX_OVERLAP_S:
            problem = f"the clock jumps back by {-gap_s:.3f} s"
        elif gap_s > _MAX_GAP_S or self._silence_s + gap_s > _MAX_SILENCE_S:
            problem = f"the clock jumps by {gap_s:.0f} s"
        else:
            return True
        if not self._warned:
            message = "%s at %.1f s; ignored, later times may differ from a player's"
            warn(_log, self._place, message, problem, self.position_s)
            self._warned = True
        return False
