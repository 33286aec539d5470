"""Damaged small files of models and runs: whatever is wrong with them is one line, exit code 2, never a traceback."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fuzz_model_metadata import TARGET
from old_runs import unpack
from runner import check

from asr_adapt import cli
from asr_adapt.artifacts import Metrics, ModelMetadata, PreparationSummary
from asr_adapt.errors import InputError
from asr_adapt.inference import engines
from asr_adapt.model import base, checkpoint_files, ctc_model
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, read_recipe
from asr_adapt.report import run_facts
from asr_adapt.storage import MAX_JSON_BYTES
from asr_adapt.training import checkpoint
from asr_adapt.workflows.run_state import RunState

DEEP = 90_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and models as they are before anything is damaged."""
    return unpack(tmp_path_factory.mktemp("original"))


@pytest.fixture
def run_folder(original: Path, tmp_path: Path) -> Path:
    """A finished run, and the recipe script beside it that resumes it."""
    out = tmp_path / "run"
    shutil.copytree(original / "finished", out)
    shutil.copytree(original / "base", out / "base")
    shutil.copytree(original / "stopped" / "checkpoints" / "best", out / "checkpoint")
    kept = (out / "recipe.toml").read_text().replace(str(original / "base"), str(out / "base"))
    (out / "recipe.toml").write_text(kept)
    (out / "again.toml").write_text(kept)
    (out / "again.py").write_text(
        "from pathlib import Path\nfrom asr_adapt.recipe import read_recipe\n"
        "RECIPE = read_recipe(Path(__file__).with_suffix('.toml'))\n"
    )
    measured = original / "model_with_ngram" / "engines" / "measured.json"
    (out / "model" / "engines").mkdir()
    shutil.copy(measured, out / "model" / "engines" / "measured.json")
    return out


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what can become of a JSON file, by name."""
    yield "empty", b""
    yield "cut", content[: len(content) // 2]
    yield "list", b"[]"
    yield "null", b"null"
    yield "text", b'"text"'
    yield "deep lists", b"[" * DEEP
    yield "deep objects", b'{"a":' * DEEP
    yield "not UTF-8", content.replace(b":", b":\xff", 1)
    yield "NUL", content[:20] + b"\0" + content[20:]
    fields = json.loads(content)
    for name, value in fields.items():
        if "tdnn" in name or "codevector" in name or "mask_" in name:  # unused
            continue
        yield f"{name}: missing", json.dumps({k: v for k, v in fields.items() if k != name}).encode()
        for wrong in _wrong(value):
            yield f"{name}: {wrong[:20]!r}", content_with(fields, name, wrong)


def _wrong(value: Any) -> Sequence[str]:
    """Return JSON of another type than a value's, or out of all bounds."""
    if isinstance(value, bool | str):
        return ('{"a": 1}', "[[]]", "null")
    if isinstance(value, int | float):
        return ('"text"', "1e999", "NaN", "-1", "9" * 5000, "1e30", "[]")
    if isinstance(value, list):
        return ('"text"', "[null]", "[[[]]]", "[1e999]", "{}", "[]")
    return ("[]", '"text"', '{"a": []}', '{"a": {"b": "c"}}', "3")


def content_with(fields: dict[str, Any], name: str, value: str) -> bytes:
    """Return JSON of fields of which one has a value that is given as JSON, or as what is no JSON."""
    marker = "@" * 30
    return json.dumps(fields | {name: marker}).replace(f'"{marker}"', value).encode()


