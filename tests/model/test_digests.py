"""Digests: a model or prepared data that was damaged or edited is refused; `model seal` accepts an edit."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from old_runs import unpack

from asr_adapt import storage
from asr_adapt.artifacts import DIGESTS, Digests, ModelMetadata, NGramWeights, check_digests
from asr_adapt.cli import main
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.errors import InputError
from asr_adapt.inference import engines
from asr_adapt.model import ctc_model, forward, ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.records import Utterance
from asr_adapt.workflows.model_folder import seal_model


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was made before there were digests."""
    return unpack(tmp_path_factory.mktemp("old")) / "model_with_ngram"


@pytest.fixture
def sealed(old: Path, tmp_path: Path) -> Path:
    CTCModel.load(old).save(tmp_path / "model")
    ngram_file.write(tmp_path / "model", (old / "lm.arpa").read_text(), NGramWeights())
    return tmp_path / "model"


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flip(content: bytes) -> bytes:
    middle = len(content) - 100
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "model.safetensors": flip,
    "config.json": lambda content: content.replace(b'"hidden_act": "gelu"', b'"hidden_act": "relu"'),
    "processor_config.json": lambda content: content.replace(b'"do_normalize": true', b'"do_normalize": false'),
    "asr_adapt.json": lambda content: content.replace(b'"a"', b'"?"').replace(b'"b"', b'"a"').replace(b'"?"', b'"b"'),
    "vocab.json": lambda content: content.replace(b'"a": 2', b'"a": 3'),
    "lm.arpa": lambda content: content.replace(b"-", b"-1", 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_refused_and_the_error_names_seal(name: str, sealed: Path) -> None:
    assert ngram_file.read(sealed) is not None and CTCModel.load(sealed)
    before = (sealed / name).read_bytes()
    edit(sealed / name, CHANGES[name])
    assert (sealed / name).read_bytes() != before
    with pytest.raises(InputError, match=f"{name}: is damaged or was edited.*asr-adapt model seal {sealed}"):
        CTCModel.load(sealed)
    with pytest.raises(InputError, match="model seal") if name in {"lm.arpa", "asr_adapt.json"} else _nothing():
        ngram_file.read(sealed)


def _nothing():  # type: ignore[no-untyped-def]
    from contextlib import nullcontext

    return nullcontext()


def test_a_missing_file_is_refused(sealed: Path) -> None:
    (sealed / "vocab.json").unlink()
    with pytest.raises(InputError, match=r"vocab\.json: cannot be read"):
        CTCModel.load(sealed)


def test_seal_accepts_a_deliberate_edit(sealed: Path, capsys: pytest.CaptureFixture) -> None:
    edit(sealed / "processor_config.json", CHANGES["processor_config.json"])
    seal_model(sealed, Console())
    assert str(sealed / DIGESTS) in capsys.readouterr().out
    assert not CTCModel.load(sealed).normalise_waveform


def test_the_command_seals_an_edited_model(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    edit(sealed / "processor_config.json", CHANGES["processor_config.json"])
    monkeypatch.setattr("sys.argv", ["asr-adapt", "model", "seal", str(sealed)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert f"{sealed / DIGESTS}: digests of asr_adapt.json, config.json, lm.arpa" in capsys.readouterr().out
    assert not CTCModel.load(sealed).normalise_waveform


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_a_changed_file_of_an_engine_is_refused(name: str, sealed: Path) -> None:
    engine = sealed / "engines" / f"fp32-{engines.key(sealed)}"
    engine.mkdir(parents=True)
    for file in ("model.onnx", "model.onnx.data"):
        (engine / file).write_bytes(bytes(1000))
    Digests.of(engine, ["model.onnx", "model.onnx.data"]).write(engine)
    edit(engine / name, flip)
    with pytest.raises(InputError, match=rf"{name}: is damaged or was edited.*Delete its folder"):
        engines.load(CTCModel.load(sealed), sealed, "onnx")


def test_seal_refuses_what_does_not_load_and_keeps_the_digests(sealed: Path) -> None:
    before = (sealed / DIGESTS).read_bytes()
    edit(sealed / "config.json", lambda content: content[:100])
    with pytest.raises(InputError, match="not JSON"):
        seal_model(sealed, Console())
    assert (sealed / DIGESTS).read_bytes() == before


def test_seal_of_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an asr-adapt model"):
        seal_model(tmp_path, Console())


def test_a_model_without_digests_loads_and_an_n_gram_adds_none(old: Path, tmp_path: Path) -> None:
    model = shutil.copytree(old, tmp_path / "model")
    assert CTCModel.load(model)
    ngram_file.write(model, (old / "lm.arpa").read_text(), NGramWeights(alpha=0.7))
    assert ngram_file.read(model) == (model / "lm.arpa", NGramWeights(alpha=0.7))
    assert not (model / DIGESTS).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"files": {"model.safetensors": 3}}', b'{"a":' * 90_000])
def test_damaged_digests_are_one_line(content: bytes, sealed: Path) -> None:
    (sealed / DIGESTS).write_bytes(content)
    with pytest.raises(InputError, match=r"digests\.json"):
        ModelMetadata.read(sealed)


def test_digests_of_files_elsewhere_are_refused(sealed: Path) -> None:
    (sealed / DIGESTS).write_text(json.dumps({"files": {"../outside": "0" * 64}}))
    with pytest.raises(InputError, match="outside"):
        check_digests(sealed, "")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, old: Path, tmp_path: Path) -> None:
    model = CTCModel.load(old)
    with torch.no_grad():
        model.net.lm_head.weight[1, 1] = value
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match=r"lm_head\.weight holds NaN or infinity"):
        CTCModel.load(tmp_path / "model")


def test_a_model_that_computes_nan_is_an_error(old: Path) -> None:
    model = CTCModel.load(old)
    with torch.no_grad():
        model.net.lm_head.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="computes NaN"):
        forward.log_probs(model, [np.zeros(16_000, np.float32)])


def test_a_flipped_bit_in_prepared_data_is_refused(tmp_path: Path) -> None:
    rows = [(Utterance(id="1", audio="a.wav", text="a"), "a", np.ones(800, np.float32))]
    for split in ("train", "dev"):
        assert prepared.write(tmp_path, split, rows).utterances == 1
    edit(prepared.path_of(tmp_path, "dev"), flip)
    assert len(prepared.load(tmp_path, "train")) == 1
    with pytest.raises(InputError, match=r"dev\.arrow: is damaged or was edited.*start the run again"):
        prepared.load(tmp_path, "dev")
    (tmp_path / DIGESTS).unlink()  # prepared before there were any
    assert len(prepared.load(tmp_path, "dev")) == 1


def test_a_large_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "_REMEMBERED_BYTES", 4)
    path = tmp_path / "file"
    path.write_bytes(b"first")
    first = storage.file_digest(path)
    hashed: list[str] = []
    real = storage.hashlib.file_digest
    monkeypatch.setattr(storage.hashlib, "file_digest", lambda *args: hashed.append("again") or real(*args))
    assert storage.file_digest(path) == first and not hashed
    times = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as an editor that hides what it did
    assert storage.file_digest(path) != first and hashed


def test_what_the_cache_holds_is_not_trusted_blindly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "_REMEMBERED_BYTES", 4)
    path = tmp_path / "file"
    path.write_bytes(b"first")
    first = storage.file_digest(path)
    (remembered,) = (tmp_path / "cache" / "digests").iterdir()
    remembered.write_text("damaged")
    assert storage.file_digest(path) == first


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_ADAPT_CACHE", "/dev/null/cache")
    monkeypatch.setattr(storage, "_REMEMBERED_BYTES", 4)
    (tmp_path / "file").write_bytes(b"first")
    assert storage.file_digest(tmp_path / "file") == storage.file_digest(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_seal_that_cannot_be_written_is_one_line(
    number: int, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Digests, "write", refuse)
    with pytest.raises(InputError, match=r"digests\.json: cannot be written"):
        seal_model(sealed, Console())
    assert ctc_model.CTCModel.load(sealed)
