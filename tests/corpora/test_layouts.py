"""Layouts that people have, on files shaped as the formats' own tools write them."""

import datetime
import gzip
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import soundfile

from asr_adapt import corpora
from asr_adapt.corpora.nearest import unknown_layout
from asr_adapt.corpora.readers import READERS
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

RATE_HZ = 16_000


def clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(RATE_HZ // 10, 0.1), RATE_HZ)
    return path


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(root: Path, kind: str, **options: Any) -> list[Utterance]:
    """Return the utterances of a corpus that is recognised as `kind`; their recordings are there."""
    assert [name for name, reader in READERS.items() if reader.recognises(root)] == [kind]
    found = corpora.read_all([Source(root=root, **options)], "mi", allow_unsplit=True).utterances
    assert all(Path(u.audio).is_file() for u in found)
    return found


def raw(root: Path, kind: str, **options: Any) -> list[Utterance]:
    """Return what the reader yields, before splits are made."""
    assert [name for name, reader in READERS.items() if reader.recognises(root)] == [kind]
    return list(READERS[kind].read(root, "mi", Source(root=root, **options)))


# Common Voice, Spontaneous Speech

SPONTANEOUS = (
    "client_id\taudio_id\taudio_file\tduration_ms\tprompt_id\tprompt\ttranscription\tvotes\tage\tgender\taccents\t"
    "variant\tlanguage\tprompt_upvotes\tprompt_reports\tis_edited\tsplit\tchar_per_sec\tquality_tags\n"
)


def spontaneous(root: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Write `(clip, transcript, split)` as Common Voice does, and the table of reported clips beside it."""
    lines = [
        f'anna\t{n}\t{name}.wav\t12500\t1\tHe aha "te" kai?\t{text}\t2\t\t\t\t\tMāori\t0\t0\t0\t{split}\t9.1\t'
        for n, (name, text, split) in enumerate(rows)
    ]
    put(root / "ss-corpus-mi.tsv", SPONTANEOUS + "\n".join(lines) + "\n")
    put(root / "ss-reported-audios-mi.tsv", "client_id\taudio_id\taudio_file\treason\nx\t9\tr.wav\tother\n")
    for name, _, _ in rows:
        clip(root / "audios" / f"{name}.wav")
    return root


def test_spontaneous_speech_is_read_with_its_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("a", 'ko "ia" [noise]', "train"), ("b", "āe", "dev"), ("c", "kāo", "test"), ("d", "x", "unassigned"),
            ("e", "", "unassigned")]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        found = read(spontaneous(tmp_path, rows), "common_voice_spontaneous")
    assert [(u.id, u.split, u.speaker, u.duration_s) for u in found] == [
        ("a.wav", "train", "anna", 12.5), ("b.wav", "dev", "anna", 12.5),
        ("c.wav", "test", "anna", 12.5)]  # fmt: skip
    assert found[0].text == 'ko "ia" [noise]'
    assert "1 clips are not transcribed yet" in caplog.text and "1 transcripts are in no split" in caplog.text


def test_spontaneous_speech_without_splits_is_read_whole(tmp_path: Path) -> None:
    root = spontaneous(tmp_path, [("a", "āe", "unassigned"), ("b", "kāo", "unassigned")])
    assert [(u.id, u.split) for u in raw(root, "common_voice_spontaneous")] == [("a.wav", None), ("b.wav", None)]


# Tables without a header


@pytest.mark.parametrize("columns", [2, 3])
def test_ljspeechs_metadata_is_read(tmp_path: Path, columns: int) -> None:
    for number in (1, 2):
        clip(tmp_path / "wavs" / f"LJ001-000{number}.wav")
    rows = ['LJ001-0001|He said "no, 5"|He said "no, five"', "LJ001-0002|two|two"]
    put(tmp_path / "metadata.csv", "".join("|".join(row.split("|")[:columns]) + "\n" for row in rows))
    found = read(tmp_path, "ljspeech")
    assert [u.text for u in found] == ['He said "no, five"' if columns == 3 else 'He said "no, 5"', "two"]
    assert [u.id for u in found] == ["LJ001-0001", "LJ001-0002"]
    if columns == 3:
        assert read(tmp_path, "ljspeech", columns={"text": "written"})[0].text == 'He said "no, 5"'


def test_openslrs_line_index_is_read(tmp_path: Path) -> None:
    clip(tmp_path / "wavs" / "mi_f_01.wav")
    clip(tmp_path / "mi_m_02.wav")
    put(tmp_path / "line_index.tsv", "mi_f_01\tkia ora\nmi_m_02\t tēnā koe\n")
    assert [(u.id, (u.text or "").strip()) for u in read(tmp_path, "ljspeech")] == [
        ("mi_f_01", "kia ora"), ("mi_m_02", "tēnā koe")]  # fmt: skip


def test_openslrs_speakers_are_read_and_its_nested_folders_found(tmp_path: Path) -> None:
    clip(tmp_path / "data" / "4e" / "4e0d.flac")
    put(tmp_path / "utt_spk_text.tsv", "4e0d\tspk7\tkia ora\n")
    assert [(u.speaker, u.text) for u in read(tmp_path, "ljspeech")] == [("spk7", "kia ora")]


def test_a_table_for_each_book_is_read_and_its_folder_is_in_the_ids(tmp_path: Path) -> None:
    for book in ("one", "two"):
        clip(tmp_path / book / "wavs" / "f0001.wav")
        put(tmp_path / book / "metadata.csv", "f0001|kia ora|kia ora\n")
    assert [u.id for u in read(tmp_path, "ljspeech")] == ["one/f0001", "two/f0001"]


def test_a_row_of_another_number_of_columns_is_named(tmp_path: Path) -> None:
    put(tmp_path / "metadata.csv", "a|x|x\nb|x\n")
    with pytest.raises(InputError, match=r"metadata\.csv:2: 2 columns where the header has 3"):
        raw(tmp_path, "ljspeech")


# FLEURS


def fleurs(root: Path) -> Path:
    for number, split in enumerate(("train", "dev", "test")):
        clip(root / "audio" / split / f"10{number}.wav")
        row = f"7\t10{number}.wav\tKia ora, koutou.\tkia ora koutou\tk i a | o r a |\t1600\tFEMALE\n"
        put(root / f"{split}.tsv", row)
    return root


def test_fleurs_is_read_as_it_is_downloaded(tmp_path: Path) -> None:
    found = read(fleurs(tmp_path), "fleurs")
    assert [(u.id, u.split, u.text) for u in found] == [
        ("100.wav", "train", "kia ora koutou"), ("101.wav", "dev", "kia ora koutou"),
        ("102.wav", "test", "kia ora koutou")]  # fmt: skip
    assert read(tmp_path, "fleurs", columns={"text": "raw_transcription"})[0].text == "Kia ora, koutou."


def test_fleurs_that_is_not_unpacked_is_said_to_be_so(tmp_path: Path) -> None:
    for path in fleurs(tmp_path).rglob("*.wav"):
        path.unlink()
    put(tmp_path / "audio" / "train.tar.gz", b"x")
    with pytest.raises(InputError, match=r"train\.tar\.gz: the recordings are not unpacked\. Run: tar -xzf"):
        raw(tmp_path, "fleurs")


# AudioFolder


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("in_split", [True, False])
def test_an_audio_folder_is_read_with_metadata_of_the_set_or_of_each_split(
    tmp_path: Path, suffix: str, in_split: bool
) -> None:
    rows = {split: [{"file_name": f"{n}.wav", "transcription": f'said "{n}"'} for n in range(2)] for split in
            ("train", "test")}  # fmt: skip
    for split, members in rows.items():
        for row in members:
            clip(tmp_path / split / row["file_name"])
    tables = rows if in_split else {".": [row | {"file_name": f"{split}/{row['file_name']}"} for split, members
                                          in rows.items() for row in members]}  # fmt: skip
    for folder, members in tables.items():
        if suffix == "csv":
            lines = [f'{row["file_name"]},"{row["transcription"].replace(chr(34), chr(34) * 2)}"' for row in members]
            content = "\n".join(("file_name,transcription", *lines))
        else:
            content = "\n".join(map(json.dumps, members))
        put(tmp_path / folder / f"metadata.{suffix}", content)
    found = raw(tmp_path, "audio_folder")
    assert {(u.id, u.split, u.text) for u in found} == {
        (f"{split}/{n}.wav", split, f'said "{n}"') for split in rows for n in range(2)}  # fmt: skip


def test_an_audio_folder_of_one_table_keeps_the_ids_that_a_table_gives(tmp_path: Path) -> None:
    clip(tmp_path / "a.wav")
    put(tmp_path / "metadata.csv", "file_name,text\na.wav,x\n")
    assert [u.id for u in raw(tmp_path, "audio_folder")] == ["a.wav"]
    assert [u.id for u in READERS["table"].read(tmp_path, "mi", Source(root=tmp_path))] == ["a.wav"]


def test_an_audio_folder_without_a_transcript_is_named(tmp_path: Path) -> None:
    put(tmp_path / "metadata.csv", "file_name,label\na.wav,x\n")
    with pytest.raises(InputError, match=r"metadata\.csv:1: no column for text"):
        raw(tmp_path, "audio_folder")


# NeMo


def test_nemos_manifests_are_read(tmp_path: Path) -> None:
    clip(tmp_path / "wav" / "a.wav")
    rows = [
        {"audio_filepath": "/data/corpus/wav/a.wav", "text": "kia ora", "duration": 0.1},
        {"audio_filepath": "wav/a.wav", "text": "tēnā koe", "duration": 1.5, "offset": 2.0, "speaker": 7},
    ]
    put(tmp_path / "train_manifest.json", "\n".join(map(json.dumps, rows)) + "\n")
    put(tmp_path / "dev_manifest.json", json.dumps(rows[0] | {"audio_filepath": "wav/a.wav"}))
    found = raw(tmp_path, "nemo")
    assert [(u.split, u.start_s, u.end_s, u.duration_s, u.speaker, u.text) for u in found] == [
        ("dev", None, None, 0.1, None, "kia ora"), ("train", None, None, 0.1, None, "kia ora"),
        ("train", 2.0, 3.5, None, "7", "tēnā koe")]  # fmt: skip
    assert len(read(tmp_path / "train_manifest.json", "nemo")) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"audio_filepath": "a.wav", "duration": 1}', "field 'text' is missing"),
        ('{"audio_filepath": 7, "text": "x"}', "field 'audio_filepath' is no text"),
        ('{"audio_filepath": "a.wav", "text": "x", "duration": "long"}', "field 'duration': must be a time"),
        ('{"audio_filepath": "a.wav", "text": "x", "offset": -1}', "field 'offset': must be a time"),
        ('{"audio_filepath": "a.wav", "text": "x", "offset": 1e999}', "field 'offset': must be a time"),
        ('{"audio_filepath": "a.wav", "text": "x", "duration": ' + "9" * 5000 + "}", "not JSON|must be a time"),
        ("[" * 100_000, r"not JSON"),
        ('{"a": ' * 100_000, r"not JSON"),
        ("[]", "a JSON list where an object must be"),
        ('{"audio_filepath": "../../a.wav", "text": "x"}', "is not a file inside"),
    ],
)
def test_a_bad_line_of_a_nemo_manifest_is_named(tmp_path: Path, line: str, said: str) -> None:
    good = '{"audio_filepath": "a.wav", "text": "x"}'
    put(tmp_path / "m.json", f"{good}\n{line}\n")
    with pytest.raises(InputError, match=rf"m\.json:2: .*({said})") as caught:
        raw(tmp_path / "m.json", "nemo")
    assert len(str(caught.value)) < 1000


# lhotse


def cut(**changes: Any) -> dict[str, Any]:
    """Return a cut as `CutSet.to_file` writes it (lhotse 1.33)."""
    supervision = {"id": "s1", "recording_id": "r1", "start": 0.5, "duration": 1.5, "channel": 0, "text": "kia ora",
                   "language": "rar", "speaker": "anna"}  # fmt: skip
    recording = {"id": "r1", "sources": [{"type": "file", "channels": [0], "source": "wav/r1.wav"}],
                 "sampling_rate": 16000, "num_samples": 160000, "duration": 10.0, "channel_ids": [0]}  # fmt: skip
    made = {"id": "c1", "start": 2.0, "duration": 5.0, "channel": 0, "supervisions": [supervision],
            "recording": recording, "type": "MonoCut"}  # fmt: skip
    return made | changes


@pytest.mark.parametrize("packed", [True, False])
def test_lhotses_cuts_are_read(tmp_path: Path, packed: bool) -> None:
    clip(tmp_path / "wav" / "r1.wav")
    lines = json.dumps(cut()) + "\n" + json.dumps(cut(id="c2", supervisions=[])) + "\n"
    for split in ("train", "dev"):
        name = tmp_path / f"aroha_cuts_{split}.jsonl{'.gz' if packed else ''}"
        own = lines.replace('"s1"', f'"s-{split}"')
        put(name, gzip.compress(own.encode()) if packed else own)
    found = read(tmp_path, "lhotse")
    assert [(u.id, u.split, u.start_s, u.end_s, u.speaker, u.language, u.text) for u in found] == [
        ("s-dev", "dev", 2.5, 4.0, "anna", "rar", "kia ora"),
        ("s-train", "train", 2.5, 4.0, "anna", "rar", "kia ora"),
    ]
    assert len(raw(next(tmp_path.glob("*train*")), "lhotse")) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "MixedCut", "tracks": []}, "a cut of type 'MixedCut' is not read"),
        ({"recording": None}, "a cut without a recording"),
        ({"recording": cut()["recording"] | {"transforms": [{"name": "Speed"}]}}, "changed when lhotse loads it"),
        ({"recording": cut()["recording"] | {"sources": [{"type": "command", "source": "rm"}]}}, "source is command"),
        ({"recording": cut()["recording"] | {"sources": 7}}, "'sources' is no list of objects"),
        ({"supervisions": [{"id": "s", "text": "x"}]}, "field 'duration': must be a time"),
        ({"start": 1e308}, "field 'start': must be a time"),
    ],
)
def test_a_cut_that_cannot_be_read_is_named(tmp_path: Path, changes: dict, said: str) -> None:
    put(tmp_path / "cuts.jsonl", json.dumps(cut(**changes)))
    with pytest.raises(InputError, match=rf"cuts\.jsonl:1: .*{said}"):
        raw(tmp_path / "cuts.jsonl", "lhotse")


def test_a_gzip_that_is_cut_short_is_named(tmp_path: Path) -> None:
    packed = gzip.compress("\n".join(json.dumps(cut(id=str(n), supervisions=[])) for n in range(5000)).encode())
    put(tmp_path / "cuts.jsonl.gz", packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"cuts\.jsonl\.gz: cannot be read"):
        raw(tmp_path / "cuts.jsonl.gz", "lhotse")


# Recordings and texts in two folders


@pytest.mark.parametrize(
    ("audio", "text"), [("wav", "txt"), ("wavs", "text"), ("wav48", "txt"), ("audio", "transcripts")]
)
def test_recordings_and_texts_in_folders_beside_each_other_are_read(tmp_path: Path, audio: str, text: str) -> None:
    for speaker in ("p1", "p2"):
        clip(tmp_path / audio / speaker / "001.wav")
        put(tmp_path / text / speaker / "001.txt", f"kia ora\r\n{speaker}\n")
    put(tmp_path / text / "p1" / "no_recording.txt", "x")
    found = read(tmp_path, "parallel_folders")
    assert [(u.id, u.text) for u in found] == [
        (f"{audio}/p1/001.wav", "kia ora p1"), (f"{audio}/p2/001.wav", "kia ora p2")]  # fmt: skip


def test_folders_of_recordings_and_texts_may_be_in_one_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        clip(tmp_path / split / "wav" / "001.wav")
        put(tmp_path / split / "txt" / "001.txt", split)
    assert [(u.split, u.text) for u in raw(tmp_path, "parallel_folders")] == [("test", "test"), ("train", "train")]


# Subtitles

SRT = """\ufeff1\r
00:00:01,000 --> 00:00:02,500\r
<i>Kia ora</i>,\r
{\\an8}koutou &amp; co.\r
\r
2\r
00:00:03,000 --> 00:00:04,000 X1:40 X2:600 Y1:20 Y2:50\r
\r
3\r
00:01:05,5 --> 00:01:06,000\r
5 < 6\r
"""
VTT = """WEBVTT - a title
Kind: captions

NOTE a remark
of two lines

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:0%
<v.loud Aroha Kerr>Kia ora, <c.x>koutou</c></v> <00:00:02.000>&amp; co.

00:01:05.500 --> 00:01:06.000
5 &lt; 6
"""


@pytest.mark.parametrize(("suffix", "content"), [("srt", SRT), ("vtt", VTT)])
@pytest.mark.parametrize("name", ["film", "film.en"])
def test_subtitles_are_read_without_their_tags(tmp_path: Path, suffix: str, content: str, name: str) -> None:
    clip(tmp_path / "train" / "film.wav")
    put(tmp_path / "train" / f"{name}.{suffix}", content)
    found = raw(tmp_path, "subtitles")
    assert [(u.start_s, u.end_s, u.text, u.split) for u in found] == [
        (1.0, 2.5, "Kia ora, koutou & co.", "train"), (65.5, 66.0, "5 < 6", "train")]  # fmt: skip
    assert found[0].speaker == ("Aroha Kerr" if suffix == "vtt" else None)
    assert Path(found[0].audio) == tmp_path / "train" / "film.wav"


@pytest.mark.parametrize(
    ("times", "said"),
    [("00:00:02,000 --> 00:00:01,000", "ends before it begins"), ("00:00:02 -> 3 --> x", "no times of a subtitle"),
     ("99:99:99,000 --> 99:99:99,000", "field 'start': must be a time")],
)  # fmt: skip
def test_a_broken_subtitle_is_named(tmp_path: Path, times: str, said: str) -> None:
    put(tmp_path / "a.srt", f"1\n{times}\nx\n")
    with pytest.raises(InputError, match=rf"a\.srt:2: .*{said}"):
        raw(tmp_path, "subtitles")


# Audacity


@pytest.mark.parametrize("name", ["a", "a_labels", "a labels", "a Label Track"])
@pytest.mark.parametrize("sign", [".", ","])
def test_audacitys_labels_are_read(tmp_path: Path, name: str, sign: str, caplog: pytest.LogCaptureFixture) -> None:
    clip(tmp_path / "a.wav")
    lines = ["0.500000\t1.250000\tkia ora", "\\\t100.0\t2000.0", "1.5\t1.5\tclick", "2.000000\t3.000000\ttēnā koe",
             "4.0\t5.0\t"]  # fmt: skip
    put(tmp_path / f"{name}.txt", "\n".join(lines).replace(".", sign) + "\n")
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path, "audacity")
    assert [(u.start_s, u.end_s, u.text) for u in found] == [(0.5, 1.25, "kia ora"), (2.0, 3.0, "tēnā koe")]
    assert "1 labels mark a point" in caplog.text


@pytest.mark.parametrize(
    ("line", "said"), [("kia ora", "field 'start': must be"), ("2\t1\tx", "a label ends before it begins: 2 to 1")]
)
def test_a_broken_label_is_named(tmp_path: Path, line: str, said: str) -> None:
    clip(tmp_path / "a.wav")
    put(tmp_path / "a.txt", f"0.5\t1.0\tx\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.txt:2: {said}"):
        raw(tmp_path, "audacity")


# Transcriber

TRS = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE Trans SYSTEM "trans-14.dtd">
<Trans scribe="x" audio_filename="interview" version="2" version_date="260101" xml:lang="fr">
<Speakers><Speaker id="spk1" name="Zoé" check="no"/><Speaker id="spk2" name="Léo" check="no"/></Speakers>
<Episode><Section type="report" startTime="0" endTime="9.5">
<Turn startTime="0" endTime="2.5" speaker="spk1">
<Sync time="0"/>

<Sync time="0.5"/>
c'était <Event desc="rire" type="noise" extent="instantaneous"/>bien<Comment desc="fort"/>
<Sync time="1.75"/>
oui
</Turn>
<Turn speaker="spk1 spk2" startTime="2.5" endTime="9.5">
<Sync time="2.5"/>
<Who nb="1"/>
non
<Who nb="2"/>
si
</Turn>
</Section></Episode></Trans>
"""


def test_transcribers_segments_are_read_with_their_speakers(tmp_path: Path) -> None:
    clip(tmp_path / "interview.wav")
    put(tmp_path / "itw1.trs", TRS.encode("latin-1"))
    found = read(tmp_path, "transcriber")
    assert [(u.start_s, u.end_s, u.speaker, u.text) for u in found] == [
        (0.5, 1.75, "Zoé", "c'était bien"), (1.75, 2.5, "Zoé", "oui"), (2.5, 9.5, None, "non si")]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</Episode>", "", r"itw\.trs: cannot be read as Transcriber's XML"),
        ('"ISO-8859-1"', '"nonsense"', r"itw\.trs: cannot be read"),
        ('endTime="2.5"', 'endTime="1e308"', r"itw\.trs:6: field 'endTime': must be a time"),
        ('time="1.75"', 'time="0.25"', r"itw\.trs:9: the segment at 0\.5 s does not end after it"),
        ('SYSTEM "trans-14.dtd"', '[<!ENTITY a "aaaa">]', r"itw\.trs:2: declares entities"),
        ('SYSTEM "trans-14.dtd"', '[<!ENTITY a SYSTEM "file:///etc/passwd">]', r"itw\.trs:2: declares entities"),
    ],
)
def test_a_damaged_or_hostile_trs_file_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TRS
    put(tmp_path / "itw.trs", TRS.replace(old, new).encode("latin-1"))
    with pytest.raises(InputError, match=said):
        raw(tmp_path, "transcriber")