READERS: dict[str, Callable[[Path], object]] = {
    "model/asr_adapt.json": lambda run: ModelMetadata.read(run / "model"),
    "model/config.json": lambda run: CTCModel.load(run / "model"),
    "model/processor_config.json": lambda run: ctc_model.processor_config(run / "model"),
    "model/engines/measured.json": lambda run: engines.measured(run / "model"),
    "stages.json": RunState,
    "metrics.json": Metrics.read,
    "data/doctor.json": lambda run: PreparationSummary.read(run / "data"),
    "environment.json": lambda run: run_facts.training_facts(
        run_facts.recipe_of(run), PreparationSummary.read(run / "data"), run
    ),
    "base/config.json": lambda run: base.configuration(Model(base=str(run / "base"))),
    "base/preprocessor_config.json": lambda run: base.normalises(
        str(run / "base"), None, base.configuration(Model(base=str(run / "base")))
    ),
    "checkpoint/meta.json": lambda run: checkpoint.load(run / "checkpoint"),
}
WRECKED = {"empty", "cut", "list", "null", "text", "deep lists", "deep objects", "not UTF-8", "NUL"}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_an_input_error_on_one_line(name: str, run_folder: Path) -> None:
    path = run_folder / name
    content = path.read_bytes()
    READERS[name](run_folder)
    wrong = []
    for damage, damaged in damages(content):
        path.write_bytes(damaged)
        try:
            READERS[name](run_folder)
            if damage in WRECKED:
                wrong.append(f"{damage}: not noticed")
        except InputError as error:
            line = str(error)
            if str(path.parent) not in line or len(line) > 1500 or "\n" in line:
                wrong.append(f"{damage}: {line[:300]}")
        except Exception as error:
            wrong.append(f"{damage}: {error!r:.300}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("model/asr_adapt.json", "transcribe CLIP --model RUN/model"),
        ("model/config.json", "export RUN/model --engine torch"),
        ("model/processor_config.json", "evaluate --model RUN/model --corpus CORPUS --out RUN/e"),
        ("model/engines/measured.json", "transcribe CLIP --model RUN/model"),
        ("stages.json", "run RECIPE --out RUN"),
        ("metrics.json", "report RUN --no-audio"),
        ("data/doctor.json", "report RUN --no-audio"),
        ("environment.json", "report RUN --no-audio"),
        ("recipe.toml", "report RUN --no-audio"),
        ("base/config.json", "run RECIPE --out RUN"),
    ],
)
def test_a_command_that_meets_one_ends_with_one_line_and_exit_code_2(
    name: str,
    arguments: str,
    run_folder: Path,
    original: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {
        "RUN": run_folder,
        "CLIP": original / "corpus" / "clips" / "test0.flac",
        "CORPUS": original / "corpus",
        "RECIPE": run_folder / "again.py",
    }
    for old, new in places.items():
        arguments = arguments.replace(old, str(new))
    (run_folder / name).write_bytes(b'{"a":' * DEEP)
    monkeypatch.setattr("sys.argv", ["asr-adapt", *arguments.split()])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower() or "Trace" in line]
    assert ended.value.code == 2 and len(lines) == 1 and Path(name).name in lines[0]


@pytest.mark.parametrize(
    "content", [b"\xff" * 50, b"language = ", b"a = " + b"[" * DEEP, b"language = 3", b"", b"\0"]
)
def test_a_damaged_recipe_toml_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"recipe\.toml"):
        read_recipe(path)


