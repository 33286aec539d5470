"""ELAN files as ELAN writes them and as they are broken: open times, order, references, choices of tiers."""

import logging
import os
from pathlib import Path

import pytest

from asr_adapt import corpora
from asr_adapt.corpora import Reading
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source

SLOTS = {"ts1": 0, "ts2": None, "ts3": None, "ts4": 3000, "ts5": 3000, "ts6": None}


def aligned(name: str, start: str, end: str, text: str) -> str:
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{end}">'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


def below(name: str, above: str, text: str, previous: str = "") -> str:
    order = f' PREVIOUS_ANNOTATION="{previous}"' if previous else ""
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{above}"{order}>'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def tier(name: str, *annotations: str, parent: str = "", kind: str = "lt") -> str:
    above = f' PARENT_REF="{parent}"' if parent else ""
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="{kind}"{above}>{"".join(annotations)}</TIER>'


def write(path: Path, *tiers: str, slots: dict[str, int | None] = SLOTS, head: str = "") -> Path:
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + ("/>" if time is None else f' TIME_VALUE="{time}"/>')
        for name, time in slots.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<ANNOTATION_DOCUMENT AUTHOR="" VERSION="3.0">'
        f'<HEADER TIME_UNITS="milliseconds"/><TIME_ORDER>{order}</TIME_ORDER>{"".join(tiers)}</ANNOTATION_DOCUMENT>',
        encoding="utf-8",
    )
    return path


def media(attributes: str) -> str:
    return f"<MEDIA_DESCRIPTOR {attributes}/>"


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def read(root: Path, *wanted: str) -> Reading:
    return corpora.read_all([Source(root=root, tiers=wanted)], "mi", allow_unsplit=True)


SENTENCE = tier("tx", aligned("a1", "ts1", "ts4", "kia ora koutou"))


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("audio/0.flac", 'MEDIA_URL="file:///C:/Users/anna/0.wav"'),
        ("audio/0.flac", 'MEDIA_URL="file:///C:/Users/anna/0.wav" RELATIVE_MEDIA_URL="../../0.wav"'),
        ("far/below/a b.wav", 'MEDIA_URL="file:///home/anna/a%20b.wav"'),
        ("audio/x.mp3", ""),
        ("audio/x.mp3", 'MEDIA_URL="https://example.org/other.wav"'),
    ],
)
def test_a_recording_that_was_moved_is_found_as_by_every_reader(tmp_path: Path, there: str, named: str) -> None:
    put(tmp_path / there)
    write(tmp_path / "x.eaf", media(named), SENTENCE)
    assert {u.audio for u in read(tmp_path).utterances} == {str(tmp_path / there)}


def test_the_relative_path_is_tried_first_and_may_lead_out_of_the_corpus(tmp_path: Path) -> None:
    put(tmp_path / "wav" / "0.wav")
    put(tmp_path / "eaf" / "audio" / "0.wav")
    write(
        tmp_path / "eaf" / "0.eaf", media('RELATIVE_MEDIA_URL="../wav/0.wav" MEDIA_URL="file:///C:/0.wav"'), SENTENCE
    )
    assert [Path(u.audio).resolve() for u in read(tmp_path / "eaf").utterances] == [tmp_path / "wav" / "0.wav"]


def test_files_of_one_name_in_two_folders_do_not_share_the_only_recording(tmp_path: Path) -> None:
    put(tmp_path / "a" / "0.wav")
    for folder in ("a", "b"):
        write(tmp_path / folder / "0.eaf", media('MEDIA_URL="file:///C:/0.wav"'), SENTENCE)
    assert {(u.id, u.audio) for u in read(tmp_path).utterances} == {
        ("a/0.eaf#a1", str(tmp_path / "a" / "0.wav")),
        ("b/0.eaf#a1", "/C:/0.wav"),
    }


def test_open_times_of_a_subdivision_are_interpolated(tmp_path: Path) -> None:
    words = [aligned("a2", "ts1", "ts2", "kia"), aligned("a3", "ts2", "ts3", "ora"), aligned("a4", "ts3", "ts4", "k")]
    write(tmp_path / "a.eaf", SENTENCE, tier("word", *words, parent="tx"))
    found = read(tmp_path, "word").utterances
    assert [(u.start_s, u.end_s, u.text) for u in found] == [(0, 1, "kia"), (1, 2, "ora"), (2, 3, "k")]


