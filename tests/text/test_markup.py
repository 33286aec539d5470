"""Markup in transcripts: each kind is found, and the proposed text fields keep it from being learned."""

import pytest

from asr_adapt.recipe import Text
from asr_adapt.text import markup
from asr_adapt.text.normaliser import Normaliser

SPEECH = ["kia ora koutou katoa", "he aha tēnā mea", "kei te pai ahau ki a koe", "homai te pēke whero"]

KINDS = [
    ("unclear", "<unk> he aha", None),
    ("unclear", "*** he aha", None),
    ("unclear", "he xxx aha", None),
    ("unclear", "he [unclear] aha", None),
    ("unclear", "he (???) aha", None),
    ("unclear", "he (( )) aha", None),
    ("unclear", "he UNK aha", None),
    ("annotations", "[noise] he aha", "he aha"),
    ("annotations", "(laughs) he aha", "he aha"),
    ("annotations", "{breath} he aha", "he aha"),
    ("annotations", "<rire/> he aha", "he aha"),
    ("annotations", "he [a gate creaks] aha", "he aha"),
    ("annotations", "he (1.5) aha", "he aha"),
    ("annotations", "（笑） he aha", "he aha"),
    ("annotations", "he @@ aha", "he aha"),
    ("annotations", "<b>he</b> aha", "he aha"),
    ("chat_codes", "&=laughs he aha", "he aha"),
    ("chat_codes", "he dog@s:eng aha", "he dog aha"),
    ("praat_codes", r"ba\ngo \ct\'^", "baŋo ɔ\u0301"),
    ("speaker_prefixes", "A: he aha", "he aha"),
    ("speaker_prefixes", "Speaker 1: he aha", "he aha"),
    ("speaker_prefixes", "*MOT: he aha", "he aha"),
    ("timestamps", "00:01:23 he aha", "he aha"),
    ("timestamps", "[00:01:23.5] he aha", "he aha"),
    ("timestamps", "he aha \x15123_456\x15", "he aha"),
    ("footnotes", "he aha¹ tēnā", "he aha tēnā"),
    ("footnotes", "he aha12 tēnā", "he aha tēnā"),
    ("footnotes", "he aha [2] tēnā", "he aha tēnā"),
    ("entities", "he &amp; aha", "he aha"),
]


@pytest.mark.parametrize(("kind", "text", "left"), KINDS, ids=[text for _, text, _ in KINDS])
def test_a_kind_of_markup_is_found_and_the_proposed_fields_handle_it(kind: str, text: str, left: str | None) -> None:
    texts = [*SPEECH, text]
    found = markup.find(texts, Text(), "mi")
    assert [f.kind for f in found.found] == [kind]
    assert [index for index, _ in found.found[0].texts] == [len(SPEECH)]
    rules = found.applied(Text())
    normalise = Normaliser(rules, "mi")
    if left is None:
        assert normalise.unclear(text) is not None
    else:
        assert normalise.unclear(text) is None and normalise(text) == normalise(left) == left
    assert [normalise(speech) for speech in SPEECH] == SPEECH
    assert markup.find(texts, rules, "mi").found == (), "what is handled is not found again"


@pytest.mark.parametrize(
    "text",
    ["he aha tēnā?", "“kia ora,” he aha", "he (kia ora) aha", "he rā 2024", "e Mea: kia ora", "ya¹'a⁴ ndu³",
     "he aha…", "kia*ora", "a@b", "Tom & Jerry", r"kia\ora", "12.30"],
)  # fmt: skip
def test_what_may_be_speech_is_not_dropped(text: str) -> None:
    found = markup.find([*SPEECH, *["ya¹'a⁴ ndu³"] * 9, text], Text(), "mi")
    assert (found.drop, found.unclear, found.replace) == ((), (), ())


def test_speech_in_brackets_is_named_and_keeps_its_pair_from_being_dropped() -> None:
    found = markup.find([*SPEECH, "(kia ora) he aha", "(laughs) he aha", "(be)tēnā"], Text(), "mi")
    assert [(f.kind, f.examples()) for f in found.found] == [
        ("annotations", "'(laughs)' × 1"),
        ("bracketed_speech", "'(kia ora)' × 1, '(be)' × 1"),
    ]
    assert found.drop == ("(laughs)",)


def test_a_bracket_that_is_not_closed_is_named_and_nothing_is_guessed() -> None:
    found = markup.find([*SPEECH, "[noise he aha"], Text(), "mi")
    assert [f.kind for f in found.found] == ["unclosed_brackets"]
    assert found.drop == ()


def test_a_capitalised_word_is_a_speaker_where_several_utterances_begin_with_it() -> None:
    once = markup.find([*SPEECH, "Hemi: kia ora"], Text(), "mi")
    often = markup.find([*SPEECH, *["Hemi: kia ora"] * 3], Text(), "mi")
    assert once.found == ()
    assert [f.examples() for f in often.found] == ["'Hemi:' × 3"]


def test_fields_of_the_recipe_come_first_and_stay() -> None:
    rules = Text(drop=("[]",), replace={"x": "y"}, keep="-")
    applied = markup.find([*SPEECH, "[noise] (laughs) he"], rules, "mi").applied(rules)
    assert applied == Text(drop=("[]", "()"), replace={"x": "y"}, keep="-")


def test_praat_codes_that_lower_case_makes_one_are_found_and_not_proposed() -> None:
    found = markup.find([*SPEECH, r"\tSa", r"\tsa \nga"], Text(), "mi")
    assert [f.examples() for f in found.found] == [r"'\\tS' × 1, '\\ts' × 1, '\\ng' × 1"]
    assert found.replace == ((r"\ng", "ŋ"),)


def test_a_proposed_replacement_follows_what_the_recipe_replaces() -> None:
    rules = Text(replace={"ŋ": "ng"})
    applied = markup.find([*SPEECH, r"ba\ngo"], rules, "mi").applied(rules)
    assert Normaliser(applied, "mi")(r"ba\ngo ŋa") == "bango nga"


def test_a_cleaned_transcript_keeps_case_and_punctuation() -> None:
    text = "A: [noise] He\u00ad aha, \\ngo &amp; tēnā?"
    found = markup.find([*SPEECH, text], Text(), "mi")
    assert found.cleaned(text, Normaliser(found.applied(Text()), "mi")) == "He aha, ŋo & tēnā?"
    assert found.cleaned("two  spaces.", Normaliser(Text(), "mi")) == "two  spaces."
