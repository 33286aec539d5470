"""The languages of a base model, as its card and its metadata name them."""

from pathlib import Path

from asr_adapt.model import card
from asr_adapt.recipe import Model


def folder(tmp_path: Path, front: str) -> Model:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    return Model(base=str(tmp_path))


def test_the_cards_languages_are_named_one_or_several(tmp_path: Path) -> None:
    assert card.languages(folder(tmp_path, "language: sw")) == ("sw",)
    assert card.languages(folder(tmp_path, "language:\n- sw\n- multilingual\n- rw\n- sw")) == ("sw", "rw")


def test_a_card_that_names_none_or_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert card.languages(folder(tmp_path, "license: mit")) == ()
    assert card.languages(folder(tmp_path, "language: [")) == ()
    (tmp_path / "README.md").unlink()
    assert card.languages(Model(base=str(tmp_path))) == () == card.languages(Model(base="embedded"))
    assert card.languages(Model(base="nobody/nothing")) == () == card.languages(Model(base="none"))
