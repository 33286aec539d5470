"""Damaged multipart bodies are read or rejected with a status and one line (the short form of the fuzz target)."""

from fuzz_multipart import TARGET
from runner import check


def test_a_damaged_form_is_read_or_rejected() -> None:
    check(TARGET, examples=150)
