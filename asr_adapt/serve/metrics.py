"""Prometheus metrics: counts, durations and sizes. They contain no text, audio or file names."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""environment variable with the folder in which workers share metrics; set before prometheus_client is imported"""
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SEGMENTS = (1, 2, 4, 8, 16, 32, 64)
_AUDIO_S = (1, 2, 5, 10, 15, 20, 30, 60, 120)


class Metrics:
    """The metrics of one server process, in their own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("asr_requests", "Requests answered", ["route", "status"], registry=registry)
        self._request_s = Histogram("asr_request_seconds", "Time from request head to end of response", ["route"],
                                    buckets=_SECONDS, registry=registry)  # fmt: skip
        self._audio_s = Counter("asr_audio_seconds", "Seconds of audio transcribed", registry=registry)
        self._batch_segments = Histogram("asr_batch_pieces", "Segments per batch", buckets=_SEGMENTS,
                                         registry=registry)  # fmt: skip
        self._batch_audio_s = Histogram("asr_batch_audio_seconds", "Seconds of audio per batch", buckets=_AUDIO_S,
                                        registry=registry)  # fmt: skip
        self._batch_s = Histogram("asr_batch_seconds", "Model time per batch, in seconds", buckets=_SECONDS,
                                  registry=registry)  # fmt: skip
        self.active_requests = Gauge("asr_requests_inside", "Transcription requests in progress", registry=registry,
                                     multiprocess_mode="livesum")  # fmt: skip
        self.active_streams = Gauge("asr_live_streams", "Open WebSocket streams", registry=registry,
                                    multiprocess_mode="livesum")  # fmt: skip
        self.queued_s = Gauge("asr_queue_audio_seconds", "Seconds of audio waiting for the model", registry=registry,
                              multiprocess_mode="livesum")  # fmt: skip

    def record_request(self, route: str, status: int, duration_s: float) -> None:
        """Record an answered request; `route` is the path template."""
        self._requests.labels(route, str(status)).inc()
        self._request_s.labels(route).observe(duration_s)

    def record_audio(self, seconds: float) -> None:
        """Add to the seconds of audio transcribed."""
        self._audio_s.inc(seconds)

    def record_batch(self, segments: int, audio_s: float, duration_s: float) -> None:
        """Record a batch."""
        self._batch_segments.observe(segments)
        self._batch_audio_s.observe(audio_s)
        self._batch_s.observe(duration_s)

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format, summed over workers where there are several."""
        if MULTIPROCESS_DIR not in os.environ:
            return generate_latest(self._registry)
        combined = CollectorRegistry()
        MultiProcessCollector(combined)
        return generate_latest(combined)
