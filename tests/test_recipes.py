"""The recipes: each loads, is in the table, and writes its language as its docstring says."""

import re
import runpy
import unicodedata
from pathlib import Path

import pytest

from asr_adapt.recipe import Recipe
from asr_adapt.text import Alphabet, Normaliser

RECIPES = Path(__file__).parent.parent / "recipes"
SCRIPTS = sorted(path for path in RECIPES.glob("*.py") if path.name != "table.py")

# What people type, and what the model shall write. Code points are named where look-alikes matter.
EXAMPLES = {
    "amharic": [("ሰላም፡ዓለም።", "ሰላም ዓለም"), ("ሀ ሐ ኀ", "ሀ ሐ ኀ")],
    "armenian": [
        ("Ինչո\u055eւ", "ինչու"),
        ("Այո\u055c, գնա\u055b", "այո գնա"),
        ("ԵՒ եւ \u0587", "\u0587 \u0587 \u0587"),
    ],
    "assamese": [("আমাৰ", "আমাৰ"), ("আমা\u09b0।", "আমা\u09f0"), ("\u09df", "\u09af\u09bc")],
    "basaa": [("Bàsàa, ɓɔ̂t!", "bàsàa ɓɔ̂t"), ("\u0186\u0301 A\u0300", "ɔ\u0301 à")],
    "bemba": [("Ng’anda ng'anda", "ng'anda ng'anda"), ("ingá", "ingá")],
    "breton": [("C'hoar c’hoar c\u02bchoar", "c\u02bchoar " * 3), ("n’eo chom", "n'eo chom")],
    "central_kurdish": [
        ("\u0643\u0648\u0631\u062f\u064a", "\u06a9\u0648\u0631\u062f\u06cc"),
        ("\u0626\u0647\u200c\u0645", "\u0626\u06d5\u0645"),
        ("\u06be\u0627\u062a\u061f", "\u0647\u0627\u062a"),
        ("\u0628\u0640\u0627\u0634\u200f", "\u0628\u0627\u0634"),
    ],
    "central_yupik": [("Yup’ik, Yup'ik", "yup'ik yup'ik")],
    "chuvash": [("Ч\u0103ваш", "ч\u04d1ваш"), ("\u00c7\u0114 \u00ff", "\u04ab\u04d7 \u04f3")],
    "cook_islands_maori": [("'Enua Ma\u02bbuke", "\ua78cenua ma\ua78cuke"), ("\ua78bĀriki", "\ua78cāriki")],
    "dhivehi": [("ދިވެހި،", "ދިވެހި")],
    "faroese": [("Føroyar, ÐÝ", "føroyar ðý")],
    "guarani": [("Avañe’ẽ", "avañe\u02bcẽ"), ("G\u0303uarani y\u0303", "g\u0303uarani ỹ")],
    "hausa": [("'Ya’ya", "\u02bcya\u02bcya"), ("Ƙasa, ƴan ɗaki", "ƙasa \u02bcyan ɗaki")],
    "hawaiian": [("‘Ōlelo Hawai’i", "\u02bbōlelo hawai\u02bbi"), ("`äina", "\u02bbāina")],
    "khmer": [("ភាសា\u200bខ្មែរ។", "ភាសាខ្មែរ"), ("ភាសាខ្មែរ", "ភាសាខ្មែរ")],
    "maltese": [("Il-kelb ta’ Ġorġ", "il-kelb ta' ġorġ"), ("iva - le", "iva le"), ("ma' l\u2011omm.", "ma' l-omm")],
    "maori": [("Mäori, whānau", "māori whānau")],
    "mboshi": [("wa ékiá", "wa ékiá")],
    "sakha": [("Кү\u04bbүн күhүн", "кү\u04bbүн кү\u04bbүн"), ("Са\u04a3а", "са\u04a5а")],
    "santali": [("ᱥᱟᱱᱛᱟᱲᱤ᱾", "ᱥᱟᱱᱛᱟᱲᱤ"), ("ᱟ\u1c79\u1c78 ᱟ\u1c78\u1c79", "ᱟ\u1c7a ᱟ\u1c7a")],
    "upper_sorbian": [("Wječor, Łužica", "wječor łužica")],
    "wolof": [("Ñëw, ŋaam!", "ñëw ŋaam")],
    "yoloxochitl_mixtec": [("ya¹'a⁴", "ya1\u02bca4"), ("ya1’a4", "ya1\u02bca4")],
}

# Labels that must be one, and how a word falls into them.
LABELS = {
    "basaa": ("ɓɔ̂t", ["ɓ", "ɔ̂", "t"]),
    "breton": ("c\u02bchoar", ["c\u02bch", "o", "a", "r"]),
    "dhivehi": ("ދިވެހި", ["ދ", "ި", "ވ", "ެ", "ހ", "ި"]),
    "guarani": ("g\u0303ua", ["g\u0303", "u", "a"]),
    "khmer": ("ខ្មែរ", ["ខ", "្", "ម", "ែ", "រ"]),
    "assamese": ("ক্ষ", ["ক", "্", "ষ"]),
    "amharic": ("ሰላም", ["ሰ", "ላ", "ም"]),
}


def load(name: str) -> tuple[Recipe, str]:
    module = runpy.run_path(str(RECIPES / f"{name}.py"))
    return module["RECIPE"], module["__doc__"]


def test_the_table_is_made_from_the_recipes() -> None:
    table = runpy.run_path(str(RECIPES / "table.py"))["table"]()
    assert (RECIPES / "README.md").read_text(encoding="utf-8") == table, "run: python recipes/table.py"
    assert all(f"({script.name})" in table for script in SCRIPTS)


def test_every_recipe_has_its_examples() -> None:
    assert {script.stem for script in SCRIPTS} == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_recipe_loads_and_describes_itself(name: str) -> None:
    recipe, said = load(name)
    assert re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?", recipe.language), "language, script, region"
    assert f"({recipe.language})" in said.splitlines()[0]
    assert all(f"\n{part}: " in said for part in ("Corpus", "Orthography")), "the docstring's paragraphs"
    assert "licence" in said.lower()
    assert recipe.corpus.licence != "unknown"
    assert recipe.corpus.root is None, "the corpus is the user's to name"
    if "Seen: " not in said:
        assert "\nNot run here.\n" in said
        assert re.search(r"^To beat: (WER \.\d|no published WER)", said, re.MULTILINE)
        assert f"\nBase: {'MMS' if 'mms' in recipe.model.base else 'XLS-R'} 300m" in said


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_recipe_writes_its_language_as_its_docstring_says(name: str) -> None:
    recipe, _ = load(name)
    normalise = Normaliser(recipe.text, recipe.language)
    for typed, written in EXAMPLES[name]:
        written = unicodedata.normalize("NFC", written.strip())
        for shape in ("NFC", "NFD"):
            assert normalise(unicodedata.normalize(shape, typed)) == written
        assert normalise(written) == written
        alphabet = Alphabet.from_texts([written], recipe.text)
        assert not alphabet.unknown(written)
        assert alphabet.decode(alphabet.encode(written)) == written


@pytest.mark.parametrize("name", LABELS)
def test_a_label_is_what_the_docstring_calls_one(name: str) -> None:
    recipe, _ = load(name)
    word, units = LABELS[name]
    word = unicodedata.normalize("NFC", word)
    assert Alphabet.from_texts([word], recipe.text).split(word) == units
