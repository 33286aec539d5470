"""Each reader on files written by the format's own library, and on the mistakes that real files have."""

import csv
import errno
import io
import resource
import sys
import tarfile
import types
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_adapt import audio, corpora
from asr_adapt.errors import AudioError, DiskFull, InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

RATE_HZ = 16_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield tmp_path / "cache"


def clip(path: Path, value: float = 0.1, seconds: float = 0.1) -> Path:
    """Write a recording whose samples all have one value, by which it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(seconds * RATE_HZ), value), RATE_HZ)
    return path


def rows_of(root: Path, **options: object) -> list[Utterance]:
    source = Source(root=root, **options)
    return corpora.read_all([source], "mi", allow_unsplit=True).utterances


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_spreadsheet_is_read_as_the_csv_module_wrote_it(tmp_path: Path, delimiter: str, encoding: str) -> None:
    said = ['He said "yes", twice', "a; b | c\td", "two\nlines", "plain"]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["File", "Sentence", "Speaker_ID", "split"])
    writer.writerows([f"{i}.wav", sentence, "s", "validation"] for i, sentence in enumerate(said))
    found = rows_of(put(tmp_path / "t.csv", text.getvalue().encode(encoding)))
    assert [u.text for u in found] == said
    assert {(u.split, u.speaker) for u in found} == {("dev", "s")}
    assert found[0].audio == str(tmp_path / "0.wav") and found[0].id == "0.wav"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"Quoted"', '"Quoted"'),
        ('She said "no', 'She said "no'),
        ('"say ""yes"""', 'say "yes"'),
        ('"a" or "b"', '"a" or "b"'),
        ("'t", "'t"),
    ],
)
def test_a_quotation_mark_in_a_tsv_is_text_unless_a_spreadsheet_put_it_there(
    tmp_path: Path, field: str, text: str
) -> None:
    found = rows_of(put(tmp_path / "t.tsv", f"audio\ttext\r\na.wav\t{field}\r\n"))
    assert [u.text for u in found] == [text]


def test_a_tsv_that_is_quoted_throughout_is_unquoted(tmp_path: Path) -> None:
    found = rows_of(put(tmp_path / "t.tsv", '"audio"\t"text"\n"a.wav"\t"x\ty"\n'))
    assert [u.text for u in found] == ["x\ty"]


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\r\n', "SEP=;\n"])
def test_the_separator_that_is_said_to_excel_is_taken_and_no_header(tmp_path: Path, first: str) -> None:
    path = put(tmp_path / "t.csv", first + "audio;text, that, was, said\na.wav;kia, ora\nb.wav\n")
    named = {"text": "text, that, was, said"}
    with pytest.raises(InputError, match=r"t\.csv:4: 1 columns where the header has 2"):
        rows_of(path, columns=named)
    with pytest.raises(InputError, match=r"t\.csv:2: no column for text"):
        rows_of(path)
    put(path, first + "audio;text, that, was, said\na.wav;kia, ora\n")
    assert [u.text for u in rows_of(path, columns=named)] == ["kia, ora"]


def test_a_table_of_common_voices_name_with_other_columns_can_be_read_as_a_table(tmp_path: Path) -> None:
    put(tmp_path / "train.tsv", "audio\ttext\na.wav\tx\n")
    with pytest.raises(InputError, match=r"train\.tsv:1: the header has no column path, sentence.*format table"):
        rows_of(tmp_path)
    assert [u.split for u in rows_of(tmp_path, format="table")] == ["train"]


