"""One rule by which every reader finds the recordings that a corpus names, wherever the corpus was moved."""

import json
import logging
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_adapt import corpora
from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import FOLDERS, AudioFinder
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance


def file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF")
    return path


def table(root: Path, name: str) -> None:
    (root / "t.csv").write_text(f'audio,text\n"{name}",x\n', encoding="utf-8")


def manifest(root: Path, name: str) -> None:
    (root / "m.jsonl").write_text(json.dumps({"id": "a", "audio": name, "text": "x"}), encoding="utf-8")


def common_voice(root: Path, name: str) -> None:
    (root / "train.tsv").write_text(f"path\tsentence\n{name}\tx\n", encoding="utf-8")


def kaldi(root: Path, name: str) -> None:
    (root / "wav.scp").write_text(f"a {name}\n", encoding="utf-8")
    (root / "text").write_text("a x\n", encoding="utf-8")


def unsplit(root: Path) -> list[Utterance]:
    return corpora.read_all([Source(root=root)], "mi", allow_unsplit=True).utterances


TEXTGRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n1\n'
    '"IntervalTier"\n"s"\n0\n1\n1\n0\n1\n"x"\n'
)
WRITERS = {"t.csv": table, "m.jsonl": manifest, "": common_voice, ".": kaldi}


@pytest.mark.parametrize(("entry", "write"), WRITERS.items(), ids=[w.__name__ for w in WRITERS.values()])
@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("a.wav", "a.wav"),
        *[(f"{folder}/a.wav", "a.wav") for folder in FOLDERS],
        ("audio/sub/a.wav", "sub/a.wav"),
        ("audio/a.flac", "a"),
        ("audio/a.mp3", "a.wav"),
        ("far/below/a.wav", "a.wav"),
        ("far/below/a.opus", "a"),
        ("x/a.wav", "/home/anna/corpus/x/a.wav"),
        ("x/a.wav", "C:\\Users\\anna\\corpus\\x\\a.wav"),
        ("x/a.wav", "c:/Users/anna/corpus/x/a.wav"),
        ("x/a.wav", "\\\\server\\share\\corpus\\x\\a.wav"),
        ("x/a.wav", "x\\a.wav"),
        ("x/a b.wav", "file:///C:/corpus/x/a%20b.wav"),
        ("x/A.WAV", "x/a.wav"),
        (unicodedata.normalize("NFD", "x/ā.wav"), unicodedata.normalize("NFC", "ā.wav")),
    ],
)
def test_every_reader_finds_a_recording_that_was_moved(
    tmp_path: Path, there: str, name: str, entry: str, write: Callable[[Path, str], None]
) -> None:
    expected = file(tmp_path / "corpus" / there)
    file(tmp_path / "corpus" / "other" / "b.wav")
    write(tmp_path / "corpus", name)
    (found,) = corpora.read_all([Source(root=tmp_path / "corpus" / entry)], "mi", allow_unsplit=True).utterances
    assert Path(found.audio) == expected


@pytest.mark.parametrize("write", [table, manifest, common_voice, kaldi])
@pytest.mark.parametrize("name", ["../../../../s.wav", "x/../../../../../s.wav", "..\\..\\..\\..\\s.wav"])
def test_no_relative_path_leads_out_of_a_corpus(
    tmp_path: Path, name: str, write: Callable[[Path, str], None]
) -> None:
    file(tmp_path / "s.wav")
    root = tmp_path / "1" / "2" / "3" / "corpus"
    root.mkdir(parents=True)
    write(root, name)
    entry = next(entry for entry, writer in WRITERS.items() if writer is write)
    with pytest.raises(InputError, match="is not a file inside"):
        corpora.read_all([Source(root=root / entry)], "mi", allow_unsplit=True)


def test_a_path_may_go_up_inside_a_corpus(tmp_path: Path) -> None:
    expected = file(tmp_path / "wav" / "a.wav")
    finder = AudioFinder(tmp_path)
    (tmp_path / "tables").mkdir()
    assert Path(finder.find("../wav/a.wav", "t:1", tmp_path / "tables")).samefile(expected)


def test_as_written_goes_before_the_folders_and_these_before_what_lies_deeper(tmp_path: Path) -> None:
    names = ["a.wav", "clips/a.wav", "wavs/a.wav", "old/a.wav"]
    for name in names:
        file(tmp_path / name)
    for name in names:
        assert AudioFinder(tmp_path).find("a.wav", "t:1") == str(tmp_path / name)
        (tmp_path / name).unlink()


def test_a_name_that_fits_two_files_is_refused_with_both(tmp_path: Path) -> None:
    for speaker in ("anna", "ben"):
        file(tmp_path / speaker / "001.wav")
    with pytest.raises(InputError, match=r"t\.csv:2: audio '001\.wav' may be anna/001\.wav or ben/001\.wav"):
        AudioFinder(tmp_path).find("001.wav", "t.csv:2")
    assert AudioFinder(tmp_path).find("D:\\x\\ben\\001.wav", "t.csv:2") == str(tmp_path / "ben" / "001.wav")


