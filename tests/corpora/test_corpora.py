"""Corpora: which format a folder is, splits, leaks, and several corpora read together."""

from pathlib import Path
from typing import get_args

import pytest

from asr_adapt import corpora
from asr_adapt.errors import InputError
from asr_adapt.recipe import Corpus, Format, Recipe, Source
from asr_adapt.records import SPLITS, Utterance


def table(root: Path, name: str, *rows: str, header: str = "client_id\tpath\tsentence\tlocale") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{name}.tsv").write_bytes("\n".join((header, *rows)).encode())
    return root


def test_common_voices_tables_keep_their_splits_and_their_sentences_as_they_are(tmp_path: Path) -> None:
    root = table(tmp_path / "cv", "train", 's1\ta.mp3\t"Quoted" and \u2028 odd\tmi\r', "", "s2\tb.mp3\tTwo\tmi\r")
    table(root, "test", "s3\tc.mp3\tThree\tmi")
    table(root, "dev", "s4\td.mp3\tFour\tmi")
    found = corpora.read(root, "mi")
    assert [(u.id, u.split, u.speaker) for u in found] == [
        ("a.mp3", "train", "s1"),
        ("b.mp3", "train", "s2"),
        ("d.mp3", "dev", "s4"),
        ("c.mp3", "test", "s3"),
    ]
    assert found[0].text == '"Quoted" and \u2028 odd'
    assert found[0].audio == str(root / "clips" / "a.mp3")


