"""The house's layers: imports point down, and the stages never import one another."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the ground up. Inside a layer modules may import one another, except where the layer is in APART.
LAYERS = [
    {"errors", "files", "ahead", "embedded", "utterance", "transcript", "recipe", "metrics"},
    {"audio", "text", "card", "ctc", "ngram", "score", "findings", "schedule", "presets", "spans", "cues"}
    | {"orthography"},
    {"adapters", "mms", "base", "precisions", "model", "engines", "graphs", "augment", "vad", "corpora"},
    {"transcriber", "checks", "checkpoint", "formats", "recordings", "report"}
    | {"prepared", "features", "inputs", "journal", "memory", "pieces"},
    {"pages"},
    {"prepare", "train", "lm", "export", "transcribe", "evaluate", "new", "doctor"},
    {"publish"},
    {"run", "adapted", "stages"},
    {"demo", "transfer", "serve"},
    {"cli"},
]
APART = {"prepare", "train", "lm", "export", "transcribe", "evaluate", "new", "doctor"}
MODULES = sorted((ROOT / "asr_adapt").rglob("*.py"))


def room(path: Path) -> str:
    """The module's name in LAYERS: a package counts as one."""
    parts = path.relative_to(ROOT / "asr_adapt").with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, wherever in the file that stands."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative imports hide the layer"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("asr_adapt.")}
    return {name for name in rooms if not name.startswith("__")}


def layer(name: str) -> int:
    found = [number for number, names in enumerate(LAYERS) if name in names]
    assert len(found) == 1, f"the module {name} stands in {len(found)} layers"
    return found[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_below_only(path: Path) -> None:
    name = room(path)
    if name == "__init__":
        assert imported(path) == set(), "importing the package does no work"
        return
    for other in imported(path) - {name}:
        assert layer(other) <= layer(name), f"{name} must not import {other}"
        if name in APART:
            assert layer(other) < layer(name), f"the stage {name} must not import the stage {other}"


def test_every_module_has_its_layer_and_every_layer_its_modules() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} == set().union(*LAYERS)


def test_recipes_use_the_front_door_alone() -> None:
    scripts = sorted((ROOT / "recipes").glob("*.py"))
    assert scripts
    for script in scripts:
        assert imported(script) <= {"cli", "recipe"}, script


def test_scripts_that_make_data_use_the_front_door_the_decoder_the_records_and_their_siblings() -> None:
    scripts = sorted((ROOT / "recipes").glob("*/**/*.py"))
    assert scripts
    homes = {script.stem: script.parent for script in scripts}
    for script in scripts:
        assert imported(script) <= {"cli", "audio"} | LAYERS[0], script
        nodes = list(ast.walk(ast.parse(script.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert all(homes[name] == script.parent for name in names & homes.keys()), script


def test_the_walk_sees_every_way_to_import(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "import asr_adapt.run\nfrom asr_adapt import train as t\ndef f():\n    from asr_adapt.corpora import read\n"
    )
    assert imported(file) == {"run", "train", "corpora"}


def test_a_module_in_no_layer_is_refused() -> None:
    with pytest.raises(AssertionError, match="utils stands in 0 layers"):
        layer("utils")
