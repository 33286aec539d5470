"""Recipe scripts: sections are written as Python, and edited in place without touching the rest."""

from pathlib import Path

import pytest

from asr_adapt.errors import InputError
from asr_adapt.recipe import Corpus, Text
from asr_adapt.recipe_script import call, edit, load

ONE_LINE = "from asr_adapt import Corpus, Recipe"
LINES = "from asr_adapt.recipe import (\n    Corpus,\n    Recipe,\n)"
MODULE = "import asr_adapt\nfrom asr_adapt import Corpus, Text"
TEXT = Text(drop=("[]",), replace={"\\ng": "ŋ"})


def script(path: Path, body: str, imports: str = ONE_LINE) -> Path:
    path.write_text(f"{imports}\n\n{body}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        (ONE_LINE, 'RECIPE = Recipe(language="mi", corpus=Corpus(root="ā"))'),
        (ONE_LINE, 'RECIPE: Recipe = Recipe(\n    corpus=Corpus(root="ā"),\n    language="mi",\n)'),
        (LINES, 'RECIPE = Recipe(\n    language="mi",\n    corpus=Corpus(\n        root="ā"\n    ),\n)'),
        (MODULE, 'RECIPE = asr_adapt.Recipe(language="mi", text=Text(keep="-"), corpus=Corpus(root="ā"))'),
        ("import asr_adapt", 'RECIPE = asr_adapt.Recipe(language="mi")'),
    ],
)
def test_sections_are_replaced_or_added_whatever_the_layout(tmp_path: Path, imports: str, body: str) -> None:
    path = script(tmp_path / "r.py", body, imports)
    edit(path, {"corpus": Corpus(root=Path("new.jsonl")), "text": TEXT}, {"text": "Why."}).write()
    recipe = load(path)
    assert (recipe.language, recipe.corpus.root, recipe.text) == ("mi", Path("new.jsonl"), TEXT)


def test_what_is_replaced_stays_as_a_comment_and_other_lines_as_they_are(tmp_path: Path) -> None:
    path = script(
        tmp_path / "r.py", 'RECIPE = Recipe(\n    language="mi",  # Māori\n    corpus=Corpus(root="old"),\n)'
    )
    edit(path, {"corpus": Corpus(root=Path("new.jsonl")), "text": TEXT}, {"text": "Why."}).write()
    assert path.read_text(encoding="utf-8").splitlines()[2:] == [
        "RECIPE = Recipe(",
        '    language="mi",  # Māori',
        '    # replaced by asr-adapt doctor: corpus=Corpus(root="old")',
        '    corpus=Corpus(root="new.jsonl"),',
        "    # Why.",
        '    text=Text(replace={\'\\\\ng\': "ŋ"}, drop=("[]",)),',
        ")",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "def make():\n    return Recipe(language='mi')\n\n\nRECIPE = make()",
        "RECIPE = R = Recipe(**{'language': 'mi'})",
    ],
)
def test_a_recipe_that_is_computed_is_left_alone(tmp_path: Path, body: str) -> None:
    path = script(tmp_path / "r.py", body)
    before = path.read_text()
    try:
        edit(path, {"text": TEXT}).write()
    except InputError as error:
        assert "Edit it by hand: text=Text(" in str(error)
        assert path.read_text() == before
    else:
        assert load(path).text == TEXT


def test_names_that_cannot_be_printed_are_escaped_in_code() -> None:
    assert call(Corpus(root=Path("a\udcff\x1b\n"))) == r"Corpus(root='a\udcff\x1b\n')"
