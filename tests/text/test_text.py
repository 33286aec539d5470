"""Text: the normaliser and the alphabet, across scripts and languages."""

import random
import unicodedata

import pytest

from asr_adapt.errors import InputError, UnknownLetter
from asr_adapt.recipe import Text
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.characters import graphemes
from asr_adapt.text.normaliser import Normaliser, changes


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


def test_a_key_is_replaced_in_every_shape_in_which_it_comes_about() -> None:
    assert normalise("k'a k’a kʼa", replace={"'": "ʼ"}) == "kʼa kʼa kʼa"
    assert normalise("n-g ng", replace={"-": "", "ng": "ŋ"}) == "ŋ ŋ"
    assert normalise("ex", replace={"x": "\u0301", "é": "e"}) == "e"


def test_a_table_that_never_comes_to_rest_still_ends() -> None:
    assert normalise("aab", replace={"ab": "bbaa"}).startswith("bb")


def test_capitals_are_replaced_as_their_small_letters_are() -> None:
    assert normalise("Ŋa ŋa", replace={"ŋ": "ng"}) == "nga nga" == normalise("Ŋa ŋa", replace={"Ŋ": "NG"})


def test_a_table_whose_values_would_be_replaced_again_is_refused() -> None:
    with pytest.raises(InputError, match=r"text\.replace: 'n' → 'ny' would be replaced again"):
        normalise("x", replace={"n": "ny"})


def test_normalising_twice_changes_nothing_more() -> None:
    rng = random.Random(1)
    alphabet = "aÉɛ\u0301'’ʼ-.,!?\u200d İIıß1²˥ ᴬक्षि\u0000"
    table = {"'": "ʼ", "-": "", "ıß": "x", "é": "e"}
    for normaliser in (Normaliser(Text(), "und"), Normaliser(Text(), "tr"), Normaliser(Text(replace=table), "und")):
        for _ in range(300):
            text = "".join(rng.choices(alphabet, k=12))
            once = normaliser(text)
            assert normaliser(once) == once == unicodedata.normalize("NFC", once), repr(text)


def test_composed_and_decomposed_spellings_of_random_texts_become_the_same() -> None:
    rng = random.Random(2)
    for _ in range(300):
        text = "".join(rng.choices("aɛoèẽ\u0300\u0301\u0323 ’ʼŋक्षि", k=10))
        assert normalise(unicodedata.normalize("NFD", text)) == normalise(unicodedata.normalize("NFC", text))


def test_what_normalisation_changed_is_counted_by_character() -> None:
    normaliser = Normaliser(Text(), "und")
    found = {change.character: (change.before, change.after) for change in changes(["A, a", "B."], normaliser)}
    assert found == {"A": (1, 0), "a": (1, 2), ",": (1, 0), "B": (1, 0), "b": (0, 1), ".": (1, 0)}
    assert changes(["abc"], normaliser) == []


def test_a_mixture_of_composed_and_decomposed_letters_shows_itself() -> None:
    found = changes(["é e\u0301"], Normaliser(Text(), "und"))
    assert [(change.character, change.before, change.after) for change in found] == [
        ("e", 1, 0), ("é", 1, 2), ("\u0301", 1, 0)]  # fmt: skip
    assert found[2].name == "U+0301 COMBINING ACUTE ACCENT"


def test_rules_are_printed_in_one_line() -> None:
    line = Normaliser(Text(keep="!", replace={"x": "y"}), "tr").describe()
    assert all(part in line for part in ("NFC", "'x'→'y'", "Turkic i", "keep !")) and "\n" not in line


def test_a_letter_with_a_tone_mark_is_one_unit() -> None:
    alphabet = Alphabet.from_texts(["ɛ\u0301ba ɛb"])
    assert "ɛ\u0301" in alphabet.units and len(alphabet) == 2 + 4
    assert alphabet.decode(alphabet.encode("ɛ\u0301b ba")) == "ɛ\u0301b ba"
    assert len(alphabet.encode("ɛ\u0301")) == 1


def test_two_delimiters_around_a_blank_are_two_spaces_and_none_stands_at_the_ends() -> None:
    alphabet = Alphabet.from_texts(["ab"])
    assert alphabet.decode([1, 2, 1, 0, 1, 3, 0, 1]) == "a  b"


def test_code_points_can_be_the_units() -> None:
    text = "क्षि"
    assert len(graphemes(text)) < len(text)
    alphabet = Alphabet.from_texts([text], Text(units="code_points"))
    assert set(alphabet.units[2:]) == set(text)
    assert alphabet.decode(alphabet.encode(text)) == text


@pytest.mark.parametrize("units", ["graphemes", "code_points"])
def test_what_is_encoded_is_decoded(units: str) -> None:
    rng = random.Random(3)
    for _ in range(300):
        text = normalise("".join(rng.choices("abɛ\u0301'ʼ 1\u200c\u200dक्षि˥", k=10)))
        if text:
            alphabet = Alphabet.from_texts([text], Text(units=units))
            assert alphabet.decode(alphabet.encode(text)) == text, ascii(text)


@pytest.mark.parametrize("stray", ["\u0301", "\u200c"])
def test_a_space_is_the_delimiter_also_before_a_stray_mark(stray: str) -> None:
    alphabet = Alphabet.from_texts([f"a {stray}b"])
    assert alphabet.units == ("<pad>", "|", *sorted(["a", "b", stray]))
    assert alphabet.encode(f"a {stray}b").count(1) == 1
    assert graphemes(f"a {stray}b") == ["a", " ", stray, "b"]


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
