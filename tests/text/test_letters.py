"""Letters as phones: guesses from their shapes, tables, and what a base model lacks."""

from pathlib import Path

import pytest

from asr_adapt.artifacts import ModelMetadata
from asr_adapt.bundled import folder
from asr_adapt.errors import InputError
from asr_adapt.text import letters

PHONES = frozenset(ModelMetadata.read(folder("base")).alphabet[2:])


@pytest.mark.parametrize(
    ("unit", "phones", "source"),
    [
        ("a", "a", "looks alike"),
        ("y", "j", "looks alike"),
        ("c", "tʃ", "looks alike"),
        ("sh", "ʃ", "looks alike"),
        ("ε", "ɛ", "looks alike"),  # Greek
        ("ά", "", "no phone looks alike"),  # Greek alpha is not Latin a
        ("á", "a", "without its tone mark"),
        ("ọ", "ɔ", "looks alike"),
        ("ọ\u0301", "ɔ", "without its tone mark"),
        ("ẅ", "w", "without its marks"),
        ("ɓ", "b", "looks alike"),  # the base has no implosive b
        ("ሀ", "", "no phone looks alike"),
    ],
)
def test_a_letter_is_guessed_by_its_shape_and_says_how(unit: str, phones: str, source: str) -> None:
    assert letters.guess(unit, PHONES) == letters.Letter(unit, tuple(phones), source)


def test_a_base_that_writes_letters_has_them_as_they_are() -> None:
    assert letters.guess("c", frozenset("abcj")).phones == ("c",)


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [("t͡ʃ", "tʃ"), ("aː", "a"), ("ˈkʷã", "ka"), ("ɓ", "b"), ("ʧ", "tʃ"), ("ʼ", "ʼ"), ("g", "ɡ"), ("ʀ", "ʁ")],
)
def test_ipa_becomes_units_of_the_base(ipa: str, phones: str) -> None:
    assert letters.phones_of(ipa, PHONES) == (tuple(phones), [])


def test_units_of_several_symbols_are_taken_whole_and_what_is_missing_is_named() -> None:
    assert letters.phones_of("tʃaː", {"tʃ", "t", "aː", "a"}) == (("tʃ", "aː"), [])
    assert letters.phones_of("aǃ", {"a"}) == (("a",), ["ǃ"])


def test_a_given_table_goes_before_guesses_and_its_digraphs_before_the_usual_ones() -> None:
    texts = ["shasha tsa", "sha"]
    units = letters.units_of(texts)
    guessed = {one.unit: one for one in letters.table(texts, units, PHONES)}
    assert guessed.keys() == {"a", "h", "s", "t", "sh"} and guessed["sh"].phones == ("ʃ",)
    given = {one.unit: one for one in letters.table(texts, units, PHONES, {"a": "ɔ", "ts": "ts", "qu": "k"})}
    assert given.keys() == {"a", "h", "s", "t", "ts"}, "no sh, which the table lacks; no qu, which does not occur"
    assert given["a"].phones == ("ɔ",) and given["a"].source == "given"
    assert given["s"].source == "looks alike"


def test_a_table_with_a_phone_like_none_of_the_base_is_refused() -> None:
    with pytest.raises(InputError, match="no phone like ǃ"):
        letters.table(["a"], ["a"], PHONES, {"a": "ǃ"})


def test_a_written_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "letters.tsv"
    letters.write_table(letters.table(["shasha ñash á7"], ["a", "7"], PHONES), path)
    assert letters.read_table(path) == {"a": "a", "7": "", "sh": "ʃ"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [("sh ʃ\n", "x.tsv:1"), ("# c\na\ta\na\tb\n", "x.tsv:3.*twice"), ("# nothing\n\n", "no letter")],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        letters.read_table(path)
