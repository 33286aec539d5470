"""The recipes: each loads, is in the table, and writes its language as its docstring says."""

import ast
import json
import re
import runpy
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr_adapt
from asr_adapt.console import Console
from asr_adapt.recipe import Model, Recipe
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.workflows.run import run

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

# The letters of each orthography as its docstring describes it, marks on a letter that bears them.
LETTERS = {
    "amharic": "ሀ ለ ሐ መ ሠ ረ ሰ ሸ ቀ በ ቨ ተ ቸ ኀ ነ ኘ አ ከ ኸ ወ ዐ ዘ ዠ የ ደ ጀ ገ ጠ ጨ ጰ ጸ ፀ ፈ ፐ ሁ ሂ ሃ ሄ ህ ሆ ሏ",
    "armenian": "ա բ գ դ ե զ է ը թ ժ ի լ խ ծ կ հ ձ ղ ճ մ յ ն շ ո չ պ ջ ռ ս վ տ ր ց ու փ ք և օ ֆ",
    "assamese": "অ আ ই ঈ উ ঊ ঋ এ ঐ ও ঔ ক খ গ ঘ ঙ চ ছ জ ঝ ঞ ট ঠ ড ঢ ণ ত থ দ ধ ন প ফ ব ভ ম য ৰ ল ৱ শ ষ স হ ৎ ড় ঢ় য় "
    "কা কি কী কু কূ কৃ কে কৈ কো কৌ কং কঃ কঁ ক্ষ",
    "basaa": "a b ɓ c d e ɛ f g h i j k l m n ŋ o ɔ p s t u v w y z á à â ǎ ɛ́ ɛ̀ ɛ̂ ɛ̌ ɔ́ ɔ̀ ɔ̂ ɔ̌",
    "bemba": "a b c e f g i j k l m n o p s t u w y ng'a",
    "breton": "a b ch cʼh d e f g h i j k l m n o p r s t u v w y z ê ñ ù ü n'eo",
    "central_kurdish": "ئ ا ب پ ت ج چ ح خ د ر ڕ ز ژ س ش ع غ ف ڤ ق ک گ ل ڵ م ن و ۆ ه ە ی ێ",
    "central_yupik": "a c e g i k l m n p q r s t u v w y gg ll ng rr ss vv p'i",
    "chuvash": "а ӑ б в г д е ё ӗ ж з и й к л м н о п р с ҫ т у ӳ ф х ц ч ш щ ъ ы ь э ю я",
    "cook_islands_maori": "a e i k m n ng o p r t u v ā ē ī ō ū ꞌ",
    "dhivehi": "ހަ ށާ ނި ރީ ބު ޅޫ ކެ އޭ ވޮ މޯ ފް ދަ ތަ ލަ ގަ ޏަ ސަ ޑަ ޒަ ޓަ ޔަ ޕަ ޖަ ޗަ",
    "faroese": "a á b d ð e f g h i í j k l m n o ó p r s t u ú v y ý æ ø",
    "guarani": "a ã ch d e ẽ g g̃ h i ĩ j k l m mb n nd ng nt ñ o õ p r rr s t u ũ v y ỹ ʼ á é í ó ú ý",
    "hausa": "a b ɓ c d ɗ e f g h i j k ƙ l m n o r s t u w y z sh ts ʼ ʼy",
    "hawaiian": "a e i o u ā ē ī ō ū h k l m n p w ʻ",
    "khmer": "ក ខ គ ឃ ង ច ឆ ជ ឈ ញ ដ ឋ ឌ ឍ ណ ត ថ ទ ធ ន ប ផ ព ភ ម យ រ ល វ ស ហ ឡ អ កា កិ កី កឹ កឺ កុ កូ កួ កើ កឿ កៀ កេ កែ "
    "កៃ កោ កៅ កំ កះ ខ្មែ",
    "maltese": "a b ċ d e f ġ g għ h ħ i ie j k l m n o p q r s t u v w x ż z ta' il-k",
    "maori": "a e i o u ā ē ī ō ū h k m n ng p r t w wh",
    "mboshi": "a b d e f g h i k l m n o p r s t u v w y z á é í ó ú έ ε ω ώ",
    "sakha": "а б в г ҕ д дь е ё ж з и й к л м н нь ҥ о ө п р с һ т у ү ф х ц ч ш щ ъ ы ь э ю я",
    "santali": "ᱚ ᱛ ᱜ ᱝ ᱞ ᱟ ᱠ ᱡ ᱢ ᱣ ᱤ ᱥ ᱦ ᱧ ᱨ ᱩ ᱪ ᱫ ᱬ ᱭ ᱮ ᱯ ᱰ ᱱ ᱲ ᱳ ᱴ ᱵ ᱶ ᱷ ᱟᱹ ᱟᱸ ᱟᱺ ᱟᱻ ᱟᱼ ᱟᱽ",
    "upper_sorbian": "a b c č ć d dź e ě f g h ch i j k ł l m n ń o ó p r ř s š t u w y z ž",
    "wolof": "a à b c d e é ë f g i j k l m n ñ ŋ o ó p q r s t u w x y aa tt",
    "yoloxochitl_mixtec": "a1 a2 a3 a4 e1 i2 o3 u4 b ch d g j k l m n ñ p r s t v x y ya1ʼa4",
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
def test_a_recipe_imports_nothing_but_the_public_api(name: str) -> None:
    nodes = [*ast.walk(ast.parse((RECIPES / f"{name}.py").read_text(encoding="utf-8")))]
    assert not [node for node in nodes if isinstance(node, ast.Import)]
    (statement,) = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert statement.module == "asr_adapt"
    assert {alias.name for alias in statement.names} <= {*asr_adapt.__all__}


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


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_letter_of_the_orthography_stays_and_is_in_the_alphabet(name: str) -> None:
    recipe, _ = load(name)
    normalise = Normaliser(recipe.text, recipe.language)
    letters = [unicodedata.normalize("NFC", letter) for letter in LETTERS[name].split()]
    alphabet = Alphabet.from_texts([" ".join(letters)], recipe.text)
    for letter in letters:
        assert normalise(letter) == letter
        assert alphabet.decode(alphabet.encode(letter)) == letter


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_recipe_trains_two_steps_on_a_corpus_of_its_shape(name: str, tmp_path: Path) -> None:
    recipe, _ = load(name)
    letters = LETTERS[name].split()
    rng = np.random.default_rng(1)
    (tmp_path / "clips").mkdir()
    for split, count in (("train", 6), ("dev", 2), ("test", 2)):
        lines = ["client_id\tpath\tsentence\tlocale"]
        for number in range(count):
            soundfile.write(tmp_path / "clips" / f"{split}{number}.flac", rng.uniform(-0.1, 0.1, 48_000), 16_000)
            # Each train sentence has a sixth of the letters, so that they all are somewhere in train.
            said = letters[number::count] if split == "train" else list(rng.choice(letters, 5))
            lines.append(f"{split}{number % 2}\t{split}{number}.flac\t{' '.join(said)}\t{recipe.language}")
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    conf = recipe.train.model_copy(update={"steps": 2, "batch_s": 20.0, "precision": "fp32"})
    small = recipe.model_copy(
        update={
            "corpus": recipe.corpus.model_copy(update={"root": tmp_path}),
            "model": Model(base="none", hidden_size=64, layers=1),
            "train": conf,
        }
    )
    metrics = run(small, tmp_path / "run", Console(quiet=True))
    assert metrics.utterances == 2 and metrics.excluded == {}
    kept = json.loads((tmp_path / "run" / "model" / "asr_adapt.json").read_text(encoding="utf-8"))["alphabet"]
    assert set(Alphabet.from_texts([" ".join(letters)], recipe.text).units) <= set(kept)
