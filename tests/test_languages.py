"""Languages: found by tag and by English name; what is not found is answered with the nearest."""

import pytest

from asr_adapt import languages
from asr_adapt.errors import InputError
from asr_adapt.recipe import recipe_from


@pytest.mark.parametrize(
    ("given", "tag"),
    [("Abui", "abz"), ("abui", "abz"), ("Māori", "mi"), ("Yoloxóchitl Mixtec", "xty"), ("Maori language", "mi"),
     ("abz", "abz"), ("ABZ", "abz"), ("sat-Olck", "sat-Olck"), ("eng", "eng"), ("und", "und"), ("qaa", "qaa")],
)  # fmt: skip
def test_a_language_is_found_by_tag_and_by_name(given: str, tag: str) -> None:
    assert languages.find(given) == tag


@pytest.mark.parametrize(
    ("given", "near"),
    [("Mboshi", "mdw (Mbosi)"), ("mi-Latin", "mi (Maori)"), ("zzz", "zza (Zaza)"), ("Yupik", "esu (Central Yupik)"),
     ("", "Give a tag such as mi")],
)  # fmt: skip
def test_a_wrong_language_is_answered_with_the_nearest(given: str, near: str) -> None:
    with pytest.raises(InputError) as refused:
        languages.find(given)
    assert near in str(refused.value)


def test_a_recipe_with_a_name_for_its_language_names_the_tag() -> None:
    with pytest.raises(InputError, match=r"x\.py: language: must be a BCP-47 tag \(nearest: abz \(Abui\)"):
        recipe_from({"language": "Abui"}, "x.py")


def test_the_name_of_a_tag_is_that_of_its_language() -> None:
    assert languages.name("sat-Olck") == "Santali"
    assert languages.name("eng") == "English"
    assert languages.name("qaa") is None
