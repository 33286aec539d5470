"""Praat's backslash codes become their letters."""

import unicodedata

from asr_adapt.text import praat


def test_codes_become_letters_and_marks_join_the_letter_before_them() -> None:
    assert praat.decode(r"ba\ngo \sh\ct \ae\:f") == "baŋo ʃɔ æː"
    assert praat.decode(r"\ct\'^ e\'^ \e\`") == "ɔ\u0301 é \\e\\`"
    assert praat.decode(r"\a'\n~\o" + '"') == "áñö"


def test_other_backslashes_stay() -> None:
    assert praat.decode(r"kia\ora \\") == r"kia\ora \\"
    assert praat.find(r"x\ng\zz\ct") == [r"\ng", r"\ct"]


def test_every_letter_is_one_code_point_in_nfc_or_a_mark() -> None:
    for code, letter in praat.codes().items():
        assert len(code) == 3 and len(letter) == 1 and unicodedata.normalize("NFC", letter) == letter, code
