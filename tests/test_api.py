"""The public API: what `from asr_adapt import …` offers, and that none of it ends the process."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import tone_recipe

import asr_adapt
from asr_adapt import Corpus, InputError, Model, Recipe, doctor, evaluate, run, run_recipe


@pytest.fixture(scope="module")
def finished(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("api") / "run"
    metrics = run(tone_recipe(tones, steps=2), out, quiet=True)
    assert metrics.utterances == 6 and (out / "model" / "config.json").is_file()
    return out


def test_every_public_name_is_there_and_the_import_is_lazy() -> None:
    assert all(getattr(asr_adapt, name) is not None for name in asr_adapt.__all__)
    assert {*asr_adapt.__all__} <= {*dir(asr_adapt)}
    code = "import asr_adapt, sys; print([n for n in ('torch', 'pydantic', 'numpy') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = asr_adapt.trian
    assert (Path(asr_adapt.__file__).parent / "py.typed").is_file()


def test_doctor_is_the_function_even_where_the_stage_is_imported() -> None:
    import asr_adapt.stages.doctor

    assert asr_adapt.stages.doctor is not asr_adapt.doctor and callable(asr_adapt.doctor)


def test_a_run_is_scored_on_another_split_and_its_corpus_examined(
    finished: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    metrics = evaluate(finished / "model", tones, split="dev", out=tmp_path / "dev", quiet=True)
    assert metrics.split == "dev" and (tmp_path / "dev" / "report.html").is_file()
    for corpus in (tones, str(tones), Corpus(root=tones, format="common_voice"), tone_recipe(tones)):
        found = doctor(corpus, language="art", quiet=True)
        assert [finding.name for finding in found.findings if finding.severity == "fatal"] == ["too_little"]
        assert set(found.hours) == {"train", "dev", "test"}
    assert not capsys.readouterr().err


def test_a_mistake_raises_and_does_not_exit(tmp_path: Path) -> None:
    recipe = Recipe(language="art", corpus=Corpus(root=tmp_path / "nowhere"), model=Model(base="none"))
    for call in (
        lambda: run(recipe, tmp_path / "run", quiet=True),
        lambda: doctor(tmp_path / "nowhere", quiet=True),
        lambda: evaluate(tmp_path / "nowhere", tmp_path, quiet=True),
    ):
        with pytest.raises(InputError, match="nowhere"):
            call()


def test_run_recipe_in_a_notebook_ignores_the_kernel_s_arguments_and_returns_metrics(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel-1.json"])
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))
    metrics = run_recipe(tone_recipe(tones, steps=2))
    assert metrics.utterances == 6 and Path("runs/art/metrics.json").is_file()
    with pytest.raises(InputError, match=r"no such corpus|nowhere"):
        run_recipe(Recipe(language="art", corpus=Corpus(root=tmp_path / "nowhere"), model=Model(base="none")))


def test_run_recipe_with_arguments_of_its_own_overrides_fields_and_raises(tones: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(tones, steps=50)
    metrics = run_recipe(recipe, ["--train.steps", "2", "--out", str(tmp_path / "a")])
    assert metrics.split == "test" and "steps = 2\n" in (tmp_path / "a" / "recipe.toml").read_text()
    with pytest.raises(InputError, match="stepz"):
        run_recipe(recipe, ["--train.stepz", "2"])
