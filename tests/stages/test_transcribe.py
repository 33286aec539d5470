"""transcribe: transcripts in a folder, done again, of another model, edited by hand, on a full disk, of any name."""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, say

from asr_adapt import audio, corpora
from asr_adapt.console import Console
from asr_adapt.corpora.provenance import Drafts
from asr_adapt.errors import AudioError, DiskFull, InputError
from asr_adapt.inference.recordings import find
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.recipe import Model, Source, Text
from asr_adapt.records import Utterance, write_jsonl
from asr_adapt.stages.transcribe import transcribe
from asr_adapt.storage import write_text
from asr_adapt.text.alphabet import Alphabet

pytestmark = pytest.mark.usefixtures("tones_are_speech")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that write something, not the same."""
    folders = []
    for seed in (0, 1):
        spec = Model(base="none", hidden_size=64, layers=1)
        made = head.create(spec, Alphabet.from_texts(["ab cde"]), "art", Text(), seed)
        folders.append(tmp_path_factory.mktemp("models") / str(seed))
        made.save(folders[-1])
    return folders


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("x/one", "x/two", "y/one"):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, say("ab cde"), RATE_HZ)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return tmp_path


class Stage:
    """The stage on one model, and how often that was loaded."""

    def __init__(self, model: Path) -> None:
        self.model, self.loads = model, 0

    def __call__(self, *inputs: Path | str, out: Path, format: str = "txt", **options: Any) -> int:
        def load() -> Transcriber:
            self.loads += 1
            return Transcriber.from_folder(self.model)

        return transcribe(load, self.model, find([str(i) for i in inputs]), format, out, Console(), **options)


@pytest.fixture
def stage(untrained: list[Path]) -> Stage:
    return Stage(untrained[0])


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("[!.]*") if p.is_file()}


def test_nothing_is_done_twice_and_the_model_not_loaded_for_it(
    stage: Stage, clips: Path, capsys: pytest.CaptureFixture
) -> None:
    out = clips / "out"
    assert stage(clips / "x", out=out) == 0
    before = times(out)
    assert set(before) == {"one.txt", "two.txt"}
    assert stage(clips / "x", out=out) == 0
    assert times(out) == before and stage.loads == 1
    assert "2 of 2 are there already" in capsys.readouterr().err


def test_a_recording_newer_than_its_transcript_is_done_again(
    stage: Stage, clips: Path, capsys: pytest.CaptureFixture
) -> None:
    out = clips / "out"
    stage(clips / "x", out=out)
    before = times(out)
    later = before["one.txt"] / 1e9 + 5
    os.utime(clips / "x" / "one.wav", (later, later))
    assert stage(clips / "x", out=out) == 0
    changed = {name for name, mtime in times(out).items() if mtime != before[name]}
    assert changed == {"one.txt"}
    assert "1 of 2 are done again: the recording is newer than the transcript" in capsys.readouterr().err


def test_a_transcript_edited_by_hand_stays_when_its_recording_becomes_newer(
    stage: Stage, clips: Path, capsys: pytest.CaptureFixture
) -> None:
    out = clips / "out"
    stage(clips / "x", out=out)
    (out / "one.txt").write_text("corrected by hand\n")
    later = time.time() + 5
    for name in ("one", "two"):
        os.utime(clips / "x" / f"{name}.wav", (later, later))
    before = times(out)
    assert stage(clips / "x", out=out) == 0
    assert (out / "one.txt").read_text() == "corrected by hand\n"
    assert {name for name, changed in times(out).items() if changed != before[name]} == {"two.txt"}
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 2 are older than their recordings, but edited by hand since; they stay (one.txt)." in said
    (out / "one.txt").unlink()
    assert stage(clips / "x", out=out) == 0 and (out / "one.txt").read_text() != "corrected by hand\n"


def test_what_was_edited_by_hand_is_counted_and_never_to_be_deleted(
    stage: Stage, untrained: list[Path], clips: Path
) -> None:
    out = clips / "out"
    stage(clips / "x", out=out)
    with pytest.raises(InputError, match=r"2 transcripts of another model.*or delete them: none was edited\."):
        Stage(untrained[1])(clips / "x", out=out)
    (out / "one.txt").write_text("corrected by hand\n")
    with pytest.raises(InputError, match=r"1 of these were edited by hand since \(one\.txt\)\. .*they stay") as said:
        Stage(untrained[1])(clips / "x", out=out)
    assert "delete" not in str(said.value)


def test_transcripts_in_a_corpus_folder_are_known_as_drafts(stage: Stage, clips: Path) -> None:
    stage(clips / "x", out=clips / "x")
    found = corpora.read_all([Source(root=clips / "x", trust_drafts=True)], "art", allow_unsplit=True).utterances
    assert [u.provenance for u in found] == ["machine", "machine"]
    (clips / "x" / "one.txt").write_text("ab cde\n")
    reading = corpora.read_all([Source(root=clips / "x")], "art", allow_unsplit=True)
    assert [(u.text, u.provenance) for u in reading.utterances] == [("ab cde", "corrected")]
    assert [(part.kind, part.utterances) for part in reading.left_out] == [("machine draft", 1)]


@pytest.mark.parametrize("format", ["txt", "srt", "textgrid"])
def test_a_transcript_is_known_as_a_draft_from_the_moment_it_is_there(
    stage: Stage, clips: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    seen: list[tuple[str, bool]] = []

    def write(path: Path, text: str) -> None:
        if path.suffix == ".jsonl":  # of the record
            write_text(path, text)
            return
        for moment in ("before", "after"):
            found = Drafts().of(path) if path.exists() else None
            marks = {mark for of in found.draft.tiers.values() for mark in of.segments} if found else set()
            seen.append((moment, bool(marks)))
            if moment == "before":
                write_text(path, text)

    monkeypatch.setattr("asr_adapt.folders.write_text", write)
    stage(clips / "x", out=clips / "x", format=format)
    assert seen == [("before", False), ("after", True)] * 2
    seen.clear()
    future = time.time() + 100
    os.utime(clips / "x" / "one.wav", (future, future))
    stage(clips / "x", out=clips / "x", format=format)
    assert seen == [("before", True), ("after", True)], "one that is made again is known all the time"


@pytest.mark.parametrize("name", [b"\xff\xfe.wav", b"a\x1b[31mred\x07.wav", "ŋ\u202e.wav".encode()])
def test_no_file_name_ends_a_batch_or_reaches_the_terminal_raw(
    stage: Stage, clips: Path, name: bytes, capsys: pytest.CaptureFixture
) -> None:
    (clips / "x" / "one.wav").rename(clips / "x" / os.fsdecode(name))
    (clips / "x" / os.fsdecode(b"bad" + name)).write_bytes(b"")
    for format in ("txt", "eaf", "textgrid", "srt"):
        assert stage(clips / "x", out=clips / "out", format=format) == 1
        written = list((clips / "out").rglob(f"[!.]*.{format}"))
        assert len(written) == 2
        for path in written:
            content = path.read_text(encoding="utf-8")
            assert "\x1b" not in content and "\x07" not in content
            if format == "eaf":
                ElementTree.fromstring(content.encode())
    assert stage(clips / "x" / "two.wav", out=clips / "out") == 0, "the record can be read again"
    assert stage(clips / "x", out=clips / "out") == 1 and stage.loads == 5, "only the bad file is tried again"
    said = capsys.readouterr()
    assert not set("\x1b\x07\u202e") & set(said.out + said.err)
    assert "bad" in said.err


def test_a_full_disk_ends_the_batch_in_one_line_and_leaves_no_part(
    stage: Stage, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def write(path: Path, text: str) -> None:
        if path.name == "two.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_text(path, text)

    monkeypatch.setattr("asr_adapt.folders.write_text", write)
    with pytest.raises(DiskFull, match=r"two\.txt: cannot be written"):
        stage(clips / "x", out=clips / "out")
    assert {path.name for path in (clips / "out").iterdir()} == {"one.txt", ".asr-adapt.json", ".asr-adapt.lock"}
    assert "1 of 2 files are transcribed; the same command does the others" in capsys.readouterr().err
    monkeypatch.undo()
    assert stage(clips / "x", out=clips / "out") == 0 and set(times(clips / "out")) == {"one.txt", "two.txt"}


def test_an_interrupted_batch_says_what_is_done(stage: Stage, clips: Path, capsys: pytest.CaptureFixture) -> None:
    whole = Transcriber.from_folder(stage.model)

    class Interrupted:
        decoding = whole.decoding

        def transcribe_all(self, recordings: Iterable) -> Iterator:
            yield next(whole.transcribe_all(recordings))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe(lambda: Interrupted(), stage.model, find([str(clips / "x")]), "txt", clips / "out", Console())  # type: ignore[arg-type,return-value]
    assert set(times(clips / "out")) == {"one.txt"}
    assert "1 of 2 files are transcribed; the same command does the others" in capsys.readouterr().err


def test_each_channel_is_a_speaker(stage: Stage, clips: Path, capsys: pytest.CaptureFixture) -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    left, right = np.concatenate([say("ab"), silence, silence]), np.concatenate([silence, say("cde"), silence])
    length = min(len(left), len(right))
    soundfile.write(clips / "two.wav", np.stack([left[:length], right[:length]], axis=1), RATE_HZ)
    out = clips / "out"
    for format in ("json", "srt", "vtt", "textgrid", "eaf", "tsv"):
        assert stage(clips / "two.wav", out=out, format=format, channel="each") == 0
    segments = json.loads((out / "two.json").read_text())["segments"]
    assert [segment["speaker"] for segment in segments] == ["channel 1", "channel 2"]
    assert segments[0]["end"] <= 1 <= segments[1]["start"] + 0.1
    assert "\nchannel 1: " in (out / "two.srt").read_text() and "\n<v channel 2>" in (out / "two.vtt").read_text()
    tiers = ["segments channel 1", "words channel 1", "segments channel 2", "words channel 2"]
    assert re.findall('name = "(.*)"', (out / "two.textgrid").read_text()) == tiers
    document = ElementTree.parse(out / "two.eaf")
    assert [tier.get("TIER_ID") for tier in document.iter("TIER")] == tiers
    assert [tier.get("PARTICIPANT") for tier in document.iter("TIER")] == ["channel 1"] * 2 + ["channel 2"] * 2
    assert len((out / "two.tsv").read_text().splitlines()) == 3
    assert stage(clips / "two.wav", clips / "x" / "one.wav", out=clips / "right", channel="right") == 1
    assert "x/one.wav: has no channel 'right': it has 1" in " ".join(capsys.readouterr().err.split())
    assert stage(clips / "x" / "one.wav", out=clips / "third", track=3) == 1


def test_a_recording_whose_channels_cannot_be_told_is_an_error_and_not_mixed(
    stage: Stage, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    chosen = audio.chosen_channels

    def once(recording: object, *arguments: object, **options: object) -> tuple[int, ...]:
        if str(recording).endswith("one.wav"):  # which can be read all the same
            raise AudioError("cannot be opened (Input/output error)", place=recording)
        return chosen(recording, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(audio, "chosen_channels", once)
    soundfile.write(clips / "two.wav", np.stack([say("ab"), say("ab")], axis=1), RATE_HZ)
    assert stage(clips / "x" / "one.wav", clips / "two.wav", out=clips / "out", channel="each") == 1
    assert "cannot be opened (Input/output error)" in " ".join(capsys.readouterr().err.split())
    assert list((clips / "out").rglob("two.txt")) and not list((clips / "out").rglob("one.txt"))


def test_transcripts_of_another_model_are_not_taken_for_this_ones(
    stage: Stage, untrained: list[Path], clips: Path
) -> None:
    out = clips / "out"
    stage(clips / "x" / "one.wav", out=out)
    other = Stage(untrained[1])
    with pytest.raises(InputError) as caught:
        other(clips / "x", out=out)
    said = f"{out}: holds 1 transcripts of another model, or of this one before it or its settings changed."
    assert str(caught.value).startswith(said) and other.loads == 0 and set(times(out)) == {"one.txt"}
    (out / "one.txt").unlink()
    assert other(clips / "x", out=out) == 0


def test_a_copy_of_the_model_is_the_same_model(stage: Stage, clips: Path, tmp_path: Path) -> None:
    stage(clips / "x", out=clips / "out")
    copy = Stage(shutil.copytree(stage.model, tmp_path / "copy"))
    assert copy(clips / "x", out=clips / "out") == 0 and copy.loads == 0


def test_the_transcript_of_another_recording_is_neither_taken_nor_overwritten(stage: Stage, clips: Path) -> None:
    out = clips / "out"
    stage(clips / "x" / "one.wav", out=out)
    with pytest.raises(InputError) as caught:
        stage(clips / "y" / "one.wav", out=out)
    assert "out/one.txt: there already, and the transcript of " in str(caught.value) and "x/one.wav" in str(
        caught.value
    )


def test_a_file_that_a_person_wrote_is_not_overwritten(stage: Stage, clips: Path) -> None:
    (clips / "x" / "one.txt").write_text("by hand")
    with pytest.raises(InputError, match="not by asr-adapt"):
        stage(clips / "x", out=clips / "x")
    assert (clips / "x" / "one.txt").read_text() == "by hand" and stage.loads == 0


def test_another_format_of_the_same_model_joins_the_folder(stage: Stage, clips: Path) -> None:
    for format in ("txt", "srt", "eaf"):
        assert stage(clips / "x", out=clips / "out", format=format) == 0
    assert len(times(clips / "out")) == 6
    assert stage.loads == 3


def test_the_folder_and_its_recordings_may_move_together(stage: Stage, clips: Path, tmp_path: Path) -> None:
    stage(clips / "x", out=clips / "x" / "out")
    (clips / "x").rename(clips / "moved")
    assert stage(clips / "moved", out=clips / "moved" / "out") == 0 and stage.loads == 1


def test_what_two_commands_claim_in_one_folder_is_kept(stage: Stage, clips: Path) -> None:
    out = clips / "out"
    stage(clips / "x" / "two.wav", out=out)
    (out / "two.txt").rename(clips / "late.txt")  # as if that command were still at work
    stage(clips / "y", out=out)
    (clips / "late.txt").rename(out / "two.txt")
    assert stage(clips / "x" / "two.wav", out=out) == 0 and stage.loads == 2


def test_a_damaged_record_is_said(stage: Stage, clips: Path) -> None:
    (clips / "out").mkdir()
    for text in ("", "[]", '{"sources": 3}'):
        (clips / "out" / ".asr-adapt.json").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            stage(clips / "x", out=clips / "out")


def test_pieces_of_a_manifest_are_named_by_their_ids_and_linked_where_they_begin(stage: Stage, clips: Path) -> None:
    pieces = [Utterance(id=f"p/{n}", audio="x/one.wav", start_s=n / 4, end_s=n / 4 + 0.25) for n in range(2)]
    gone = Utterance(id="gone", audio="x/gone.wav")
    write_jsonl(clips / "m.jsonl", [*pieces, gone])
    assert stage(clips / "m.jsonl", out=clips / "out", format="eaf") == 1
    assert set(times(clips / "out")) == {"p_0.eaf", "p_1.eaf", "failed.jsonl"}
    assert 'RELATIVE_MEDIA_URL="../x/one.wav"' in (clips / "out" / "p_1.eaf").read_text()
    assert 'TIME_ORIGIN="250"' in (clips / "out" / "p_1.eaf").read_text()
    stage(clips / "m.jsonl", out=clips / "json", format="json")
    assert json.loads((clips / "json" / "p_0.json").read_text())["duration"] == 0.25


def test_a_piece_whose_times_changed_is_another_recording(stage: Stage, clips: Path) -> None:
    for end_s in (0.3, 0.4):
        write_jsonl(clips / "m.jsonl", [Utterance(id="p", audio="x/one.wav", start_s=0.0, end_s=end_s)])
        if end_s == 0.3:
            stage(clips / "m.jsonl", out=clips / "out")
            continue
        with pytest.raises(InputError, match=r"one\.wav#t=0,0\.3"):
            stage(clips / "m.jsonl", out=clips / "out")


def test_a_name_that_the_new_suffix_makes_too_long_fails_alone(
    stage: Stage, clips: Path, capsys: pytest.CaptureFixture
) -> None:
    long = "x" * 250
    (clips / "x" / f"{long}.wav").write_bytes((clips / "x" / "one.wav").read_bytes())
    assert stage(clips / "x", out=clips / "out", format="textgrid") == 1
    assert set(times(clips / "out")) == {"one.textgrid", "two.textgrid", "failed.jsonl"}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert line.endswith(f"{long}.textgrid: cannot be written (File name too long).")


def test_a_folder_that_cannot_be_written_is_said_before_work(stage: Stage, clips: Path) -> None:
    (clips / "file").write_text("")
    with pytest.raises(InputError, match="nothing can be written here"):
        stage(clips / "x", out=clips / "file" / "out")
    assert stage.loads == 0
