"""What a request may bring, take and wait for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that hold whatever is sent; memory is about 10 MB for each request that is in, and the model."""

    upload_bytes: int = 100 * 2**20
    """body of a request; what is over 1 MB lies in a temporary file without a name"""
    field_bytes: int = 16 * 2**10
    """a form field that is no file"""
    fields: int = 32
    audio_s: float = 7_200.0
    """decoded seconds of a recording"""
    requests: int = 64
    """recordings that are uploaded, waited for or read at one time; the next is told to come again (429)"""
    live: int = 16
    """WebSockets at one time"""
    live_idle_s: float = 60.0
    """a WebSocket may be silent"""
    request_s: float = 600.0
    """from a request's head to its answer"""
    head_s: float = 10.0
    """for a request's head, and for the rest of a body whose answer is already sent"""
    stall_s: float = 10.0
    """a sender may pause"""
    least_bytes_per_s: int = 4_096
    """a sender's average, after the first `stall_s`"""
    batch_s: float = 15.0
    """seconds of audio, padding included, that the model reads at once"""
    wait_s: float = 0.005
    """a piece waits for others to share its batch"""
    ahead_s: float = 60.0
    """seconds of one recording that may wait for the model; more is not decoded yet"""
    hotwords: int = 200
    """words of a prompt"""
    drain_s: int = 30
    """requests that are in may take after SIGTERM"""