# CHAT

CHA = """\ufeff@UTF8
@PID:\t11312/c-00000-1
@Begin
@Languages:\teng
@Participants:\tCHI Ross Target_Child, MOT Mother
@ID:\teng|brown|CHI|2;03.|male|||Target_Child|||
@Media:\t010411a, audio
*CHI:\tmore cookie . \x15100_1500\x15
%mor:\tqn|more n|cookie .
%gra:\t1|2|QUANT
\t2|0|ROOT
*MOT:\tyou want
\tmore cookies ? \x151500_2600\x15
*MOT:\tyes . \x15%snd:"010411a"_2600_3000\x15
*CHI:\tuntimed .
*CHI:\tone \x153000_3100\x15 two . \x153200_3900\x15
@End
"""


def test_chats_main_lines_are_read_and_no_dependent_tier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip(tmp_path / "audio" / "010411a.mp3".replace("mp3", "wav"))
    put(tmp_path / "brown.cha", CHA)
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path, "chat")
    assert [(u.start_s, u.end_s, u.speaker, u.text) for u in found] == [
        (0.1, 1.5, "Ross", "more cookie ."), (1.5, 2.6, "MOT", "you want more cookies ?"), (2.6, 3.0, "MOT", "yes ."),
        (3.0, 3.9, "Ross", "one two .")]  # fmt: skip
    assert "1 main lines have no times" in caplog.text


