"""What Prometheus may know: counts, seconds and sizes; nothing of what was said or sent."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""names the folder through which several workers add up; set before prometheus_client is imported"""
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_PIECES = (1, 2, 4, 8, 16, 32, 64)
_AUDIO_S = (1, 2, 5, 10, 15, 20, 30, 60, 120)


class Metrics:
    """One server's metrics, with a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of = self._registry
        self._requests = Counter("asr_requests", "Requests answered", ["route", "status"], registry=of)
        self._request_s = Histogram("asr_request_seconds", "From its head to the end of its answer", ["route"],
                                    buckets=_SECONDS, registry=of)  # fmt: skip
        self._audio_s = Counter("asr_audio_seconds", "Seconds of audio transcribed", registry=of)
        self._batch_pieces = Histogram("asr_batch_pieces", "Pieces in a batch", buckets=_PIECES, registry=of)
        self._batch_audio_s = Histogram("asr_batch_audio_seconds", "Seconds of audio in a batch", buckets=_AUDIO_S,
                                        registry=of)  # fmt: skip
        self._batch_s = Histogram("asr_batch_seconds", "Seconds that the model takes for a batch", buckets=_SECONDS,
                                  registry=of)  # fmt: skip
        self.inside = Gauge("asr_requests_inside", "Recordings that are in", registry=of,
                            multiprocess_mode="livesum")  # fmt: skip
        self.live = Gauge("asr_live_streams", "WebSockets that are open", registry=of, multiprocess_mode="livesum")
        self.waiting_s = Gauge("asr_queue_audio_seconds", "Seconds of audio that wait for the model", registry=of,
                               multiprocess_mode="livesum")  # fmt: skip

    def request(self, route: str, status: int, took_s: float) -> None:
        """Count a request that was answered; `route` is the path's template."""
        self._requests.labels(route, str(status)).inc()
        self._request_s.labels(route).observe(took_s)

    def audio(self, seconds: float) -> None:
        """Count what was transcribed."""
        self._audio_s.inc(seconds)

    def batch(self, pieces: int, audio_s: float, took_s: float) -> None:
        """Count a batch."""
        self._batch_pieces.observe(pieces)
        self._batch_audio_s.observe(audio_s)
        self._batch_s.observe(took_s)

    def text(self) -> bytes:
        """Return them in Prometheus' format, of all workers where there are several."""
        if SHARED not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
