"""Damaged multipart bodies are read or rejected with a status and one line (the short form of the fuzz target)."""

import pytest
from fuzz_multipart import _BODIES, TARGET, read_one
from runner import check


def test_a_damaged_form_is_read_or_rejected() -> None:
    check(TARGET, examples=150)


@pytest.mark.parametrize("charset", [b"\0tf-16", b"no-such", b"hex", b"utf-16"])
def test_a_form_of_another_charset_is_read_or_rejected(charset: bytes) -> None:
    read_one((b'multipart/form-data; boundary="b"; charset=' + charset, _BODIES[1], 4096))
