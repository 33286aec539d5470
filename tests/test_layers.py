"""The layers of the package: imports point down only, between folders and inside them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "asr_adapt"
# From the ground up. A folder or a top-level module may import what stands before it, and nothing after it.
LAYERS: list[tuple[str, ...]] = [
    ("errors", "background", "bundled", "telemetry", "keys"),
    ("storage", "languages", "console", "remote"),
    ("recipe", "records", "folders", "cluster", "processes"),
    ("artifacts", "recipe_options", "recipe_script", "process_exit"),
    ("audio",),
    ("text",),
    ("decoding",),
    ("corpora",),
    ("model",),
    ("scoring",),
    ("formats",),
    ("inference",),
    ("training",),
    ("report",),
    ("stages",),
    ("workflows",),
    ("api",),
    ("serve",),
    ("cli",),
    ("__main__",),
]
ORDER = {name: number for number, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """Return a file's module below the package: `audio.vad`, `audio` for its __init__, `` for the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {dotted(path) for path in MODULES}


def imported(path: Path) -> set[str]:
    """Return the package's modules that a file imports, wherever in the file the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative imports hide the layer"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        below = [name.removeprefix("asr_adapt.") for name in names if name.startswith("asr_adapt.")]
        # `from asr_adapt.audio import load` is the module `audio`, `from asr_adapt.audio import vad` is `audio.vad`.
        found |= {name if name in KNOWN else name.rpartition(".")[0] for name in below}
    return found - {""}


def folder(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_lower_layers_only(path: Path) -> None:
    name = dotted(path)
    if not name:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        assert [node.module for node in top] == ["typing"], "importing the package does no work"
        return
    for other in imported(path):
        if folder(other) != folder(name):
            assert ORDER[folder(other)] < ORDER[folder(name)], f"{name} must not import {other}"


def test_every_folder_has_its_layer_and_every_layer_its_folder() -> None:
    assert {folder(dotted(path)) for path in MODULES} - {""} == set(ORDER)


def test_stages_never_import_one_another() -> None:
    def stage(module: str) -> str:
        return ".".join(module.split(".")[:2])

    for path in MODULES:
        name = dotted(path)
        if folder(name) == "stages":
            others = {stage(other) for other in imported(path) if folder(other) == "stages"}
            assert others <= {stage(name), "stages"}, f"{name} imports {others}"


def test_inside_a_folder_imports_have_no_cycle() -> None:
    edges = {dotted(path): {o for o in imported(path) if folder(o) == folder(dotted(path))} for path in MODULES}

    def visit(module: str, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if module in above:
            yield (*above, module)
            return
        for other in edges.get(module, set()) - {module}:
            yield from visit(other, (*above, module))

    cycles = [cycle for module in edges for cycle in visit(module, ())]
    assert not cycles, cycles[0]


def test_scripts_that_make_data_use_the_front_door_the_decoder_text_the_records_and_their_siblings() -> None:
    scripts = sorted((ROOT / "recipes").glob("*/**/*.py"))
    assert scripts
    homes = {script.stem: script.parent for script in scripts}
    ground = {name for names in LAYERS[:4] for name in names}
    # The round of pre-training that has a loss of its own is put together from the parts of training.
    parts = {"corpora", "decoding", "model", "training", "stages", "workflows", "recipe_options"}
    for script in scripts:
        allowed = {"cli", "audio", "text"} | ground | (parts if script.stem == "fifth_round" else set())
        assert {folder(module) for module in imported(script)} <= allowed, script
        nodes = list(ast.walk(ast.parse(script.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert all(homes[name] == script.parent for name in names & homes.keys()), script


def test_every_folder_of_the_package_has_tests_and_every_test_file_says_what_it_is_about() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    for path in (ROOT / "tests").rglob("*.py"):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert first.startswith('"""') and len(first) > len('"""."""'), path


def test_the_walk_sees_every_way_to_import(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "import asr_adapt.recipe\nfrom asr_adapt import corpora as c\n"
        "def f():\n    from asr_adapt.audio import load, vad\n"
    )
    assert imported(file) == {"recipe", "corpora", "audio", "audio.vad"}


def test_contributing_shows_the_layers_as_they_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("<!-- layers -->")[2].partition("<!-- /layers -->")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, re.M)
    shown = [{name.removesuffix(".py").strip("/") for name in re.findall(r"`([^`]+)`", cell)} for cell in cells]
    assert shown == [{*names} for names in LAYERS[::-1]]
