"""Several base models: `new` writes the nearest one into the recipe, `doctor` says where the recipe's is far."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from conftest import tone_recipe, write_base, write_corpus

from asr_adapt.artifacts import LayerScores, RankedBase, Ranking
from asr_adapt.cli import main
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe
from asr_adapt.stages import rank
from asr_adapt.stages.doctor import base_models
from asr_adapt.workflows import base_choice


def ranked(name: str, cer: float, against_best: float = 0.0, far: bool = False) -> RankedBase:
    return RankedBase(
        name=name, cer=cer, cer_ci95=(cer - 0.02, cer + 0.02), best_layer=1, against_random=(-0.1, -0.2, 0.0),
        against_best=(against_best, against_best - 0.02, against_best + 0.02), is_far=far, is_nearest=0.5,
        known_letters=1.0, logme=0.0, training_s_per_hour=1.0, memory_gb=1.0,
        layers=(LayerScores(layer=1, cer=cer, logme=0.0),),
    )  # fmt: skip


def ranking(*bases: RankedBase, learned: bool = True) -> Ranking:
    return Ranking(
        language="art", train_minutes=10, dev_minutes=5, dev_utterances=50, unreadable=0, bases=bases,
        has_learned=learned, recommendation=rank.recommendation(bases, 10, learned),
    )  # fmt: skip


NEAR, SAME, OTHER = ranked("near", 0.4), ranked("same", 0.41, 0.01), ranked("other", 0.6, 0.2)
FAR = ranked("far", 0.7, 0.3, far=True)


@pytest.mark.parametrize(
    ("base", "of", "name", "remedy"),
    [
        ("near", (NEAR, FAR), None, ""),
        ("same", (NEAR, SAME), None, ""),
        ("other", (NEAR, OTHER), "nearer_base", "Use near."),
        ("far", (NEAR, FAR), "far_base", "Use near."),
        ("far", (FAR,), "far_base", "Train from scratch (--model.base none)."),
        ("embedded-small", (NEAR, FAR), None, ""),
    ],
)
def test_the_doctor_names_a_base_that_is_far_or_clearly_not_the_nearest(
    base: str, of: tuple[RankedBase, ...], name: str | None, remedy: str
) -> None:
    found = base_models.check(ranking(*of), base)
    assert [(f.name, f.severity, f.remedy) for f in found] == ([(name, "warning", remedy)] if name else [])
    (nothing,) = base_models.check(ranking(*of, learned=False), base)
    assert nothing.name == "nothing_learned"


def recorded(monkeypatch: pytest.MonkeyPatch, found: Ranking) -> list[tuple[Recipe, list[str], Path]]:
    """Let rank find this; return what it is called with."""
    calls: list[tuple[Recipe, list[str], Path]] = []

    def of(recipe: Recipe, bases: list[str], folder: Path, console: Console) -> Ranking:
        calls.append((recipe, list(bases), folder))
        return found

    monkeypatch.setattr(rank, "rank", of)
    return calls


def test_new_writes_the_nearest_of_several_bases_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=4, dev=2, test=2)
    bases = [str(write_base(tmp_path / name, "layer")) for name in ("a", "b")]
    out, recipe = tmp_path / "art.py", Recipe(language="art", corpus=tone_recipe(corpus).corpus)
    calls = recorded(monkeypatch, ranking(ranked(bases[1], 0.4), ranked(bases[0], 0.6, 0.2)))
    base_choice.new_recipe(recipe, bases, out, tmp_path / "rank", console)
    assert [call[1:] for call in calls] == [(bases, tmp_path / "rank")]
    assert runpy.run_path(str(out))["RECIPE"].model.base == bases[1]
    said = " ".join(out.read_text().replace("#", " ").split())
    assert (
        f"{bases[1]} is nearest. CER of probes on 10 min: {bases[1]} 0.400, {bases[0]} 0.600 (asr-adapt rank)."
        in said
    )

    with pytest.raises(InputError, match="already exists, and is not written over"):
        base_choice.new_recipe(recipe, bases, out, tmp_path / "rank", console)
    recorded(monkeypatch, ranking(ranked(bases[1], 0.4, far=True)))
    base_choice.new_recipe(recipe, bases, tmp_path / "scratch.py", tmp_path / "rank", console)
    assert runpy.run_path(str(tmp_path / "scratch.py"))["RECIPE"].model.base == "none"
    recorded(monkeypatch, ranking(ranked(bases[1], 0.4), learned=False))
    with pytest.raises(InputError, match=r"no base model can be chosen\. Nothing is learned from"):
        base_choice.new_recipe(recipe, bases, tmp_path / "nothing.py", tmp_path / "rank", console)
    assert not (tmp_path / "nothing.py").exists()


def test_the_doctor_ranks_the_bases_that_it_is_given_beside_the_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus", train=60, dev=2, test=2)
    bases = [str(write_base(tmp_path / name, "layer")) for name in ("a", "b")]
    (tmp_path / "art.py").write_text(
        "from asr_adapt import Corpus, Model, Recipe\n"
        f"RECIPE = Recipe(language='art', corpus=Corpus(root='corpus'), model=Model(base={bases[0]!r}))\n"
    )

    def names(*arguments: str) -> dict[str, str]:
        command = ["asr-adapt", "doctor", "art.py", "--base", bases[1], "--no-estimate", "--json", "found.json"]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        with pytest.raises(SystemExit):
            main()
        return {f["name"]: f["detail"] for f in json.loads((tmp_path / "found.json").read_text())["findings"]}

    real = rank.rank
    calls = recorded(monkeypatch, ranking(ranked(bases[1], 0.4), ranked(bases[0], 0.6, 0.2)))
    assert (
        names()["nearer_base"]
        == f"{bases[0]}: probe CER 0.600 (0.580 to 0.620); {bases[1]}: probe CER 0.400 (0.380 to 0.420)"
    )
    assert [call[1:] for call in calls] == [(bases, Path("runs/art-rank"))]
    monkeypatch.setattr(rank, "rank", real)
    assert "clips that can be used; a ranking needs 20" in names()["not_ranked"]
