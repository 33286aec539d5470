"""Server limits: sizes, durations, timeouts and concurrency."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits enforced on every request. Memory use is the models plus about 10 MB for each concurrent request."""

    upload_bytes: int = 100 * 2**20
    """maximum request body; bodies over 1 MB are spooled to an unnamed temporary file"""
    field_bytes: int = 16 * 2**10
    """maximum size of a form field other than the file"""
    fields: int = 32
    """maximum number of form fields"""
    audio_s: float = 7_200.0
    """maximum decoded duration of a recording, in seconds"""
    requests: int = 64
    """maximum concurrent transcription requests; further ones get 429"""
    streams: int = 16
    """maximum concurrent WebSocket streams"""
    stream_idle_s: float = 60.0
    """a WebSocket that sends nothing for this long is closed"""
    request_s: float = 600.0
    """time limit of a request, from its head to the end of its response"""
    head_s: float = 10.0
    """time limit for receiving a request's head"""
    head_bytes: int = 16 * 2**10
    """maximum size of a request's head"""
    stall_s: float = 10.0
    """maximum pause within an upload"""
    min_bytes_per_s: int = 4_096
    """minimum average upload speed after the first `stall_s`"""
    batch_s: float = 15.0
    """maximum seconds of audio in a batch, padding included"""
    batch_wait_s: float = 0.005
    """how long a segment waits for others to join its batch"""
    decode_ahead_s: float = 60.0
    """seconds of one recording that may be decoded ahead of the model"""
    prompt_words: int = 200
    """maximum number of hotwords taken from a prompt"""
    drain_s: int = 30
    """time that running requests are given to finish after SIGTERM"""
