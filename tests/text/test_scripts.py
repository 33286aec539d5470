"""The script of a letter is Unicode's, whatever the letter's name begins with."""

import pytest

from asr_adapt.text.scripts import script


@pytest.mark.parametrize(
    ("letter", "name"),
    [("a", "Latin"), ("ʰ", "Latin"), ("ａ", "Latin"), ("ꞌ", "Latin"), ("ε", "Greek"), ("а", "Cyrillic"),
     ("ᱚ", "Ol Chiki"), ("中", "Han"), ("ｱ", "Katakana"), ("ᐊ", "Canadian Aboriginal"), ("ᨠ", "Tai Tham"),
     ("ߊ", "Nko"), ("\u0301", "Common"), ("ʼ", "Common"), ("1", "Common")],
)  # fmt: skip
def test_a_letter_has_its_script(letter: str, name: str) -> None:
    assert script(letter) == name