@pytest.mark.parametrize(
    ("line", "said"), [("*CHI more", "no ':' after its speaker"), ("*CHI:\tx \x15500_500\x15", "500 to 500 ms")]
)
def test_a_broken_main_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    put(tmp_path / "a.cha", f"@Begin\n{line}\n@End\n")
    with pytest.raises(InputError, match=rf"a\.cha:2: .*{said}"):
        raw(tmp_path, "chat")


# Excel


def workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def test_a_workbook_is_read_with_its_sheets_as_splits(tmp_path: Path) -> None:
    for name in ("a", "1"):
        clip(tmp_path / f"{name}.wav")
    header: list[object] = ["Audio", "Text", "start", "end"]
    workbook(
        tmp_path / "corpus.xlsx",
        {
            "train": [header, ["a.wav", "kia ora", 1, 2.5], [], ["a.wav", 7, "0:03,5", datetime.time(0, 1, 2)]],
            "test": [header, [1, "x", None, None]],
            "notes": [["remember this"]],
        },
    )
    found = raw(tmp_path, "xlsx")
    assert [(u.split, u.start_s, u.end_s, u.text) for u in found] == [
        ("train", 1.0, 2.5, "kia ora"), ("train", 3.5, 62.0, "7"), ("test", None, None, "x")]  # fmt: skip
    assert [u.id for u in raw(tmp_path / "corpus.xlsx", "xlsx")] == [u.id for u in found]


