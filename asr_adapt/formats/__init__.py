"""Transcripts as files: text, JSON, subtitles, Praat, ELAN."""
