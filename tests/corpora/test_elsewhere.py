"""Corpora elsewhere: they are read as those on this machine are; recordings stay where they are."""

import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, say, uploaded, write_corpus

from asr_adapt import audio, corpora, remote
from asr_adapt.artifacts import RecordLine, TranscriptionRecord
from asr_adapt.corpora.elsewhere import Copy, content_digests
from asr_adapt.corpora.kept_splits import Corpus
from asr_adapt.errors import AudioError, InputError
from asr_adapt.folders import folder_of
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

BUCKET = "memory://archive"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty store, and an empty cache."""
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def without_audio(utterances: list[Utterance]) -> list[Utterance]:
    return [u.model_copy(update={"audio": ""}) for u in utterances]


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of what is opened in the store from now on."""
    opened: list[str] = []
    fs = type(fsspec.filesystem("memory"))
    real = fs._open

    def noted(self: Any, path: str, *args: Any, **options: Any) -> Any:
        opened.append(path.rpartition("/")[2])
        return real(self, path, *args, **options)

    monkeypatch.setattr(fs, "_open", noted)
    return opened


def write_layout(root: Path, layout: str) -> Path:
    """Write a small corpus in one of several layouts; return what names it."""
    root.mkdir(parents=True)
    for number in range(6):
        (root / "wav").mkdir(exist_ok=True)
        soundfile.write(root / "wav" / f"r{number}.wav", say("ab cde", number), RATE_HZ)
    rows = [(f"wav/r{number}.wav", "ab cde", f"s{number}") for number in range(6)]
    if layout == "table":
        lines = ["audio,text,speaker", *(",".join(row) for row in rows)]
        (root / "t.csv").write_text("\n".join(lines))
        return root / "t.csv"
    if layout == "manifest":
        lines = [json.dumps({"id": f"u{n}", "audio": row[0], "text": row[1]}) for n, row in enumerate(rows)]
        (root / "m.jsonl").write_text("\n".join(lines))
        return root / "m.jsonl"
    if layout == "text_files":
        for name, text, _ in rows:
            (root / name).with_suffix(".txt").write_text(text)
    elif layout == "kaldi":
        (root / "wav.scp").write_text("".join(f"u{n} {row[0]}\n" for n, row in enumerate(rows)))
        (root / "text").write_text("".join(f"u{n} {row[1]}\n" for n, row in enumerate(rows)))
        (root / "utt2spk").write_text("".join(f"u{n} {row[2]}\n" for n, row in enumerate(rows)))
    elif layout == "subtitles":
        for name, text, _ in rows:
            (root / name).with_suffix(".srt").write_text(f"1\n00:00:00,000 --> 00:00:00,500\n{text}\n")
    elif layout == "lhotse":
        cuts = [
            {
                "id": f"c{n}",
                "start": 0,
                "duration": 0.5,
                "type": "MonoCut",
                "supervisions": [{"id": f"c{n}", "start": 0, "duration": 0.5, "text": text, "speaker": speaker}],
                "recording": {"sources": [{"type": "file", "channels": [0], "source": name}]},
            }
            for n, (name, text, speaker) in enumerate(rows)
        ]
        packed = gzip.compress("\n".join(map(json.dumps, cuts)).encode())
        (root / "cuts.jsonl.gz").write_bytes(packed)
    return root


@pytest.mark.parametrize(
    "layout", ["common_voice", "table", "manifest", "text_files", "kaldi", "subtitles", "lhotse"]
)
def test_a_corpus_elsewhere_is_read_as_its_copy_here_is(tmp_path: Path, layout: str) -> None:
    here = tmp_path / "corpus"
    named = write_corpus(here) if layout == "common_voice" else write_layout(here, layout)
    url = f"{uploaded(here, f'{BUCKET}/corpus')}{str(named).removeprefix(str(here))}"
    one, other = (corpora.read_all([Source(root=root)], "art") for root in (named, url))
    assert without_audio(other.utterances) == without_audio(one.utterances)
    assert other.kept.rows == one.kept.rows
    base = f"{BUCKET}/corpus/"
    assert [u.audio.removeprefix(base) for u in other.utterances] == [
        str(Path(u.audio).relative_to(here)) for u in one.utterances
    ]
    digests = [[content_digests({u.audio})[u.audio] for u in found.utterances] for found in (one, other)]
    assert digests[0] == digests[1] != [None] * len(digests[0])


