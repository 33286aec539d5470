"""Relatedness by URIEL+: the nearest of several languages, and nothing where nothing is known."""

import logging
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from asr_adapt.scoring import relatedness

DISTANCES = {("mri", "haw"): 0.2, ("mri", "deu"): 1.0}


class URIELPlus:
    """URIEL+ as far as it is used, version 1.3.2: ISO 639-3 codes, and an error where it knows nothing."""

    def new_genetic_distance(self, codes: list[str]) -> float:
        if (codes[0], codes[1]) not in DISTANCES:
            raise ValueError(f"Unknown languages: {codes[1]}.")
        return DISTANCES[codes[0], codes[1]]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    relatedness._knowledge.cache_clear()
    yield
    relatedness._knowledge.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("urielplus.urielplus")
    module.URIELPlus = URIELPlus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "urielplus", ModuleType("urielplus"))
    monkeypatch.setitem(sys.modules, "urielplus.urielplus", module)


@pytest.mark.usefixtures("installed")
def test_the_nearest_language_is_found_by_any_tag_and_what_is_unknown_is_passed_over() -> None:
    assert relatedness.nearest("mi", ["de", "haw", "xx-nonsense", "kichwa"]) == ("haw", 0.2)
    assert relatedness.nearest("mi", ["de", "mri"]) == ("mri", 0.0)
    assert relatedness.nearest("mi", ["fr"]) is None and relatedness.nearest("mi", []) is None
    assert relatedness.problem() is None


def test_without_the_extra_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urielplus.urielplus", None)
    handlers = logging.getLogger().handlers[:]
    assert relatedness.nearest("mi", ["haw"]) is None
    assert relatedness.problem() == "pip install 'asr-adapt[uriel]'"
    assert logging.getLogger().handlers == handlers


@pytest.mark.usefixtures("installed")
def test_an_installation_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: URIELPlus) -> None:
        raise PermissionError(13, "Permission denied", "database.npz")

    monkeypatch.setattr(URIELPlus, "__init__", refuse)
    assert relatedness.nearest("mi", ["haw"]) is None
    assert "Permission denied: 'database.npz'" in (relatedness.problem() or "")