def test_tables_named_as_splits_are_splits(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        put(tmp_path / f"{name}.csv", f"audio,text\n{name}.wav,x\n")
    assert {u.id: u.split for u in rows_of(tmp_path)} == {
        "train.wav": "train",
        "valid.wav": "dev",
        "test.wav": "test",
    }


def test_a_column_of_another_name_can_be_named_and_pieces_have_times(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", "audio,Satz,start,end\nlong.wav,x,1.5,2\nlong.wav,y,2,3\n")
    found = rows_of(tmp_path, columns={"text": "Satz"})
    assert [(u.text, u.start_s, u.end_s) for u in found] == [("x", 1.5, 2.0), ("y", 2.0, 3.0)]
    with pytest.raises(InputError, match=r"t\.csv:1: no column for text: the header is \['audio', 'Satz'"):
        rows_of(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.wav", "t.csv:2: 1 columns where the header has 4"),
        ("../a.wav,x,,", "t.csv:2: path '../a.wav' is not a file inside"),
        (",x,,", "t.csv:2: path ''"),
        ("a.wav,x,soon,", "t.csv:2: field 'start_s': .*'soon'"),
        ("a.wav,x,,other", "t.csv:2: split 'other' is none of train, dev, test"),
        ('a.wav,"x,,', "t.csv:2: not CSV"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows_of(put(tmp_path / "t.csv", f"audio,text,start,split\n{line}\n"))


# Recordings with a text beside each


def test_a_recording_and_the_text_beside_it_are_an_utterance(tmp_path: Path) -> None:
    for split, suffix in (("train", "WAV"), ("dev", "flac"), ("test", "ogg")):
        clip(tmp_path / split / "a.wav").rename(tmp_path / split / f"a.{suffix}")
        put(tmp_path / split / "a.txt", "\ufeffKia ora\r\nkoutou\r\n")
    clip(tmp_path / "train" / "no_text.wav")
    put(tmp_path / "README.txt", "no transcript")
    found = rows_of(tmp_path)
    assert [(u.id, u.split, u.text) for u in found] == [
        ("dev/a.flac", "dev", "Kia ora koutou"),
        ("test/a.ogg", "test", "Kia ora koutou"),
        ("train/a.WAV", "train", "Kia ora koutou"),
    ]


def test_the_innermost_folder_named_as_a_split_is_the_split(tmp_path: Path) -> None:
    for folder in ("ours/train/anna", "theirs/audio/train", "dev/train", "train/berta"):
        clip(tmp_path / "set" / folder / "a.wav")
        put(tmp_path / "set" / folder / "a.txt", "x")
    found = corpora.READERS["text_files"].read(tmp_path / "set", "mi", Source())
    assert [u.split for u in found] == ["train"] * 4


# What macOS leaves beside files


def with_doubles_of_macos(root: Path) -> Path:
    """Put a file of attributes beside each file, and copies of those where an archive of macOS has them."""
    for path in [path for path in root.rglob("*") if path.is_file()]:
        put(path.with_name(f"._{path.name}"), b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff")
        put(root / "__MACOSX" / path.relative_to(root).with_name(path.name), b"\x00\x05\x16\x07\xff")
    return root


def test_what_macos_puts_beside_files_is_no_part_of_a_corpus(tmp_path: Path) -> None:
    clip(tmp_path / "beside" / "train" / "a.wav")
    put(tmp_path / "beside" / "train" / "a.txt", "kia ora")
    put(tmp_path / "table" / "metadata.csv", "audio,text\na.wav,x\n")
    put(tmp_path / "libri" / "train-clean-5" / "1" / "2" / "1-2.trans.txt", "1-2-0 HE SAID\n")
    put(tmp_path / "mls" / "train" / "transcripts.txt", "1_2_3\tsie sagt\n")
    (tmp_path / "mls" / "train" / "audio").mkdir()
    put(tmp_path / "kaldi" / "train" / "wav.scp", "a a.wav\n")
    put(tmp_path / "kaldi" / "train" / "text", "a kia ora\n")
    textgrid(tmp_path / "praat" / "a.TextGrid", "long_textgrid", {"s": [(0, 1, "x")]})
    eaf(tmp_path / "elan" / "a.eaf", None).to_file(str(tmp_path / "elan" / "a.eaf"))
    for root in sorted(path for path in tmp_path.iterdir() if path.is_dir()):
        before = rows_of(root)
        assert rows_of(with_doubles_of_macos(root)) == before, root.name


def test_what_macos_puts_beside_parquet_files_is_no_data_set(tmp_path: Path, cache: Path) -> None:
    from datasets import Dataset

    rows = {"audio": [{"bytes": b"RIFF", "path": "a.wav"}], "text": ["kia ora"]}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "set" / "train.parquet"))
    before = rows_of(tmp_path / "set")
    assert rows_of(with_doubles_of_macos(tmp_path / "set")) == before
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1, "it is the same data set"


def test_an_elan_file_is_known_by_a_suffix_in_capitals(tmp_path: Path) -> None:
    eaf(tmp_path / "set" / "A.EAF", None).to_file(str(tmp_path / "set" / "A.EAF"))
    assert [u.text for u in rows_of(tmp_path / "set")] == ["kia ora", "tēnā koe"]


# Kaldi


def kaldi(folder: Path, **tables: str) -> Path:
    for name, content in tables.items():
        put(folder / ("wav.scp" if name == "wav_scp" else name), content)
    return folder


def test_a_kaldi_folder_has_pieces_speakers_and_paths_from_where_its_scripts_run(tmp_path: Path) -> None:
    clip(tmp_path / "audio" / "r1.wav")
    kaldi(
        tmp_path / "data" / "train_clean_5",
        wav_scp="r1 audio/r1.wav\r\nr2 flac -c -d -s /far/r2.flac |\r\n",
        segments="u1 r1 0.5 1.25\nu2 r2 3 -1\n",
        text="u1 kia  ora\nu2\n",
        utt2spk="u1 s1\nu2 s2\n",
    )
    found = rows_of(tmp_path / "data")
    assert [(u.id, u.split, u.start_s, u.end_s, u.speaker, u.text) for u in found] == [
        ("u1", "train", 0.5, 1.25, "s1", "kia  ora"),
        ("u2", "train", 3.0, None, "s2", ""),
    ]
    assert audio.load(tmp_path / "audio" / "r1.wav").size and Path(found[0].audio).is_file()
    assert found[1].audio == "/far/r2.flac"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"wav_scp": "a sph2pipe -f wav a.sph |\n", "text": "a x\n"},
            r"wav\.scp:1: the recording is a command's out",
        ),
        ({"wav_scp": "a rm -rf b |\n", "text": "a x\n"}, r"wav\.scp:1: .*'rm -rf b'"),
        ({"wav_scp": "a cat b | sox - c |\n", "text": "a x\n"}, r"wav\.scp:1: .*command"),
        ({"wav_scp": "a b.wav\n", "text": "c x\n"}, r"text:1: recording 'c' is not in wav\.scp"),
        ({"wav_scp": "a b.wav\n", "text": "a x\n", "segments": "a b 1\n"}, "segments:1: 3 columns where .* 4"),
        ({"wav_scp": "a b.wav\n", "text": "a x\n", "segments": "a b 1 2\n"}, "segments:1: recording 'b' is not in"),
        ({"wav_scp": "a b.wav\na c.wav\n", "text": "a x\n"}, r"wav\.scp:2: 'a' occurs twice"),
        ({"wav_scp": "a b.wav\n"}, "text: is missing"),
    ],
)
def test_a_kaldi_folder_that_is_broken_is_named_with_its_line(tmp_path: Path, tables: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows_of(kaldi(tmp_path, **tables))


# LibriSpeech and MLS


def test_librispeechs_tree_is_read(tmp_path: Path) -> None:
    root = tmp_path / "LibriSpeech"
    for part in ("train-clean-100", "dev-other", "test-clean"):
        number = len(part)
        folder = root / part / f"{number}" / "7"
        clip(folder / f"{number}-7-0000.flac")
        put(folder / f"{number}-7.trans.txt", f"{number}-7-0000 HE SAID\r\n")
    found = rows_of(root)
    assert {(u.id, u.split, u.speaker, u.text) for u in found} == {
        ("15-7-0000", "train", "15", "HE SAID"), ("9-7-0000", "dev", "9", "HE SAID"),
        ("10-7-0000", "test", "10", "HE SAID")}  # fmt: skip
    assert all(Path(u.audio).is_file() for u in found)
    assert rows_of(root / "dev-other")[0].split == "dev"


@pytest.mark.parametrize("suffix", ["flac", "opus"])
def test_mlss_tree_is_read(tmp_path: Path, suffix: str) -> None:
    for part in ("train", "dev", "test"):
        put(tmp_path / part / "audio" / "4" / "9" / f"4_9_{part}.{suffix}", b"x")
        put(tmp_path / part / "transcripts.txt", f"4_9_{part}\twer ist's\n")
    found = rows_of(tmp_path)
    assert [(u.id, u.split, u.speaker) for u in found] == [
        ("4_9_dev", "dev", "4"), ("4_9_test", "test", "4"), ("4_9_train", "train", "4")]  # fmt: skip
    assert all(Path(u.audio).is_file() and u.text == "wer ist's" for u in found)


# ELAN


def eaf(path: Path, media: str | None, relative: str | None = None) -> "object":
    from pympi import Eaf

    made = Eaf(author="t")
    made.add_linguistic_type("utterance")
    made.add_linguistic_type("word", constraints="Symbolic_Subdivision", timealignable=False)
    for speaker in ("A", "B"):
        made.add_tier(f"tx@{speaker}", ling="utterance", part=None if speaker == "B" else "Aroha")
    made.add_annotation("tx@A", 1000, 2500, "kia ora")
    made.add_annotation("tx@A", 2500, 3000, "")
    made.add_annotation("tx@B", 2000, 3500, "tēnā koe ")
    if media:
        made.add_linked_file(media, relpath=relative, mimetype="audio/x-wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    return made


def test_an_elan_file_gives_each_speakers_annotations_and_leaves_the_recording_whole(tmp_path: Path) -> None:
    clip(tmp_path / "media" / "long one.wav", seconds=4)
    made = eaf(tmp_path / "ann" / "a.eaf", "file:///C:/gone/long%20one.wav", "../media/long%20one.wav")
    made.to_file(str(tmp_path / "ann" / "a.eaf"))
    found = rows_of(tmp_path / "ann")
    assert [(u.start_s, u.end_s, u.speaker, u.text) for u in found] == [
        (1.0, 2.5, "Aroha", "kia ora"), (2.0, 3.5, "B", "tēnā koe")]  # fmt: skip
    assert [u.id.partition("#")[0] for u in found] == ["a.eaf", "a.eaf"]
    piece = audio.load(found[0].audio, start_s=found[0].start_s, end_s=found[0].end_s)
    assert len(piece) == 1.5 * RATE_HZ


def test_two_hours_are_read_without_a_copy_of_their_audio(tmp_path: Path, cache: Path) -> None:
    from pympi import Eaf

    hours, rate_hz = 2, 8_000
    with wave.open(str(tmp_path / "field.wav"), "wb") as recording:
        recording.setparams((1, 2, rate_hz, 0, "NONE", ""))
        silence = bytes(2 * 60 * rate_hz)
        for _ in range(hours * 60 - 1):
            recording.writeframesraw(silence)
        recording.writeframes(b"\x00\x20" * 60 * rate_hz)  # the last minute: a quarter of full scale
    made = Eaf(author="t")
    for start_ms in range(0, hours * 3_600_000, 6_000):
        made.add_annotation("default", start_ms, start_ms + 5_000, f"phrase {start_ms}")
    made.add_linked_file("file:///elsewhere/field.wav", relpath="./field.wav", mimetype="audio/x-wav")
    made.to_file(str(tmp_path / "field.eaf"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    found = rows_of(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "nothing is written"
    assert not cache.exists()
    assert len(found) == hours * 600 and {u.audio for u in found} == {str(tmp_path / "field.wav")}
    assert (found[-1].start_s, found[-1].end_s) == (7194.0, 7199.0)
    piece = audio.load(found[-1].audio, start_s=found[-1].start_s, end_s=found[-1].end_s)
    assert len(piece) == 5 * RATE_HZ and np.allclose(piece, 0.25, atol=1e-3)
    assert not audio.load(found[0].audio, start_s=0, end_s=5).any()


def test_words_below_a_sentence_are_put_together_again(tmp_path: Path) -> None:
    made = eaf(tmp_path / "a.eaf", None)
    made.add_tier("w@A", ling="word", parent="tx@A")
    made.add_ref_annotation("w@A", "tx@A", 1500, "kia")
    previous = next(iter(made.tiers["w@A"][1]))
    made.add_ref_annotation("w@A", "tx@A", 1500, "ora", prev=previous)
    made.to_file(str(tmp_path / "a.eaf"))
    for wanted in ("w", "w@A", "word"):
        assert [(u.start_s, u.end_s, u.text) for u in rows_of(tmp_path, tiers=[wanted])] == [(1.0, 2.5, "kia ora")]


def test_tiers_of_two_types_have_to_be_named(tmp_path: Path) -> None:
    made = eaf(tmp_path / "a.eaf", None)
    made.add_linguistic_type("note")
    made.add_tier("remarks", ling="note")
    made.add_annotation("remarks", 0, 500, "door")
    made.to_file(str(tmp_path / "a.eaf"))
    with pytest.raises(
        InputError, match=r"several tiers may hold .*'tx@A' \(utterance, 1 annotations\), .*'remarks'"
    ):
        rows_of(tmp_path)
    with pytest.raises(InputError, match=r"no tier is 'words'.*'remarks'"):
        rows_of(tmp_path, tiers=["words"])
    assert len(rows_of(tmp_path, tiers=["utterance"])) == 2


def test_a_recording_that_is_gone_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    eaf(tmp_path / "a.eaf", "file:///D:/x/gone.wav", "./gone.wav").to_file(str(tmp_path / "a.eaf"))
    (first, _) = rows_of(tmp_path)
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be opened"):
        audio.load(first.audio)


def test_the_media_offset_is_added(tmp_path: Path) -> None:
    clip(tmp_path / "a.wav")
    made = eaf(tmp_path / "a.eaf", "file:///a.wav", "a.wav")
    made.media_descriptors[0]["TIME_ORIGIN"] = "500"
    made.to_file(str(tmp_path / "a.eaf"))
    assert [u.start_s for u in rows_of(tmp_path)] == [1.5, 2.5]


@pytest.mark.parametrize("content", ["", "<ANNOTATION_DOCUMENT>", "<a/>"])
def test_a_damaged_elan_file_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"a\.eaf: cannot be read as ELAN"):
        rows_of(put(tmp_path / "a.eaf", content))


# Praat


def textgrid(path: Path, form: str, tiers: dict[str, list[tuple[float, float, str]]]) -> Path:
    from praatio import textgrid as praat

    grid = praat.Textgrid()
    for name, entries in tiers.items():
        grid.addTier(praat.IntervalTier(name, entries, 0, 5))
    grid.addTier(praat.PointTier("points", [(0.5, "x")], 0, 5))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(str(path), format=form, includeBlankSpaces=True)
    return path


@pytest.mark.parametrize("form", ["short_textgrid", "long_textgrid"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_textgrid_is_read_in_both_forms_and_any_encoding(
    tmp_path: Path, form: str, encoding: str, newline: str
) -> None:
    path = textgrid(tmp_path / "a.TextGrid", form, {"s": [(0.25, 1.5, 'é "ä"'), (1.5, 2, " "), (2, 3, "ora")]})
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", newline).encode(encoding))
    clip(tmp_path / "a.wav")
    found = rows_of(tmp_path)
    assert [(u.start_s, u.end_s, u.text) for u in found] == [(0.25, 1.5, 'é "ä"'), (2.0, 3.0, "ora")]
    assert {u.audio for u in found} == {str(tmp_path / "a.wav")}


def test_several_chosen_tiers_of_a_textgrid_are_speakers(tmp_path: Path) -> None:
    textgrid(tmp_path / "a.TextGrid", "long_textgrid", {"Ani": [(0, 1, "x")], "Hemi": [(0.5, 2, "y")]})
    with pytest.raises(InputError, match=r"several tiers may hold the transcript.*'Ani'.*'Hemi'"):
        rows_of(tmp_path)
    assert [(u.speaker, u.text) for u in rows_of(tmp_path, tiers=["Ani", "Hemi"])] == [("Ani", "x"), ("Hemi", "y")]


def test_a_tier_that_is_misspelt_is_no_silence(tmp_path: Path) -> None:
    textgrid(tmp_path / "a.TextGrid", "long_textgrid", {"Ani": [(0, 1, "x")], "Hemi": [(0.5, 2, "y")]})
    with pytest.raises(InputError, match="no tier is 'Heni'"):
        rows_of(tmp_path, tiers=["Ani", "Heni"])


def test_a_damaged_textgrid_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.TextGrid: cannot be read as a TextGrid"):
        rows_of(put(tmp_path / "a.TextGrid", 'File type = "ooTextFile"\nxmin = zero'))


def test_annotations_of_two_kinds_have_to_be_chosen_from(tmp_path: Path) -> None:
    eaf(tmp_path / "a.eaf", None).to_file(str(tmp_path / "a.eaf"))
    textgrid(tmp_path / "a.TextGrid", "long_textgrid", {"s": [(0, 1, "x")]})
    with pytest.raises(InputError, match="may be read as elan or praat"):
        rows_of(tmp_path)
    assert len(rows_of(tmp_path, format="praat")) == 1


# Common Voice's archive


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_common_voice_is_read_from_its_archive_which_is_unpacked_once(tmp_path: Path, cache: Path) -> None:
    wav = clip(tmp_path / "a.wav", seconds=0.5).read_bytes()
    table = b"client_id\tpath\tsentence\ns\ta.wav\tkia ora\n"
    top = "cv-corpus-27.0-2026-09-09/mi"
    members = {f"{top}/clips/a.wav": wav, f"{top}/train.tsv": table, f"{top}/../../evil.tsv": b"x", "README": b"x"}
    packed = archive(tmp_path / "cv.tar.gz", members)
    before = packed.read_bytes()
    (found,) = rows_of(packed)
    assert (found.id, found.split, found.text) == ("a.wav", "train", "kia ora")
    assert len(audio.load(found.audio)) == 0.5 * RATE_HZ
    assert packed.read_bytes() == before
    unpacked = Path(found.audio).stat().st_mtime_ns
    assert rows_of(packed) == [found] and Path(found.audio).stat().st_mtime_ns == unpacked
    assert not list(tmp_path.rglob("evil.tsv"))


def test_an_archive_that_is_cut_short_is_named_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    packed = archive(tmp_path / "cv.tar.gz", {"mi/clips/a.wav": noise, "mi/train.tsv": b"path\tsentence\n"})
    packed.write_bytes(packed.read_bytes()[:50_000])
    with pytest.raises(InputError, match=r"cv\.tar\.gz: cannot be unpacked"):
        rows_of(packed)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds none of Common Voice's tables"):
        rows_of(archive(tmp_path / "x.tar.gz", {"a/b.txt": b"x"}))


# The Mozilla Data Collective's client


def client(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[str]:
    """Put a stand-in for the client where it would be; return the IDs that it was asked for."""
    asked: list[str] = []

    def download_dataset(dataset_id: str) -> Path:
        asked.append(dataset_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = types.ModuleType("datacollective")
    module.download_dataset = download_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datacollective", module)
    return asked


def test_common_voice_is_fetched_by_its_id_once_and_needs_neither_network_nor_archive_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wav = clip(tmp_path / "a.wav", seconds=0.5).read_bytes()
    members = {"cv/mi/clips/a.wav": wav, "cv/mi/train.tsv": b"client_id\tpath\tsentence\ns\ta.wav\tkia ora\n"}
    packed = archive(tmp_path / "cv.tar.gz", members)
    asked = client(monkeypatch, packed)
    (found,) = rows_of(Path("cmj8u3p1"), format="data_collective")
    assert (found.id, found.split, found.speaker, found.text) == ("a.wav", "train", "s", "kia ora")
    packed.unlink()
    assert rows_of(Path("cmj8u3p1"), format="data_collective") == [found] and asked == ["cmj8u3p1"]
    assert len(audio.load(found.audio)) == 0.5 * RATE_HZ


def test_what_the_client_refuses_is_one_line_and_is_asked_for_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = client(monkeypatch, PermissionError("Access denied:\n  terms"))
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"^x1: cannot be fetched \(PermissionError: Access denied: terms\)\. Is MDC_API"
        ):
            rows_of(Path("x1"), format="data_collective")
    assert asked == ["x1", "x1"]


def test_a_data_set_of_the_collective_that_is_not_common_voice_is_named_with_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(monkeypatch, archive(tmp_path / "other.tar.gz", {"a/b.txt": b"x"}))
    with pytest.raises(InputError, match=r"other\.tar\.gz: holds none of Common Voice's tables\. Unpack it"):
        rows_of(Path("x2"), format="data_collective")


def test_without_the_client_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datacollective", None)
    with pytest.raises(InputError, match=r"datacollective.* is missing\. pip install 'asr-adapt\[collective\]'"):
        rows_of(Path("x3"), format="data_collective")


# The cache


@contextmanager
def little_room() -> Iterator[None]:
    """Let no file grow beyond 1 MiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def large_corpus(tmp_path: Path, kind: str) -> Path:
    """Write a corpus with a clip of 2 MiB that does not get smaller by packing."""
    from datasets import Dataset

    noise = np.random.default_rng(0).bytes(2 << 20)
    if kind == "common_voice":
        return archive(
            tmp_path / "cv.tar.gz", {"mi/clips/a.wav": noise, "mi/train.tsv": b"path\tsentence\na.wav\tx\n"}
        )
    data = Dataset.from_dict({"audio": [{"bytes": noise, "path": "a.wav"}], "text": ["x"]})
    (tmp_path / "set").mkdir()
    if kind == "saved":
        data.save_to_disk(str(tmp_path / "set"))
    else:
        data.to_parquet(str(tmp_path / "set" / "train.parquet"))
    return tmp_path / "set"


@pytest.mark.parametrize("kind", ["common_voice", "saved", "parquet"])
def test_a_disk_without_room_is_said_to_be_full_and_nothing_is_left_of_the_half(
    tmp_path: Path, cache: Path, kind: str
) -> None:
    root = large_corpus(tmp_path, kind)
    with (
        little_room(),
        pytest.raises(DiskFull, match=r"cache: cannot be written: .* Make room, or set ASR_ADAPT_CACHE"),
    ):
        rows_of(root)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    assert len(rows_of(root)) == 1


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive(tmp_path / "cv.tar.gz", {"mi/train.tsv": b"path\tsentence\na.wav\tx\n"})
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(put(tmp_path / "file", "") / "cache"))
    with pytest.raises(
        InputError, match=r"file/cache: the cache cannot be written \(Not a dir.* Set ASR_ADAPT_CACHE"
    ):
        rows_of(packed)


def test_what_stands_in_the_cache_is_read_without_writing_there(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = archive(tmp_path / "cv.tar.gz", {"mi/train.tsv": b"path\tsentence\na.wav\tx\n"})
    found = rows_of(packed)
    for lock in cache.glob("*.lock"):
        lock.unlink()
        lock.mkdir()  # what even root cannot write to
    assert rows_of(packed) == found


def test_what_the_client_finds_no_room_for_is_to_go_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    client(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFull, match=r"x4: cannot be written: the disk is full.*MDC_DOWNLOAD_PATH"):
        rows_of(Path("x4"), format="data_collective")


def test_what_the_hub_gives_and_finds_no_room_is_to_go_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def full(*arguments: object, **named: object) -> None:
        raise datasets.exceptions.DatasetGenerationError("while generating") from OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(datasets, "load_dataset", full)
    with pytest.raises(DiskFull, match=r"cannot be written: the disk is full.*HF_HOME"):
        rows_of(Path("some/body"), format="hugging_face")


# The datasets library


@pytest.mark.parametrize("kind", ["saved", "parquet", "arrow", "paths"])
def test_a_data_set_gives_its_audio_as_it_is(tmp_path: Path, kind: str) -> None:
    from datasets import Audio, Dataset, DatasetDict, Features, Value

    held_as = {"bytes": Value("binary"), "path": Value("string")}
    shape = Features({"id": Value("int64"), "audio": held_as, "transcription": Value("string"),
                      "speaker_id": Value("int64")})  # fmt: skip
    root = tmp_path / "set"
    parts = {}
    for number, split in enumerate(("train", "validation", "test")):
        wav = clip(tmp_path / f"{split}.wav", value=0.1 * number)
        held = {"bytes": None if kind == "paths" else wav.read_bytes(), "path": str(wav)}
        row = {"id": [7, 7], "audio": [held] * 2, "transcription": ["kia ora", None], "speaker_id": [3, None]}
        parts[split] = Dataset.from_dict(row, features=shape).cast_column("audio", Audio(16_000))
    root.mkdir()
    if kind in {"saved", "paths"}:
        DatasetDict(parts).save_to_disk(str(root))
    for split, part in parts.items():
        if kind == "parquet":
            part.to_parquet(str(root / f"{split}-00000-of-00001.parquet"))
        if kind == "arrow":
            (root / split).mkdir()
            part.save_to_disk(str(tmp_path / "one"))
            next((tmp_path / "one").glob("*.arrow")).rename(root / split / "data.arrow")
    found = rows_of(root)
    assert [(u.split, u.speaker, u.text) for u in found[:2]] == [("train", "3", "kia ora"), ("train", None, "")]
    assert [u.split for u in found[2:]] == ["dev", "dev", "test", "test"]
    for number, utterance in enumerate(found[::2]):
        assert np.allclose(audio.load(utterance.audio), 0.1 * number, atol=1e-4)
    assert rows_of(root) == found


def test_clips_beside_a_parquet_file_are_sought_beside_it(tmp_path: Path) -> None:
    from datasets import Dataset

    clip(tmp_path / "clips" / "a.wav")
    rows = {"audio": [{"bytes": None, "path": "clips/a.wav"}], "text": ["kia ora"]}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "train.parquet"))
    for root in (tmp_path / "train.parquet", tmp_path):
        (found,) = rows_of(root)
        assert found.audio == str(tmp_path / "clips" / "a.wav")


def test_a_clip_of_a_data_set_above_the_limit_is_refused_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    from datasets import Dataset

    rows = {"audio": [{"bytes": bytes(size), "path": "a.wav"} for size in (1000, 3000)], "text": ["x", "y"]}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "set" / "train.parquet"))
    with pytest.raises(InputError, match=r"train, row 1: has 0 MB, more than 0\.002 MB. .*corpus\.max_clip_mb"):
        rows_of(tmp_path / "set", max_clip_mb=0.002)
    assert not list(cache.rglob("*.wav"))


def test_a_data_set_that_is_all_train_brings_no_splits(tmp_path: Path) -> None:
    from datasets import Dataset

    wav = clip(tmp_path / "a.wav").read_bytes()
    rows = {"audio": [{"bytes": wav, "path": "a.wav"}] * 20, "sentence": ["x"] * 20}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "d" / "train.parquet"))
    assert {u.split for u in rows_of(tmp_path / "d")} == {"train", "dev", "test"}


@pytest.mark.parametrize("value", [[0.5, 0.25], 7])
def test_a_column_of_a_data_set_that_holds_no_audio_files_is_named(tmp_path: Path, value: object) -> None:
    from datasets import Dataset

    Dataset.from_dict({"audio": [value], "text": ["x"]}).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=r", train: column 'audio' holds no audio files, but .*Name the one"):
        rows_of(tmp_path)


@pytest.mark.parametrize("field", ["id", "split", "start_s", "end_s", "duration_s", "nothing"])
def test_a_column_that_is_not_read_from_a_data_set_is_refused(tmp_path: Path, field: str) -> None:
    from datasets import Dataset

    rows = {"audio": [{"bytes": b"RIFF", "path": "a.wav"}], "text": ["x"], "n": ["1"]}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=rf"corpus\.columns: '{field}' is not read from a data set's column\. Of"):
        rows_of(tmp_path, columns={field: "n"})


def test_a_data_set_of_the_hub_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody/nothing: cannot be loaded as a data set"):
        rows_of(Path("nobody/nothing"), format="hugging_face", subset="mi_nz")


@pytest.mark.parametrize("revision", [None, "refs/convert/parquet"])
def test_fleurs_is_read_from_its_parquet_revision_and_no_language_but_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    import datasets

    for subset in ("mi_nz", "de_de"):
        for split in ("train", "validation", "test"):
            rows = {"audio": [{"bytes": b"RIFF", "path": "1.wav"}], "transcription": [f"{subset} {split}"]}
            made = datasets.Dataset.from_dict(rows)
            (tmp_path / "hub" / subset / split).mkdir(parents=True)
            made.to_parquet(str(tmp_path / "hub" / subset / split / "0000.parquet"))
    load = datasets.load_dataset

    def hub(name: str, *arguments: object, revision: str | None = None, **named: object) -> object:
        """Answer as the Hub does: its main branch is a script, and the conversion is a tree of Parquet files."""
        assert name == "google/fleurs"
        if revision != "refs/convert/parquet":
            raise RuntimeError("Dataset scripts are no longer supported, but found fleurs.py")
        return load(str(tmp_path / "hub"), *arguments, cache_dir=str(tmp_path / "arrow"), **named)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    found = rows_of(Path("google/fleurs"), format="hugging_face", subset="mi_nz", revision=revision)
    assert [(u.split, u.text) for u in found] == [
        ("train", "mi_nz train"), ("dev", "mi_nz validation"), ("test", "mi_nz test")]  # fmt: skip
