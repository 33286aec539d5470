"""Characters that are invisible by design vanish, instead of cutting words; joiners stay where a script uses them."""

import pytest

from asr_adapt.recipe import Text
from asr_adapt.text.normaliser import Normaliser

normalise = Normaliser(Text(), "und")


@pytest.mark.parametrize("char", "\u00ad\ufeff\u2060\u200e\u200f\u202a\u202e\u2066\u2069\u061c\u034f\ufe0f\U000e0101")
def test_an_invisible_character_inside_a_word_vanishes(char: str) -> None:
    assert normalise(f"{char}ki{char}a o{char}ra{char}") == "kia ora"


@pytest.mark.parametrize("char", "\u200b\u200c\u200d")
def test_a_zero_width_character_vanishes_where_the_script_does_not_use_it(char: str) -> None:
    assert normalise(f"ki{char}a {char}при{char}вет") == "kia привет"


@pytest.mark.parametrize(
    "text", ["می\u200cخواهم", "क्\u200dष", "ক্\u200cষ", "ශ්\u200dරී", "\u200dه", "ب\u064e\u200cب"], ids=ascii
)
def test_joiners_stay_in_the_scripts_that_use_them(text: str) -> None:
    assert normalise(text) == text


def test_a_zero_width_space_still_parts_words_of_scripts_without_spaces() -> None:
    assert normalise("ភាសា\u200bខ្មែរ") == "ភាសា ខ្មែរ"
    assert normalise("ภาษา\u200bไทย") == "ภาษา ไทย"


def test_mongolian_variation_selectors_and_hangul_fillers_stay() -> None:
    for text in ("ᠭ\u180bᠠ", "\u115fᅡ"):
        assert normalise(text) == text


def test_what_the_recipe_names_does_not_vanish() -> None:
    assert Normaliser(Text(replace={"\u00ad": "-"}, keep="-"), "und")("ki\u00ada") == "ki-a"
    assert Normaliser(Text(replace={"\u200b": ""}), "km")("ភាសា\u200bខ្មែរ") == "ភាសាខ្មែរ"