def test_a_byte_order_mark_and_crlf_are_no_part_of_the_table(tmp_path: Path) -> None:
    root = table(tmp_path / "cv", "train", "s1\ta.mp3\tOne\tmi\r", header="\ufeffclient_id\tpath\tsentence\tlocale\r")
    assert [(u.speaker, u.text, u.language) for u in corpora.read(root, "xx")] == [("s1", "One", "mi")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("s1\ta.mp3", r"train\.tsv:2: 2 columns where the header has 4"),
        ("s1\ta.mp3\ta tab\tinside\tmi", r"train\.tsv:2: 5 columns where the header has 4"),
        ("s1\t../../etc/passwd\tx\tmi", r"train\.tsv:2: path '../../etc/passwd' is not a file inside "),
        ("s1\t/etc/passwd\tx\tmi", r"train\.tsv:2: path '/etc/passwd'"),
        ("s1\t\tx\tmi", r"train\.tsv:2: path ''"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        corpora.read(table(tmp_path / "cv", "train", row), "mi")


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.tsv:1: the header has no column sentence"):
        corpora.read(table(tmp_path / "cv", "train", header="client_id\tpath\ttext"), "mi")


def test_a_clip_in_two_splits_is_refused(tmp_path: Path) -> None:
    root = table(tmp_path / "cv", "train", "s\ta.mp3\tx\tmi")
    table(root, "test", "s\ta.mp3\tx\tmi")
    with pytest.raises(InputError, match=r"ids occur twice, the first is 'a\.mp3'"):
        corpora.read(root, "mi")


def test_splits_are_made_by_speaker_where_there_are_enough(tmp_path: Path) -> None:
    rows = [f"s{i % 10}\t{i}.mp3\ttext {i}\tmi" for i in range(100)]
    found = corpora.read(table(tmp_path / "cv", "validated", *rows), "mi")
    speakers = {split: {u.speaker for u in found if u.split == split} for split in ("train", "dev", "test")}
    assert len(found) == 100 and all(speakers.values())
    assert not speakers["train"] & speakers["dev"] and not speakers["train"] & speakers["test"]
    assert not speakers["dev"] & speakers["test"]
    assert corpora.read(tmp_path / "cv", "mi") == found


def test_splits_are_made_by_recording_where_speakers_are_few() -> None:
    pieces = [
        Utterance(id=f"{i}", audio=f"{i // 4}.wav", start_s=i % 4, end_s=i % 4 + 1, text="x", speaker="one")
        for i in range(80)
    ]
    found = corpora.with_splits(pieces)
    by_recording = {u.audio: {v.split for v in found if v.audio == u.audio} for u in found}
    assert all(len(splits) == 1 for splits in by_recording.values())
    counts = [sum(u.split == split for u in found) for split in ("train", "dev", "test")]
    assert counts == [64, 8, 8]


@pytest.mark.parametrize("sizes", [(1, 1, 1000), (2, 3, 100), (1, 1, 1, 50, 50), (40, 40, 40), (1,) * 30 + (70,)])
def test_uneven_recordings_fill_dev_and_test_alike_and_train_keeps_the_largest(sizes: tuple[int, ...]) -> None:
    pieces = [
        Utterance(id=f"{number}-{i}", audio=f"{number}.wav", start_s=i, end_s=i + 1)
        for number, size in enumerate(sizes)
        for i in range(size)
    ]
    found = corpora.with_splits(pieces)
    counts = {split: sum(u.split == split for u in found) for split in ("train", "dev", "test")}
    assert all(counts.values()) and sum(counts.values()) == sum(sizes)
    assert counts["train"] == max(counts.values())


def test_one_recording_is_cut_in_time() -> None:
    pieces = [Utterance(id=f"{i}", audio="a.wav", start_s=99 - i, end_s=100 - i) for i in range(100)]
    found = corpora.with_splits(pieces)
    assert [u.id for u in found] == [u.id for u in pieces]
    said = {split: sorted(u.start_s or 0.0 for u in found if u.split == split) for split in SPLITS}
    assert [len(times) for times in said.values()] == [80, 10, 10]
    assert said["train"][-1] < said["dev"][0] and said["dev"][-1] < said["test"][0]


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = table(tmp_path / "cv", "train")
    (root / "train.tsv").write_bytes("client_id\tpath\tsentence\ns\ta.mp3\té\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"train\.tsv:2: not UTF-8"):
        corpora.read(root, "mi")


def test_some_with_and_some_without_a_split_are_refused() -> None:
    utterances = [Utterance(id="a", audio="a", split="train"), Utterance(id="b", audio="b")]
    with pytest.raises(InputError, match="1 of 2 utterances have no split, the first is 'b'"):
        corpora.with_splits(utterances)


def test_too_little_to_split_is_refused() -> None:
    with pytest.raises(InputError, match="2 utterances are too few"):
        corpora.with_splits([Utterance(id=name, audio=name) for name in "ab"])


def test_a_manifest_is_read_beside_its_audio(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('\ufeff{"id": "a", "audio": "x/a.wav", "text": "Ā", "split": "dev"}\n\n', encoding="utf-8")
    (found,) = corpora.read(manifest, "mi")
    assert (found.audio, found.text, found.language) == (str(tmp_path / "x/a.wav"), "Ā", "mi")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{not json", r"m\.jsonl:1: not JSON"),
        ('{"id": "a", "audio": "a.wav", "txt": "x"}', r"m\.jsonl:1: field 'txt'"),
        ('{"id": "a", "audio": "a.wav"}', r"m\.jsonl:1: field 'text' is missing"),
        ('{"id": "a", "audio": "../a.wav", "text": "x"}', r"m\.jsonl:1: path .*a\.wav. is not a file inside"),
        ('{"id": "a", "audio": "a.wav", "text": "x", "start_s": -1}', r"m\.jsonl:1: field 'start_s'.*-1"),
        ('{"id": "a", "audio": "a.wav", "text": "x", "end_s": Infinity}', r"m\.jsonl:1: field 'end_s'.*finite.*inf"),
        ('{"id": "a", "audio": "a.wav", "text": "\\ud800"}', r"m\.jsonl:1: not JSON"),
        ('{"id": "", "audio": "a.wav", "text": "x"}', r"m\.jsonl:1: field 'id'"),
    ],
)
def test_a_bad_line_of_a_manifest_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(InputError, match=said):
        corpora.read(tmp_path / "m.jsonl", "mi")


def test_the_third_line_of_a_manifest_is_named_as_the_third(tmp_path: Path) -> None:
    good = '{"id": "a", "audio": "a.wav", "text": "x"}'
    (tmp_path / "m.jsonl").write_text(f"{good}\n\n{{\n")
    with pytest.raises(InputError, match=r"m\.jsonl:3: not JSON"):
        corpora.read(tmp_path / "m.jsonl", "mi")


def test_columns_that_are_empty_beyond_the_header_do_no_harm(tmp_path: Path) -> None:
    (found,) = corpora.read(table(tmp_path / "cv", "train", "s\ta.mp3\tx\tmi\t\t"), "mi")
    assert found.text == "x"


def test_no_corpus_and_an_unknown_layout_are_two_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such corpus"):
        corpora.read(tmp_path / "nowhere", "mi")
    with pytest.raises(InputError, match="no corpus of a known layout"):
        corpora.read(tmp_path, "mi")


def test_a_recording_and_a_sentence_in_two_splits_are_leaks() -> None:
    utterances = [
        Utterance(id="1", audio="a.wav", split="train", text="X"),
        Utterance(id="2", audio="a.wav", split="test", text="y"),
        Utterance(id="3", audio="b.wav", split="dev", text="x"),
        Utterance(id="4", audio="c.wav", split="dev", text="z"),
        Utterance(id="5", audio="d.wav", split="dev", text="z"),
    ]
    found = corpora.leaks(utterances, ["x", "y", "x", "z", "z"])
    assert {(leak.kind, leak.value, leak.splits) for leak in found} == {
        ("recording", "a.wav", ("train", "test")),
        ("sentence", "x", ("train", "dev")),
    }


def test_every_reader_has_its_name_in_a_recipe() -> None:
    assert get_args(Format) == tuple(corpora.READERS)


def test_several_corpora_are_read_as_one_and_each_keeps_its_splits_and_its_speakers(tmp_path: Path) -> None:
    first = table(tmp_path / "one" / "cv", "train", "s\ta.mp3\tx\tmi")
    second = table(tmp_path / "two" / "cv", "validated", *(f"s\t{i}.mp3\tx\tmi" for i in range(10)))
    recipe = Recipe(language="mi", corpus=Corpus(root=first), corpora=(Source(root=second),))
    found = corpora.read_all(corpora.sources(recipe), "mi")
    assert {(u.id, u.split, u.speaker) for u in found.utterances} >= {("cv-1/a.mp3", "train", "cv-1/s")}
    assert {u.split for u in found.utterances if u.speaker == "cv-2/s"} == {"train", "dev", "test"}
    assert found.notes == (
        f"{first}: common_voice, 1 utterances: train 1",
        f"{second}: common_voice, 10 utterances, split by recording: train 8, dev 1, test 1",
    )


def test_the_folder_that_one_works_in_has_its_name_before_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path / "one", "train", "s\ta.mp3\tx\tmi")
    table(tmp_path / "two", "train", "s\ta.mp3\tx\tmi")
    monkeypatch.chdir(tmp_path / "one")
    found = corpora.read_all([Source(root=Path()), Source(root=Path("../two"))], "mi")
    assert [(u.id, u.speaker) for u in found.utterances] == [("one/a.mp3", "one/s"), ("two/a.mp3", "two/s")]


def test_a_recipe_without_a_corpus_is_refused() -> None:
    with pytest.raises(InputError, match=r"corpus\.root: no corpus was named"):
        corpora.sources(Recipe(language="mi"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_utf16_is_read(tmp_path: Path, encoding: str) -> None:
    root = table(tmp_path / "cv", "train")
    (root / "train.tsv").write_bytes("path\tsentence\r\na.mp3\tĀ\r\n".encode(encoding))
    assert [u.text for u in corpora.read(root, "mi")] == ["Ā"]


def test_a_file_name_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    for suffix in ("wav", "txt"):
        (tmp_path / f"a\udcff.{suffix}").write_bytes(b"x")
    with pytest.raises(InputError, match=r"field 'id': .*Rename the file"):
        corpora.read(tmp_path, "mi")


def test_utterances_share_what_pydantic_keeps_of_each() -> None:
    one, two, three = (Utterance(id=name, audio="a.wav") for name in "abc")
    assert one.model_fields_set is two.model_fields_set
    copy = three.model_copy(update={"split": "dev"})
    assert copy.model_fields_set == {"id", "audio", "split"} and three.model_fields_set == {"id", "audio"}
    assert copy.model_fields_set is Utterance(id="d", audio="b.wav", split="test").model_fields_set
    assert one == Utterance(id="a", audio="a.wav") != two


def test_kaldis_tables_may_be_in_any_order_and_a_name_may_not_stand_twice(tmp_path: Path) -> None:
    names = [f"u{number}" for number in range(20)]
    (tmp_path / "wav.scp").write_text("b b.wav\na a.wav\n")
    (tmp_path / "text").write_text("".join(f"{name} said {name}\n" for name in names))
    (tmp_path / "segments").write_text("".join(f"{n} {'ab'[i % 2]} {i} {i + 1}\n" for i, n in enumerate(names[::-1])))
    (tmp_path / "utt2spk").write_text("".join(f"{name} s{name}\n" for name in sorted(names, key=hash)))
    found = corpora.read(tmp_path, "mi")
    assert {u.id: (u.speaker, u.start_s, Path(u.audio).name) for u in found} == {
        name: (f"s{name}", 19.0 - i, f"{'ba'[i % 2]}.wav") for i, name in enumerate(names)
    }
    for table in ("segments", "utt2spk", "wav.scp"):
        before = (tmp_path / table).read_text()
        (tmp_path / table).write_text(before + before.splitlines()[0] + "\n")
        with pytest.raises(InputError, match=rf"{table}:\d+: '\w+' occurs twice"):
            corpora.read(tmp_path, "mi")
        (tmp_path / table).write_text(before)