def unused(root: Path, splits: dict) -> list[tuple[str, int]]:
    """Return what is left out, of a corpus of which some has a split."""
    reading = corpora.read_all([Source(root=root, splits=splits)], "mi")
    assert {u.split for u in reading.utterances} == {"train", "test"}
    return sorted((left.name, left.utterances) for left in reading.left_out)


PARTS = {"train": ("a",), "test": ("b",)}


def test_the_sheets_and_values_of_a_workbook_that_are_not_used_are_returned(tmp_path: Path) -> None:
    for name in "abc":
        clip(tmp_path / f"{name}.wav")
    sheets: dict[str, list[list[object]]] = {name: [["audio", "text"], [f"{name}.wav", "x"]] for name in "abc"}
    workbook(tmp_path / "sheets" / "t.xlsx", sheets)
    column: list[list[object]] = [["audio", "text", "split"], *([f"{name}.wav", "x", name] for name in "abcc")]
    column[-1][0] = "d.wav"
    workbook(tmp_path / "column" / "t.xlsx", {"all": column})
    assert unused(tmp_path / "sheets" / "t.xlsx", PARTS) == [("c", 1)]
    assert unused(tmp_path / "column" / "t.xlsx", PARTS) == [("c", 2)]


def test_the_folders_and_values_of_an_audio_folder_that_are_not_used_are_returned(tmp_path: Path) -> None:
    for name in "abc":
        clip(tmp_path / "folders" / name / f"{name}.wav")
        clip(tmp_path / "column" / f"{name}.wav")
    put(tmp_path / "folders" / "metadata.csv", "file_name,text\na/a.wav,x\nb/b.wav,x\nc/c.wav,x\n")
    put(tmp_path / "column" / "metadata.csv", "file_name,text,split\na.wav,x,a\nb.wav,x,b\nc.wav,x,c\n")
    assert unused(tmp_path / "folders", PARTS) == [("c", 1)]
    assert unused(tmp_path / "column", PARTS) == [("c", 1)]


