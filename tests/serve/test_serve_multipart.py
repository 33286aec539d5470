"""Damaged multipart bodies are read or rejected with a status and one line (the short form of the fuzz target)."""

import pytest
from fuzz_multipart import _BODIES, TARGET, read_one
from runner import check

from asr_adapt.errors import InputError


def test_a_damaged_form_is_read_or_rejected() -> None:
    assert check(TARGET, examples=150).has_both


@pytest.mark.parametrize("charset", [b"no-such", b"hex"])
def test_a_form_of_an_unknown_charset_is_read(charset: bytes) -> None:
    assert read_one(_form(charset)) is None


@pytest.mark.parametrize(
    ("charset", "said"), [(b"\0tf-16", "its charset is unknown"), (b"utf-16", "The form has no file")]
)
def test_a_form_that_its_charset_does_not_fit_is_rejected(charset: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_one(_form(charset))


def _form(charset: bytes) -> tuple[bytes, bytes, int]:
    return b'multipart/form-data; boundary="b"; charset=' + charset, _BODIES[1], 4096
