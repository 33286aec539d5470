"""Inputs of transcribe: files, folders, patterns, manifests, and the names of their outputs."""

import io
import os
from pathlib import Path

import pytest

from asr_adapt.errors import InputError
from asr_adapt.formats.writers import Media
from asr_adapt.inference.recordings import Input, find
from asr_adapt.records import Utterance, write_jsonl


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with recordings in it and things that are none."""
    names = (
        "a.wav",
        "b c.M4A",
        "notes.txt",
        "sub/ŋ.opus",
        "sub/deep/ກາງ.webm",
        "._a.wav",
        ".hidden/x.wav",
        "__MACOSX/sub/x.wav",
        "[1].wav",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str) -> list[str]:
    return [item.name for item in find(inputs)]


def test_a_folder_gives_its_audio_files_and_no_hidden_ones(folder: Path) -> None:
    assert sorted(names(".")) == sorted(["[1].wav", "a.wav", "b c.M4A", "sub/deep/ກາງ.webm", "sub/ŋ.opus"])


def test_a_file_is_taken_whatever_its_suffix(folder: Path) -> None:
    assert names("notes.txt", "./a.wav") == ["notes.txt", "a.wav"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["[1].wav", "a.wav"]),
        ("b*", ["b c.M4A"]),
        ("sub/**/*.webm", ["sub/deep/ກາງ.webm"]),
        ("su[b]", ["sub/deep/ກາງ.webm", "sub/ŋ.opus"]),
        ("[1].wav", ["[1].wav"]),  # a file of that name is no pattern
        ("?.wav", ["a.wav"]),
    ],
)
def test_a_pattern_that_the_shell_left_alone_is_expanded(folder: Path, pattern: str, expected: list[str]) -> None:
    assert sorted(names(pattern)) == sorted(expected)
    assert sorted(names(f"{folder}/{pattern}")) == sorted(f"{folder}/{name}" for name in expected)


def test_a_file_that_is_named_twice_is_done_once(folder: Path) -> None:
    assert names("a.wav", f"{folder}/a.wav", "*.wav", "-", "-").count("a.wav") == 1
    assert len(names("-", "-")) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere.wav", "nowhere.wav: no such file or folder. Look at the path."),
        ("*.mp3", "*.mp3: no file matches. Look at the path."),
        (".hidden/..", None),
        ("sub/empty", "sub/empty: no audio file in here. Name a file."),
        ("caf\udce9.wav", "caf\\udce9.wav: no such file or folder. Look at the path."),
    ],
)
def test_what_is_not_there_is_said(folder: Path, given: str, said: str | None) -> None:
    (folder / "sub" / "empty").mkdir()
    if said is None:
        assert find([given])
        return
    with pytest.raises(InputError) as caught:
        find(["a.wav", given] if "empty" not in given else [given])
    assert str(caught.value) == said


def test_a_file_whose_name_is_no_utf_8_can_be_named(folder: Path) -> None:
    try:
        Path("caf\udce9.wav").write_bytes(b"-")
    except OSError:
        pytest.skip("the file system wants UTF-8")
    (item,) = find(["caf*"])
    assert item.name == "caf\\udce9.wav" and item.recording == Path("caf\udce9.wav")


def test_a_manifest_gives_its_utterances_by_their_ids_and_needs_no_text(folder: Path) -> None:
    pieces = [
        Utterance(id="u 1", audio="a.wav", start_s=0.5, end_s=2.0),
        Utterance(id="ŋ/../2", audio="a.wav", start_s=2.0),
        Utterance(id=".3", audio=str(folder / "sub" / "ŋ.opus"), text="known"),
        Utterance(id="gone", audio="gone.wav"),
    ]
    write_jsonl(folder / "sub" / "m.jsonl", [u.model_copy(update={"audio": u.audio}) for u in pieces])
    (folder / "sub" / "a.wav").write_bytes(b"-")
    found = find(["sub/m.jsonl"])
    assert [item.stem for item in found] == ["u 1", "ŋ_.._2", "_3", "gone"]
    assert [item.name for item in found][:2] == ["u 1 (sub/a.wav)", "ŋ/../2 (sub/a.wav)"]
    assert [item.media for item in found] == [
        Media(Path("sub/a.wav"), 0.5), Media(Path("sub/a.wav"), 2.0), Media(folder / "sub" / "ŋ.opus"), None,
    ]  # fmt: skip
    assert all(item.folder == folder / "sub" for item in found)
    assert len({item.source(folder) for item in found}) == 4


def test_a_mistake_in_a_manifest_is_said_before_work(folder: Path) -> None:
    (folder / "m.jsonl").write_text('{"id": "a", "audio": "../../secret.wav"}\n')
    with pytest.raises(InputError, match="is not a file inside"):
        find(["a.wav", "m.jsonl"])


def test_a_terminal_is_no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(InputError, match="standard input is a terminal"):
        find(["-"])


def test_standard_input_can_be_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"sound")
    os.close(writing)
    with os.fdopen(reading, "r") as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        (item,) = find(["-"])
        file = item.opened()
    assert not isinstance(file, Path | Utterance)
    file.seek(0)
    assert file.read() == b"sound" and (item.stem, item.media) == ("stdin", None)


def test_a_recording_is_newer_than_its_transcript_when_it_changed_since(folder: Path) -> None:
    item = Input(folder / "a.wav", "a.wav", "a", folder)
    transcript = folder / "a.txt"
    transcript.write_text("a")
    for difference_s, newer in ((-10, False), (10, True)):
        now = transcript.stat().st_mtime
        os.utime(folder / "a.wav", (now + difference_s, now + difference_s))
        assert item.is_newer_than(transcript.stat().st_mtime_ns) is newer
