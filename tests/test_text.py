import random
import unicodedata

import pytest

from asr_adapt.errors import InputError, UnknownLetter
from asr_adapt.recipe import Text
from asr_adapt.text import Alphabet, Normaliser, changes, graphemes


def normalise(text: str, language: str = "und", **rules: object) -> str:
    return Normaliser(Text(**rules), language)(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hello, world!", "hello world"),
        ("e\u0301te\u0301", "été"),
        ("l’eau l'eau lʼeau", "l'eau l'eau lʼeau"),
        ("‘quoted’ 'words'", "quoted words"),
        ("n'", "n"),
        ("mother-in-law", "mother in law"),
        ("«ɔ́kà», ɛ̀ ɲ", "ɔ́kà ɛ̀ ɲ"),
        ("ma˥ ma˩", "ma˥ ma˩"),
        ("می‌خواهم", "می‌خواهم"),
        ("42 кг", "42 кг"),
        ("a\u00a0b\t c\n", "a b c"),
        ("ΣΟΦΟΣ", "σοφος"),
        ("?!…—", ""),
        ("", ""),
    ],
)
def test_normalisation(before: str, after: str) -> None:
    assert normalise(before) == unicodedata.normalize("NFC", after)


def test_case_folding_is_told_the_language() -> None:
    assert normalise("DIYARBAKIR İĞNE", "tr") == "dıyarbakır iğne"
    assert normalise("DIY", "en") == "diy"
    assert normalise("DIY", "az-Latn") == "dıy"
    assert normalise("DiY", lower=False) == "DiY"


def test_a_recipe_keeps_what_is_orthography() -> None:
    assert normalise("!ke 'ela.", keep="!'") == "!ke 'ela"
    assert normalise("ka’a", keep="’") == "ka’a"


def test_the_longest_key_of_the_replacement_table_wins() -> None:
    assert normalise("ngʼa nʼa", replace={"nʼ": "ɲ", "ngʼ": "ŋ"}) == "ŋa ɲa"
    assert normalise("e\u0301", replace={"é": "e"}) == "e"


def test_capitals_are_replaced_as_their_small_letters_are() -> None:
    assert normalise("Ŋa ŋa", replace={"ŋ": "ng"}) == "nga nga" == normalise("Ŋa ŋa", replace={"Ŋ": "NG"})


def test_a_table_whose_values_would_be_replaced_again_is_refused() -> None:
    with pytest.raises(InputError, match=r"text\.replace: 'n' → 'ny' would be replaced again"):
        normalise("x", replace={"n": "ny"})


def test_normalising_twice_changes_nothing_more() -> None:
    rng = random.Random(1)
    alphabet = "aÉɛ\u0301'’ʼ-.,!?\u200d İIıß1²˥ ᴬक्षि\u0000"
    for language in ("und", "tr"):
        for _ in range(500):
            text = "".join(rng.choices(alphabet, k=12))
            once = normalise(text, language)
            assert normalise(once, language) == once, repr(text)
            assert once == unicodedata.normalize("NFC", once)


def test_what_normalisation_changed_is_counted_by_character() -> None:
    found = {change.character: (change.before, change.after) for change in changes(["A, a", "B."], normaliser())}
    assert found == {"A": (1, 0), "a": (1, 2), ",": (1, 0), "B": (1, 0), "b": (0, 1), ".": (1, 0)}
    assert changes(["abc"], normaliser()) == []


def normaliser() -> Normaliser:
    return Normaliser(Text(), "und")


def test_rules_are_printed_in_one_line() -> None:
    line = Normaliser(Text(keep="!", replace={"x": "y"}), "tr").describe()
    assert all(part in line for part in ("NFC", "'x'→'y'", "Turkic i", "keep !")) and "\n" not in line


def test_a_letter_with_a_tone_mark_is_one_unit() -> None:
    alphabet = Alphabet.from_texts(["ɛ\u0301ba ɛb"])
    assert "ɛ\u0301" in alphabet.units and len(alphabet) == 2 + 4
    assert alphabet.decode(alphabet.encode("ɛ\u0301b ba")) == "ɛ\u0301b ba"
    assert len(alphabet.encode("ɛ\u0301")) == 1


def test_code_points_can_be_the_units() -> None:
    text = "क्षि"
    assert len(graphemes(text)) < len(text)
    alphabet = Alphabet.from_texts([text], Text(units="code_points"))
    assert set(alphabet.units[2:]) == set(text)
    assert alphabet.decode(alphabet.encode(text)) == text


def test_an_alphabet_is_the_same_whatever_the_order_of_the_texts() -> None:
    assert Alphabet.from_texts(["b a", "c"]) == Alphabet.from_texts(["c", "a b"])
    assert Alphabet.from_texts(["ab"]).units == ("<pad>", "|", "a", "b")


def test_units_of_the_recipe_are_added_and_the_longest_is_read_first() -> None:
    alphabet = Alphabet.from_texts(["ng"], Text(alphabet=("ng",)))
    assert alphabet.split("nga") == ["ng", "a"]


def test_an_unknown_letter_is_named_with_its_code_point() -> None:
    alphabet = Alphabet.from_texts(["ab"])
    with pytest.raises(UnknownLetter, match=r"'ɓ' \(U\+0253 LATIN SMALL LETTER B WITH HOOK\)"):
        alphabet.encode("aɓ")
    assert alphabet.unknown("aɓ ɓ") == {"ɓ": 2}
    assert sum(alphabet.unknown("a\u0301").values()) == 1, "a mark is never dropped in silence"


@pytest.mark.parametrize("units", [("|", "<pad>", "a"), ("<pad>", "|", "a", "a")])
def test_an_impossible_alphabet_is_refused(units: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Alphabet(units)


def test_texts_without_a_letter_are_refused() -> None:
    with pytest.raises(InputError, match="no letter"):
        Alphabet.from_texts(["", "  "])