def test_missing_times_matter_in_chosen_tiers_only(tmp_path: Path) -> None:
    write(tmp_path / "a.eaf", SENTENCE, tier("notes", aligned("a2", "ts5", "ts6", "later")))
    assert [u.text for u in read(tmp_path, "tx").utterances] == ["kia ora koutou"]
    with pytest.raises(InputError, match=r"a\.eaf, tier 'notes', annotation a2: has no times\. .*another tier"):
        read(tmp_path, "notes")


def test_the_order_of_words_is_that_of_their_predecessors_not_of_the_file(tmp_path: Path) -> None:
    words = [below("a4", "a1", "koutou", "a3"), below("a2", "a1", "kia"), below("a3", "a1", "ora", "a2")]
    morphemes = [below("a9", "a4", "kou-"), below("a7", "a3", "ora"), below("a8", "a2", "kia"),
                 below("a10", "a4", "tou", "a9")]  # fmt: skip
    write(tmp_path / "a.eaf", SENTENCE, tier("w", *words, parent="tx"), tier("m", *morphemes, parent="w"))
    assert [(u.id, u.text) for u in read(tmp_path, "w").utterances] == [("a.eaf#a4", "kia ora koutou")]
    assert [(u.id, u.text, u.end_s) for u in read(tmp_path, "m").utterances] == [
        ("a.eaf#a9", "kia ora kou- tou", 3.0)
    ]


def test_predecessors_in_a_circle_keep_the_order_of_the_file(tmp_path: Path) -> None:
    words = [below("a2", "a1", "kia", "a3"), below("a3", "a1", "ora", "a2"), below("a4", "a1", "nō", "gone")]
    write(tmp_path / "a.eaf", SENTENCE, tier("w", *words, parent="tx"))
    assert [u.text for u in read(tmp_path, "w").utterances] == ["nō kia ora"]


@pytest.mark.parametrize(
    "words",
    [
        [below("a2", "a2", "x")],
        [below("a2", "a3", "x"), below("a3", "a2", "y")],
        [below("a2", "a3", "x"), below("a3", "a4", "y"), below("a4", "a3", "z")],
        [below("a2", "gone", "x")],
        [below(f"a{i}", f"a{i - 1}", "x") for i in range(2, 3000)],
    ],
    ids=["itself", "two", "into a circle", "nowhere", "deep"],
)
def test_references_that_lead_nowhere_end_and_are_named_where_they_are_chosen(
    tmp_path: Path, words: list[str]
) -> None:
    write(tmp_path / "a.eaf", SENTENCE, tier("w", *words, parent="tx"))
    assert len(read(tmp_path, "tx").utterances) == 1
    with pytest.raises(InputError, match=r"tier 'w', annotation a\d+: refers to '\w+', which does not lead to an"):
        read(tmp_path, "w")


def test_tiers_whose_parents_are_in_a_circle_are_no_endless_search(tmp_path: Path) -> None:
    a = tier("a", below("a2", "a1", "x"), parent="b")
    write(tmp_path / "a.eaf", SENTENCE, a, tier("b", parent="a"))
    assert [u.text for u in read(tmp_path, "tx").utterances] == ["kia ora koutou"]


@pytest.mark.parametrize("value", ["1e308", "inf", "nan", "x", "9" * 400, "9" * 5000, "1.5"])
def test_a_time_that_is_no_time_is_named(tmp_path: Path, value: str) -> None:
    write(tmp_path / "a.eaf", SENTENCE, slots={"ts1": 0, "ts4": value})  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"a\.eaf: cannot be read as ELAN"):
        read(tmp_path)


def test_a_negative_time_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.eaf", SENTENCE, slots={"ts1": -5, "ts4": 10})
    with pytest.raises(InputError, match=r"annotation a1: field 'start_s'.*-0\.005"):
        read(tmp_path)


def test_times_in_frames_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.eaf", SENTENCE)
    path.write_text(path.read_text().replace('"milliseconds"', '"PAL-frames"'))
    with pytest.raises(InputError, match="its time unit is PAL-frames, not milliseconds"):
        read(tmp_path)


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>',
    ],
)
def test_entities_are_refused(tmp_path: Path, head: str) -> None:
    write(tmp_path / "a.eaf", SENTENCE, head=head)
    with pytest.raises(InputError, match=r"a\.eaf: cannot be read as ELAN \(it declares entities\)"):
        read(tmp_path)


@pytest.mark.parametrize("attribute", ["TIER_ID", "ANNOTATION_ID", "TIME_SLOT_REF2", "TIME_SLOT_ID"])
def test_a_missing_attribute_is_named(tmp_path: Path, attribute: str) -> None:
    path = write(tmp_path / "a.eaf", SENTENCE)
    path.write_text(path.read_text().replace(attribute, "OTHER"))
    with pytest.raises(InputError, match=rf"attribute '{attribute}' is missing"):
        read(tmp_path)