def test_the_folders_of_texts_that_are_not_used_are_returned(tmp_path: Path) -> None:
    for name in "abc":
        clip(tmp_path / name / "1.wav")
        put(tmp_path / name / "1.txt", "x")
    assert unused(tmp_path, PARTS) == [("c", 1)]


def test_a_workbook_without_the_columns_is_named_with_its_sheet(tmp_path: Path) -> None:
    path = workbook(tmp_path / "c.xlsx", {"Sheet1": [["file", "Satz"], ["a.wav", "x"]]})
    with pytest.raises(InputError, match=r"c\.xlsx, sheet 'Sheet1':1: no column for text"):
        raw(path, "xlsx")
    assert raw(path, "xlsx", columns={"text": "Satz"})[0].text == "x"


def test_a_bad_row_of_a_workbook_is_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "c.xlsx", {"Sheet1": [["audio", "text", "start"], ["a.wav", "x", "soon"]]})
    with pytest.raises(InputError, match=r"c\.xlsx, sheet 'Sheet1':2: field 'start_s': must be a time .*'soon'"):
        raw(path, "xlsx")


def test_without_openpyxl_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "c.xlsx", {"Sheet1": [["audio", "text"], ["a.wav", "x"]]})
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"openpyxl is missing\. pip install 'asr-adapt\[xlsx\]'"):
        raw(path, "xlsx")


