"""asr_adapt: adapt speech recognition to languages that the big systems forget."""

__version__ = "0.1.0"