def test_an_offset_of_the_recording_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.eaf", SENTENCE)
    path.write_text(path.read_text().replace("</ANN", "<MEDIA_DESCRIPTOR TIME_ORIGIN='x'/></ANN", 1))
    with pytest.raises(InputError, match=r"a\.eaf: cannot be read as ELAN"):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["TF-8", "utf-7", "base64", "utf-32"])
def test_an_encoding_that_is_unknown_is_one_line(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.eaf", SENTENCE)
    path.write_text(path.read_text(encoding="utf-8").replace("UTF-8", encoding), encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.eaf: cannot be read as ELAN"):
        read(tmp_path)


def test_a_fifo_named_as_a_file_of_elan_does_not_wait(tmp_path: Path) -> None:
    write(tmp_path / "a.eaf", SENTENCE)
    os.mkfifo(tmp_path / "b.eaf")
    assert len(read(tmp_path).utterances) == 1


# What a choice of tiers leaves out


def test_files_without_a_chosen_tier_are_counted_with_names_that_are_nearly_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a.eaf", SENTENCE)
    for number, name in enumerate(["TX", "tx@Ani", "txx ", "remarks"]):
        write(tmp_path / f"b{number}.eaf", tier(name, aligned("a1", "ts1", "ts4", "x")))
    reading = read(tmp_path, "tx")
    assert len(reading.utterances) == 2  # tx, and tx@Ani by its part before @
    missing, *others = reading.left_out
    assert (missing.kind, missing.name, missing.files, missing.near) == ("missing tier", "tx", 3, ("TX", "txx "))
    assert missing.first_files == tuple(str(tmp_path / f"b{n}.eaf") for n in (0, 2, 3))
    assert [(o.kind, o.name, o.files, o.utterances, o.hours) for o in others] == [
        ("tier", name, 1, 1, round(3 / 3600, 4)) for name in ("TX", "txx ", "remarks")
    ]
    assert missing.describe().startswith(f"tier 'tx' is missing in 3 files, the first {tmp_path / 'b0.eaf'}")
    assert others[0].describe().startswith("tier 'TX' is not used: 1 utterances")


def test_a_tier_that_is_nowhere_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "a.eaf", SENTENCE, tier("Transcript@Ani", aligned("a2", "ts1", "ts4", "x")))
    with pytest.raises(
        InputError, match=r"no tier is 'transcrpt'\. For 'transcrpt': 'Transcript', 'Transcript@Ani'\?"
    ):
        read(tmp_path, "transcrpt")


def test_each_speaker_need_not_be_in_each_recording_and_tiers_below_repeat_the_text(tmp_path: Path) -> None:
    word = tier("w@A", below("a2", "a1", "kia"), parent="tx@A")
    write(tmp_path / "a.eaf", tier("tx@A", aligned("a1", "ts1", "ts4", "kia")), word)
    write(tmp_path / "b.eaf", tier("tx@B", aligned("a1", "ts1", "ts4", "ora")))
    assert read(tmp_path, "tx@A", "tx@B").left_out == ()
    left = read(tmp_path, "w").left_out
    assert [(entry.kind, entry.name) for entry in left] == [("missing tier", "w"), ("tier", "tx@B")]


def test_a_textgrid_with_tiers_of_one_name_tells_them_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    intervals = '"IntervalTier"\n"Ani"\n0\n1\n1\n0\n1\n"{}"\n'
    (tmp_path / "a.TextGrid").write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n2\n'
        + intervals.format("kia")
        + intervals.format("ora")
    )
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path).utterances
    assert [(u.id, u.speaker, u.text) for u in found] == [
        ("a.TextGrid#Ani:1", "Ani", "kia"), ("a.TextGrid#Ani (2):1", "Ani (2)", "ora")]  # fmt: skip
    assert [u.text for u in read(tmp_path, "Ani (2)").utterances] == ["ora"]
    assert len(read(tmp_path, "Ani").utterances) == 2


@pytest.mark.parametrize("time", ["1e308", "inf", "nan", "x", "-1"])
def test_a_time_of_a_textgrid_that_is_no_time_is_named(tmp_path: Path, time: str) -> None:
    (tmp_path / "a.TextGrid").write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n1\n"IntervalTier"\n"Ani"\n0\n1\n1\n'
        f'{time}\n{time}\n"kia"\n'
    )
    with pytest.raises(InputError, match=r"a\.TextGrid"):
        read(tmp_path)