def rewritten(path: Path, name: str, content: bytes) -> Path:
    """Replace a member of a workbook."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in (members | {name: content}).items():
            archive.writestr(member, data)
    return path


def test_hostile_and_damaged_workbooks_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = workbook(tmp_path / "c.xlsx", {"Sheet1": [["audio", "text"], ["a.wav", "x"]]}).read_bytes()
    sheet = "xl/worksheets/sheet1.xml"
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><worksheet>&b;</worksheet>'
    cases = {
        "has a document type": rewritten(put(tmp_path / "1.xlsx", made), sheet, bomb),
        "cannot be read": rewritten(put(tmp_path / "2.xlsx", made), sheet, b"<worksheet><sheetData><row>"),
        "cannot be read as a workbook": put(tmp_path / "3.xlsx", made[: len(made) // 2]),
        "File is not a zip": put(tmp_path / "4.xlsx", b"not a zip"),
    }
    for said, path in cases.items():
        with pytest.raises(InputError, match=said):
            raw(path, "xlsx")
    monkeypatch.setattr("asr_adapt.corpora.readers.xlsx._MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"unpacks to .* GB\. Save the sheet as CSV"):
        raw(put(tmp_path / "5.xlsx", made), "xlsx")


# Tables


@pytest.mark.parametrize("times", ["1,5;2,5", "0:01.5;0:02.5", "00:00:01,5;00:00:02,5", "1.5;2.5"])
def test_decimal_commas_and_clock_times_in_a_table_are_seconds(tmp_path: Path, times: str) -> None:
    clip(tmp_path / "a.wav")
    put(tmp_path / "t.csv", f"audio;text;start;end\na.wav;x;{times}\n")
    (found,) = read(tmp_path, "table")
    assert (found.start_s, found.end_s) == (1.5, 2.5)


# What no reader knows


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "the folder is empty"),
        (["a.wav", "b.wav"], r"it has 2 \.wav\. The nearest is text_files; it lacks transcripts"),
        (["a.wav", "b.txt"], r"text_files; no \.txt has the name of a recording beside it: b\.txt and a\.wav"),
        (["a.txt"], "text_files; it lacks recordings"),
        (["wav.scp"], "kaldi|give that"),
        (["segments", "text"], r"The nearest is kaldi; it lacks wav\.scp"),
        (["one.csv", "two.csv"], r"table; of 2 tables none is named as a split .* give one of them, as .*one\.csv"),
        (["c/d/train.tsv"], r"it has 1 \.tsv\. The nearest is table: give the file, .*train\.tsv"),
        (["corpus/train.tsv", "readme.md"], r"Its folder 'corpus' is one \(common_voice\): give that"),
        (["clips.zip"], r"Unpack clips\.zip first"),
        (["a.wav", "all.docx"], r"all\.docx cannot be read\. Save it as plain text"),
        (["x/corpus.jsonl"], r"The nearest is manifest: give the file, .*x/corpus\.jsonl"),
        (["picture.png"], r"it has 1 \.png\. It lacks recordings and transcripts"),
    ],
)
def test_a_folder_that_no_reader_knows_is_told_what_it_lacks(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        put(tmp_path / "root" / name, "path\tsentence\n")
    (tmp_path / "root").mkdir(exist_ok=True)
    if "wav.scp" not in files:
        with pytest.raises(InputError, match=rf"no corpus of a known layout: .*{said}.*docs/corpora\.md"):
            corpora.read(tmp_path / "root", "mi")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.wav", r"it is a \.wav file\. Give the folder"),
        ("a.zip", r"it is a \.zip file\. Unpack it"),
        ("a.xls", r"it is a \.xls file\. Save it as \.xlsx or \.csv"),
        ("a.json", r"it is a \.json file\. The nearest are nemo and lhotse"),
        ("README", r"it is a file without a suffix\. A corpus in one file is"),
    ],
)
def test_a_file_that_no_reader_knows_is_told_what_to_do(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        corpora.read(put(tmp_path / name, "x"), "mi")


def test_each_reader_says_what_it_looks_for_and_knows_nothing_in_an_empty_folder(tmp_path: Path) -> None:
    for name, reader in READERS.items():
        assert reader.LAYOUT and not reader.recognises(tmp_path), name
    assert "the folder is empty" in str(unknown_layout(tmp_path))