@pytest.mark.parametrize("name", ["", "/t.csv"])
def test_a_bucket_may_be_a_corpus(tmp_path: Path, name: str) -> None:
    uploaded(write_layout(tmp_path / "corpus", "table").parent, BUCKET)
    found = corpora.read_all([Source(root=f"{BUCKET}{name}", split="train")], "art").utterances
    assert [u.audio for u in found] == [f"{BUCKET}/wav/r{number}.wav" for number in range(6)]


def test_recordings_are_not_fetched_and_annotations_once(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = uploaded(write_corpus(tmp_path / "corpus"), f"{BUCKET}/corpus")
    opened = reads(monkeypatch)
    for _ in range(2):
        found = corpora.read(url, "art")
    assert sorted(opened) == ["dev.tsv", "test.tsv", "train.tsv"]
    stand_ins = list((tmp_path / "cache").rglob("*.wav"))
    assert len(stand_ins) == len(found)
    assert not any(path.stat().st_blocks for path in stand_ins), "they take no room"


def test_what_changes_elsewhere_changes_here(tmp_path: Path, store: Any) -> None:
    url = uploaded(write_layout(tmp_path / "corpus", "text_files"), f"{BUCKET}/corpus")
    everything = Source(root=url, split="train")
    assert len(corpora.read_all([everything], "art").utterances) == 6
    store.rm("/archive/corpus/wav/r0.wav")
    store.rm("/archive/corpus/wav/r0.txt")
    store.pipe_file("/archive/corpus/wav/r1.txt", b"ed")
    store.pipe_file("/archive/corpus/wav/deep/r9.wav", b"later")
    store.pipe_file("/archive/corpus/wav/deep/r9.txt", b"ab")
    texts = {u.id: u.text for u in corpora.read_all([everything], "art").utterances}
    assert len(texts) == 6
    assert {text for id, text in texts.items() if "r1" in id} == {"ed"}
    assert any("r9" in id for id in texts) and not any("r0" in id for id in texts)


def test_a_digest_is_computed_once_for_a_recording_that_stays(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = uploaded(write_corpus(tmp_path / "corpus"), f"{BUCKET}/corpus")
    names = {u.audio for u in corpora.read(url, "art")}
    first = content_digests(names)
    opened = reads(monkeypatch)
    assert content_digests(names) == first
    assert not opened
    store.pipe_file("/archive/corpus/clips/dev0.wav", b"another")
    corpora.read(url, "art")
    again = content_digests(names)
    assert {name for name in names if again[name] != first[name]} == {f"{url}/clips/dev0.wav"}
    assert content_digests({f"{url}/nowhere.wav"}) == {f"{url}/nowhere.wav": None}


def test_urls_of_stores_may_stand_in_any_table(tmp_path: Path, store: Any) -> None:
    soundfile.write(tmp_path / "a.wav", say("ab"), RATE_HZ)
    store.pipe_file("/archive/a.wav", (tmp_path / "a.wav").read_bytes())
    (tmp_path / "t.csv").write_text(f"audio,text\n{BUCKET}/a.wav,ab\n")
    (found,) = corpora.read_all([Source(root=tmp_path / "t.csv", split="train")], "art").utterances
    assert found.audio == f"{BUCKET}/a.wav"
    assert np.array_equal(audio.load(found.audio), audio.load(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("corpus.tar.gz", {}, "memory://archive/corpus.tar.gz: is neither a folder nor a table.* Download it"),
        ("parquet", {}, "memory://archive/parquet: is read as hugging_face, on this machine only. Download"),
        ("parquet", {"format": "hugging_face"}, "the format hugging_face is read on this machine only. Download"),
        ("nowhere", {}, "memory://archive/nowhere: no such file or folder. Look at the URL"),
        ("../x", {}, "is not the URL of a folder or table"),
        ("packed", {}, r"packed/a\.zip#b\.wav: recordings in an archive are read on this machine only. Download"),
        ("bad", {}, r"memory://archive/bad/t\.csv:2: path '\.\./b\.wav' is not a file inside memory://archive/bad"),
        ("strange", {}, "memory://archive/strange: .*"),
    ],
)
def test_what_cannot_be_read_elsewhere_is_refused_in_a_line(
    store: Any, name: str, fields: dict, message: str
) -> None:
    store.pipe_file("/archive/corpus.tar.gz", b"x")
    store.pipe_file("/archive/parquet/train.parquet", b"x")
    store.pipe_file("/archive/packed/a.zip", b"x")
    store.pipe_file("/archive/packed/t.csv", b"audio,text\na.zip#b.wav,ab\n")
    store.pipe_file("/archive/bad/t.csv", b"audio,text\n../b.wav,ab\n")
    store.pipe_file("/archive/strange/x.bin", b"x")
    with pytest.raises(InputError, match=message) as raised:
        corpora.read_all([Source(root=f"{BUCKET}/{name}", **fields)], "art")
    assert "\n" not in str(raised.value)
    assert "cache" not in str(raised.value)


def test_a_name_that_no_file_can_have_is_counted(
    tmp_path: Path, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url = uploaded(write_layout(tmp_path / "corpus", "text_files"), f"{BUCKET}/corpus")
    store.pipe_file(f"/archive/corpus/{'x' * 300}.txt", b"ab")
    assert len(corpora.read_all([Source(root=url, split="train")], "art").utterances) == 6
    assert "1 objects have names that no file can have" in caplog.text


def test_a_key_of_a_recording_is_the_same_here_and_elsewhere(tmp_path: Path) -> None:
    assert Corpus("c", f"{BUCKET}/c").recording(f"{BUCKET}/c/wav/a.wav") == "c/wav/a.wav"
    assert Corpus("c", f"{BUCKET}/c/t.csv").recording(f"{BUCKET}/c/wav/a.wav") == "c/wav/a.wav"
    assert Corpus("c", tmp_path).recording(str(tmp_path / "wav" / "a.wav")) == "c/wav/a.wav"


@pytest.mark.parametrize("place", ["/corpus", ""])
def test_drafts_are_known_by_lines_alone_beside_and_above_them(tmp_path: Path, store: Any, place: str) -> None:
    """Of what is written elsewhere, and of very much that is written here, there is no other record."""
    url = uploaded(write_layout(tmp_path / "corpus", "text_files"), f"{BUCKET}/corpus")
    name = "wav/r0.txt" if place else "corpus/wav/r0.txt"
    line = RecordLine(place=name, digest=hashlib.sha256(b"ab cde").hexdigest(), source="r0.wav")
    for root, above in ((url, BUCKET), (str(tmp_path / "corpus"), str(tmp_path))):
        TranscriptionRecord.append(folder_of(f"{above}{place}"), "m", [line])
        found = corpora.read_all([Source(root=root, split="train", trust_drafts=True)], "art").utterances
        assert [u.provenance == "machine" for u in found] == ["r0" in u.id for u in found]


def large_file(store: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bytes]:
    """Write a recording that is read in blocks, and return its URL and content."""
    monkeypatch.setattr(remote, "_READ_AT_ONCE_BYTES", 1000)
    file = io.BytesIO()
    soundfile.write(file, np.tile(say("ab cde"), 4), RATE_HZ, format="WAV")
    store.pipe_file("/archive/long.wav", file.getvalue())
    return f"{BUCKET}/long.wav", file.getvalue()


def test_a_large_recording_is_read_in_blocks_and_sought(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, content = large_file(store, monkeypatch)
    assert np.array_equal(audio.load(url), audio.load(content))
    assert np.array_equal(audio.load(url, start_s=1.0, end_s=1.5), audio.load(content, start_s=1.0, end_s=1.5))
    assert audio.is_seekable(url)


def test_a_read_that_fails_is_no_end_of_the_recording(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, content = large_file(store, monkeypatch)
    real = remote._Blocks.readinto

    def readinto(blocks: Any, buffer: Any) -> int:
        if blocks.tell() > len(content) // 2:
            monkeypatch.setattr(blocks._source, "read", lambda size: 1 / 0)
        return real(blocks, buffer)

    monkeypatch.setattr(remote._Blocks, "readinto", readinto)
    with pytest.raises(InputError, match=r"long\.wav: cannot be fetched") as raised:
        audio.load(url)
    assert not isinstance(raised.value, AudioError), "it is not a damaged recording, which would be left out"
    with pytest.raises(AudioError, match="No such file or directory"):
        audio.load(f"{BUCKET}/nowhere.wav")


def test_a_copy_of_a_folder_in_a_folder_shares_its_files(tmp_path: Path) -> None:
    url = uploaded(write_layout(tmp_path / "corpus", "text_files"), f"{BUCKET}/corpus")
    assert Copy.of(f"{url}/wav").root == Copy.of(url).root / "wav"