@pytest.mark.parametrize("order", [("train/001.wav", "dev/001.wav"), ("dev/001.wav", "train/001.wav")])
def test_a_missing_recording_is_not_replaced_by_another_of_its_base_name(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    file(tmp_path / "dev" / "001.wav")
    finder = AudioFinder(tmp_path)
    finder.find(order[0], "t.csv:2")
    with pytest.raises(InputError, match=r"t\.csv:3: '\w+/001\.wav' and '\w+/001\.wav' both fit only"):
        finder.find(order[1], "t.csv:3")


def test_one_recording_may_be_named_in_two_ways(tmp_path: Path) -> None:
    expected = str(file(tmp_path / "wavs" / "deep" / "a.wav"))
    finder = AudioFinder(tmp_path)
    assert {finder.find(name, "") for name in ("a", "a.wav", "deep/a.wav", "wavs/deep/a.wav", "./a.wav")} == {
        expected
    }


@pytest.mark.parametrize("name", ["https://example.org/a.wav", "ftp://example.org/a.wav"])
def test_an_address_on_the_network_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv:2: audio '.*' is an address on the network.*Download"):
        AudioFinder(tmp_path).find(name, "t.csv:2")


@pytest.mark.parametrize("name", ["", "a\0.wav"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv:2: path "):
        AudioFinder(tmp_path).find(name, "t.csv:2")


def test_the_files_are_listed_once_for_any_number_of_missing_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        file(tmp_path / "deep" / "er" / f"{number}.wav")
    walks = []
    walk = media.files_below
    monkeypatch.setattr(media, "files_below", lambda top: walks.append(top) or walk(top))
    finder = AudioFinder(tmp_path)
    found = [finder.find(f"{number}.wav", "") for number in range(40)]
    assert len(walks) == 1
    assert [Path(name).is_file() for name in found] == [True] * 20 + [False] * 20


def test_hidden_files_are_not_found(tmp_path: Path) -> None:
    file(tmp_path / "x" / "._a.wav")
    file(tmp_path / "__MACOSX" / "a.wav")
    assert AudioFinder(tmp_path).find("a.wav", "") == str(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (0, "none of the 10 recordings is there, the first: .*clips/0.wav. Looked for .* clips/, audio/, .* below "),
        (4, "6 of 10 recordings are missing, the first: .*clips/4.wav"),
        (5, None),
    ],
)
def test_one_line_says_that_most_recordings_are_missing_and_where_they_were_looked_for(
    tmp_path: Path, there: int, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"{number}.wav\tx\n" for number in range(10))
    (tmp_path / "validated.tsv").write_text(f"path\tsentence\n{rows}")
    for number in range(there):
        file(tmp_path / "clips" / f"{number}.wav")
    with caplog.at_level(logging.WARNING):
        corpora.read_all([Source(root=tmp_path)], "mi", allow_unsplit=True)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (said is not None)
    if said is not None:
        assert re.search(said, lines[0])


def test_rows_of_one_recording_share_its_name_in_memory(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("audio,text,start,end\n" + "".join(f"a.wav,x,{i},{i + 1}\n" for i in range(5)))
    found: list[Utterance] = corpora.read_all([Source(root=tmp_path)], "mi", allow_unsplit=True).utterances
    assert len({id(u.audio) for u in found}) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.srt", "1\n00:00:00,000 --> 00:00:01,000\nx\n"),
        ("1.txt", "0\t1\tx\n"),
        ("1.cha", "@Begin\n*ANA:\tx \x150_1000\x15\n@End\n"),
        ("1.trs", '<Trans><Turn startTime="0" endTime="1"><Sync time="0"/>x</Turn></Trans>'),
        ("1.TextGrid", TEXTGRID),
    ],
    ids=["srt", "labels", "chat", "trs", "textgrid"],
)
def test_annotations_of_one_name_in_two_folders_do_not_share_the_only_recording(
    tmp_path: Path, name: str, content: str
) -> None:
    for folder in ("a", "b"):
        file(tmp_path / folder / name).write_text(content, encoding="utf-8")
        file(tmp_path / folder / "1.wav")
    assert {u.audio for u in unsplit(tmp_path)} == {str(tmp_path / folder / "1.wav") for folder in ("a", "b")}
    (tmp_path / "b" / "1.wav").unlink()
    assert [u.audio for u in unsplit(tmp_path) if u.id.startswith("b/")] == [str(tmp_path / "b" / "1")]


def test_a_textgrid_is_read_with_a_recording_in_audio(tmp_path: Path) -> None:
    file(tmp_path / "1.TextGrid").write_text(TEXTGRID, encoding="utf-8")
    file(tmp_path / "audio" / "1.flac")
    assert {u.audio for u in unsplit(tmp_path)} == {str(tmp_path / "audio" / "1.flac")}
