"""transcribe: recordings and transcripts elsewhere, by fsspec; what fails; the record of a batch that was killed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import soundfile
from conftest import RATE_HZ, say

from asr_adapt.artifacts import TranscriptionRecord
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.recordings import find
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.recipe import Model, Text
from asr_adapt.stages.transcribe import transcribe
from asr_adapt.text.alphabet import Alphabet

pytestmark = pytest.mark.usefixtures("tones_are_speech")
BUCKET = "memory://bucket"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    head.create(Model(base="none", hidden_size=64, layers=1), Alphabet.from_texts(["ab cde"]), "art", Text(), 0).save(
        folder
    )
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Iterator[Path]:
    """Recordings here, and the same ones in a bucket."""
    bucket = fsspec.filesystem("memory")
    for name in ("x/one.wav", "x/two.wav", "y/one.wav", "y/.hidden.wav", "y/notes.txt"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        soundfile.write(path, say("ab cde"), RATE_HZ, format="WAV")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        bucket.pipe_file(f"/bucket/clips/{name}", path.read_bytes())
    yield tmp_path / "clips"
    bucket.store.clear()


def run(model: Path, *inputs: Path | str, out: Path | str, format: str = "txt") -> int:
    def load() -> Transcriber:
        return Transcriber.from_folder(model, precision="fp32")

    return transcribe(load, model, find([str(given) for given in inputs]), format, out, Console())


def there(folder: str = "/bucket/out") -> dict[str, str]:
    """The visible files of a folder of the bucket, and their texts."""
    bucket = fsspec.filesystem("memory")
    names = [name.removeprefix(f"{folder}/") for name in bucket.find(folder)]
    return {name: bucket.cat_file(f"{folder}/{name}").decode() for name in names if not name.startswith(".")}


def here(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("[!.]*") if path.is_file() and ".asr-adapt" not in path.parts)
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def test_a_bucket_gives_what_a_folder_gives(model: Path, clips: Path, tmp_path: Path) -> None:
    assert run(model, clips, out=tmp_path / "out") == 0
    expected = here(tmp_path / "out")
    assert set(expected) == {"x/one.txt", "y/one.txt", "two.txt"} and all(text.strip() for text in expected.values())
    assert run(model, f"{BUCKET}/clips", out=f"{BUCKET}/out") == 0
    assert there() == expected
    assert run(model, f"{BUCKET}/clips/**/*.wav", out=tmp_path / "mixed") == 0
    assert here(tmp_path / "mixed") == expected


def test_what_is_in_the_bucket_is_not_done_again(model: Path, clips: Path, capsys: pytest.CaptureFixture) -> None:
    run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out")
    fsspec.filesystem("memory").rm_file("/bucket/out/two.txt")
    assert run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 2 are there already" in said and "1 of 1 files" in said and set(there()) == {"one.txt", "two.txt"}


def test_a_recording_of_the_bucket_that_changed_is_done_again_unless_its_transcript_was_edited(
    model: Path, clips: Path, capsys: pytest.CaptureFixture
) -> None:
    bucket = fsspec.filesystem("memory")
    run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out")
    first = there()
    bucket.pipe_file("/bucket/out/two.txt", b"by hand\n")
    for name in ("one", "two"):
        bucket.pipe_file(f"/bucket/clips/x/{name}.wav", (clips / "x" / f"{name}.wav").read_bytes())
    assert run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out") == 0
    assert there() == first | {"two.txt": "by hand\n"}
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 2 are done again" in said and "edited by hand since; they stay (two.txt)" in said


def test_transcripts_of_another_model_in_a_bucket_are_refused(model: Path, clips: Path, tmp_path: Path) -> None:
    run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out")
    other = tmp_path / "other"
    head.create(Model(base="none", hidden_size=64, layers=1), Alphabet.from_texts(["ab cde"]), "art", Text(), 1).save(
        other
    )
    with pytest.raises(InputError, match="memory://bucket/out: holds 2 transcripts of another model"):
        run(other, f"{BUCKET}/clips/x", out=f"{BUCKET}/out")
    with pytest.raises(InputError, match=r"one\.txt: there already, and the transcript of memory:/"):
        run(model, f"{BUCKET}/clips/y", out=f"{BUCKET}/out")


def test_what_fails_is_a_line_with_its_reason_until_it_is_done(model: Path, clips: Path) -> None:
    bucket = fsspec.filesystem("memory")
    bucket.pipe_file("/bucket/clips/x/bad.wav", b"")
    assert run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out") == 1
    (line,) = there()["failed.jsonl"].splitlines()
    assert json.loads(line) == {
        "input": "memory:///bucket/clips/x/bad.wav",
        "reason": "the file is empty (0 bytes). Copy or download it again.",
    }
    bucket.pipe_file("/bucket/clips/x/bad.wav", (clips / "x" / "one.wav").read_bytes())
    assert run(model, f"{BUCKET}/clips/x", out=f"{BUCKET}/out") == 0
    assert set(there()) == {"bad.txt", "one.txt", "two.txt"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://bucket/nowhere", "memory://bucket/nowhere: no such file or folder. Look at the URL."),
        ("nosuch://bucket", "nosuch://bucket: no filesystem for nosuch://. Look at the URL."),
        ("memory://bucket/clips/*.mp3", "memory://bucket/clips/*.mp3: no audio file in here. Name a file."),
        ("memory://bucket/m.jsonl", "memory://bucket/m.jsonl: manifests are read on this machine only. Download it."),
    ],
)
def test_a_url_that_gives_nothing_is_one_line(clips: Path, url: str, said: str) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/m.jsonl", b"")
    with pytest.raises(InputError) as caught:
        find([url])
    assert str(caught.value) == said


def test_a_batch_that_was_killed_between_its_record_and_its_end_is_known(
    model: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("asr_adapt.stages.transcribe._MOST_IN_ONE_FILE", 0)  # the parts stay, as after a kill
    out = tmp_path / "out"
    run(model, clips / "x", out=out)
    assert list((out / ".asr-adapt").glob("*.jsonl"))
    assert set(TranscriptionRecord.read(out).sources) == {"one.txt", "two.txt"}
    monkeypatch.undo()
    (out / "two.txt").unlink()
    assert run(model, clips / "x", out=out) == 0
    assert "1 of 2 are there already" in capsys.readouterr().err and not (out / ".asr-adapt").exists()
    assert set(TranscriptionRecord.read(out).digests) == {"one.txt", "two.txt"}
