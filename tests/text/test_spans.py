"""What text.drop and text.unclear match: bracket pairs, texts and regular expressions."""

import random

import pytest

from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, Text, fingerprint
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.text.spans import Spans


@pytest.mark.parametrize(
    ("entry", "text", "left"),
    [
        ("[]", "[noise] kia ora [door [slams]]", "kia ora"),
        ("[]", "kia [ora", "kia ora"),
        ("<>", "<unk> kia", "kia"),
        ("【】", "【笑】好", "好"),
        ("(laughs)", "(Laughs) kia (ora)", "kia ora"),
        ("xxx", "XXX kia xxxl", "kia xxxl"),
        ("@@", "@@ kia", "kia"),
        (r"/&=\S+/", "&=laughs kia", "kia"),
        (r"/^[A-Z]:/", "A: B: kia a: ora", "kia a ora"),
        ("ɛ\u0301", "ɛ\u0301 ɛ", "ɛ"),
    ],
)
def test_what_is_dropped_leaves_no_word_behind(entry: str, text: str, left: str) -> None:
    normalise = Normaliser(Text(drop=(entry,)), "und")
    assert normalise(text) == left
    assert normalise(left) == left


def test_a_dropped_span_cuts_the_word_that_it_stands_in() -> None:
    assert Normaliser(Text(drop=("[]",)), "und")("kia[noise]ora") == "kia ora"


def test_an_unclear_mark_is_found_as_it_stands_in_the_transcript() -> None:
    normalise = Normaliser(Text(unclear=("xxx", "[unclear]", "**")), "und")
    assert normalise.unclear("kia XXX ora") == "XXX"
    assert normalise.unclear("[Unclear]") == "[Unclear]"
    assert normalise.unclear("kia *** ora") == "**"
    assert normalise.unclear("xxxl [un clear] * *") is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [("", "an entry is blank"), ("/(/", "no valid regular expression"), ("/a*/", "matches the empty text")],
)
@pytest.mark.parametrize("field", ["drop", "unclear"])
def test_an_impossible_entry_is_refused_with_its_field(entry: str, problem: str, field: str) -> None:
    with pytest.raises(InputError, match=rf"text\.{field}: .*{problem}"):
        Normaliser(Text(**{field: (entry,)}), "und")


def test_a_pattern_that_matches_spaces_comes_to_an_end() -> None:
    assert Spans((r"/\s/",), "text.drop").remove("a b") == "a b"


def test_normalising_twice_changes_nothing_more_where_markup_is_dropped() -> None:
    rng = random.Random(4)
    rules = Text(drop=("[]", "<>", "uh huh", r"/[A-Z]:/", r"/&=\S+/"), replace={"\\ng": "ŋ", "&amp;": "&"})
    normalise = Normaliser(rules, "und")
    for _ in range(300):
        text = "".join(
            rng.choices(["[", "]", "<", ">", "uh", " ", "huh", "A:", "&=", "\\ng", "\u00ad", "\u200c"], k=14)
        )
        once = normalise(text)
        assert normalise(once) == once, repr(text)


def test_the_rules_say_what_is_dropped_and_what_is_unclear() -> None:
    line = Normaliser(Text(drop=("[]", "(laughs)"), unclear=("xxx",)), "und").describe()
    assert "drop [], (laughs)" in line and "utterances with xxx excluded" in line


def test_a_recipe_that_drops_nothing_keeps_its_fingerprint() -> None:
    old = {"lower": True, "keep": "", "replace": {}, "alphabet": [], "units": "graphemes"}
    assert fingerprint(Text()) == fingerprint(old)
    assert fingerprint(Text(drop=("[]",))) != fingerprint(Text())
    assert fingerprint(Recipe(language="mi")) == fingerprint(Recipe(language="mi", text=Text(drop=(), unclear=())))
