"""transcribe: recordings and transcripts on a local S3 server."""

from pathlib import Path

import pytest
import soundfile
from conftest import RATE_HZ, say

from asr_adapt import remote
from asr_adapt.console import Console
from asr_adapt.inference.recordings import find
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.recipe import Model, Text
from asr_adapt.stages.transcribe import transcribe
from asr_adapt.text.alphabet import Alphabet

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tones_are_speech")]


def test_s3_gives_what_a_folder_gives_and_is_not_done_twice(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, clips = tmp_path / "model", tmp_path / "clips"
    head.create(Model(base="none", hidden_size=64, layers=1), Alphabet.from_texts(["ab cde"]), "art", Text(), 0).save(
        model
    )
    fs, path = remote.filesystem(f"{bucket}/clips")
    for name in ("x/one", "y/one", "y/two"):
        (clips / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(clips / f"{name}.wav", say("ab cde"), RATE_HZ)
        fs.pipe_file(f"{path}/{name}.wav", (clips / f"{name}.wav").read_bytes())

    def run(given: str, out: str) -> int:
        return transcribe(
            lambda: Transcriber.from_folder(model, precision="fp32"), model, find([given]), "txt", out, Console()
        )

    assert run(str(clips), str(tmp_path / "out")) == 0
    assert run(f"{bucket}/clips", f"{bucket}/out") == 0
    for name in ("x/one.txt", "y/one.txt", "two.txt"):
        assert fs.cat_file(f"speech/out/{name}") == (tmp_path / "out" / name).read_bytes()
    capsys.readouterr()
    assert run(f"{bucket}/clips", f"{bucket}/out") == 0
    assert "3 of 3 are there already" in capsys.readouterr().err


def test_a_listing_goes_on_after_its_first_page(bucket: str) -> None:
    fs, _ = remote.filesystem(bucket)
    names = [f"speech/many/{number:04d}.wav" for number in range(1_050)]
    fs.pipe(dict.fromkeys(names, b""))
    assert [file.relative for file in remote.files(f"{bucket}/many")] == [name[12:] for name in names]