def test_what_is_no_regular_file_or_too_large_is_not_read(run_folder: Path) -> None:
    path = run_folder / "model" / "asr_adapt.json"
    path.write_bytes(path.read_bytes() + b" " * MAX_JSON_BYTES)
    with pytest.raises(InputError, match="larger than"):
        ModelMetadata.read(run_folder / "model")
    stages = run_folder / "stages.json"
    stages.unlink()
    os.mkfifo(stages)
    with pytest.raises(InputError, match="not a regular file"):
        RunState(run_folder)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"num_hidden_layers": 100_000}, "num_hidden_layers"),
        ({"num_hidden_layers": 900}, "parameters"),
        ({"hidden_size": 48 * 1024}, "parameters"),
        ({"conv_stride": [0] * 7}, "conv_stride"),
        ({"conv_stride": [5]}, "same length"),
        ({"conv_dim": []}, "conv_dim"),
        ({"num_attention_heads": 7}, "multiple"),
        ({"vocab_size": 10**9}, "vocab_size"),
        ({"layer_norm_eps": float("nan")}, "config.json"),
        ({"hidden_act": "no such"}, "no such"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights"),
        ({"num_hidden_layers": 3}, "missing"),
    ],
)
def test_a_configuration_is_checked_before_anything_is_built(fields: dict, problem: str, run_folder: Path) -> None:
    path = run_folder / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(InputError, match=problem):
        CTCModel.load(run_folder / "model")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"language": 3}, "language"),
        ({"alphabet": ["<pad>", "|"] + [chr(0x4E00 + i) for i in range(20_000)]}, "alphabet"),
        ({"alphabet": ["<pad>", "|", "a" * 1000]}, "alphabet"),
        ({"alphabet": list("abcdefgh")}, "begins with"),
        ({"alphabet": ["<pad>", "|", "a", "a", "c", "d", "e", "f"]}, "twice"),
        ({"normaliser": {"replace": {f"x{i}": "y" for i in range(5_000)}}}, "replacements"),
        ({"normaliser": {"replace": {"a" * i: "b" for i in range(1, 500)}}}, "characters of rules"),
        ({"decoding": {"method": "beam search", "weights": {"alpha": "text"}}}, "alpha"),
        ({"decoding": {"method": "beam search"}}, "weights"),
    ],
)
def test_metadata_is_bounded(fields: dict, problem: str, run_folder: Path) -> None:
    path = run_folder / "model" / "asr_adapt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(InputError, match=problem):
        CTCModel.load(run_folder / "model")


def test_a_checkpoint_whose_metadata_lacks_something_is_passed_over(run_folder: Path) -> None:
    folder = run_folder / "checkpoints"
    shutil.copytree(run_folder / "checkpoint", folder / "step-00000040")
    found, problems = checkpoint.newest(folder, {"best": {}})
    assert found is None and "'best' is None" in str(problems[0])
    found, problems = checkpoint.newest(folder, {"wer": 1.0})
    assert found is not None and not problems


@pytest.mark.parametrize("name", ["/etc/x.safetensors", "../x.safetensors", "a/../../x.safetensors", "", "a\0b"])
def test_an_index_that_points_outside_the_folder_is_refused(name: str, run_folder: Path) -> None:
    index = run_folder / "model" / checkpoint_files.INDEX
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": name}}))
    with pytest.raises(InputError, match="outside the model folder"):
        CTCModel.load(run_folder / "model")


@pytest.mark.parametrize("name", ["model.safetensors", "asr_adapt.json", "config.json", "lm.arpa"])
def test_a_link_to_outside_the_model_folder_is_refused(name: str, run_folder: Path) -> None:
    path = run_folder / "model" / name
    if path.exists():
        path.rename(run_folder / "elsewhere")
    path.symlink_to(run_folder / "elsewhere")
    with pytest.raises(InputError, match="link to outside"):
        CTCModel.load(run_folder / "model")


def test_links_within_the_hub_cache_are_followed(run_folder: Path) -> None:
    snapshot = run_folder / "hub" / "snapshots" / "abc"
    shutil.copytree(run_folder / "model", snapshot)
    (run_folder / "hub" / "blobs").mkdir()
    (snapshot / "model.safetensors").rename(run_folder / "hub" / "blobs" / "123")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    assert CTCModel.load(snapshot).alphabet.units[2:] == ("a", "b", "c", "d", "e", "ŋ")


def test_an_adapter_beside_the_weights_is_refused(run_folder: Path) -> None:
    (run_folder / "model" / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    with pytest.raises(InputError, match="adapter lies beside"):
        CTCModel.load(run_folder / "model")


def test_small_files_with_any_damage_are_read_or_refused_in_one_line() -> None:
    assert check(TARGET, examples=150).has_both
