"""Provenance: what a model wrote is told from what people wrote, in every format that `transcribe` writes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from praatio import textgrid

from asr_adapt import corpora
from asr_adapt.artifacts import Draft, DraftTier, TranscriptionRecord
from asr_adapt.corpora.provenance import Drafted, Mark, Span, Words, marks
from asr_adapt.errors import InputError
from asr_adapt.formats import writers
from asr_adapt.recipe import Source
from asr_adapt.records import Segment, Transcript, Utterance, Word, read_jsonl, write_jsonl

SENTENCES = ("kia ora koutou", "he waka eke noa", "ka kite anō")


def transcript(*texts: str, speaker: str | None = None) -> Transcript:
    """Return a transcript: a segment every 10 s, its words half a second each."""
    segments = []
    for number, text in enumerate(texts):
        at = 10.0 * number + 1
        words = tuple(Word(word, at + i, at + i + 0.5, 0.9) for i, word in enumerate(text.split()))
        segments.append(Segment(text, at, words[-1].end_s, words, speaker))
    return Transcript(" ".join(texts), "mi", 10.0 * len(texts) + 5, tuple(segments))


def write(folder: Path, name: str, format: str, of: Transcript) -> Path:
    """Write a recording (empty: readers open none) and its draft, as `transcribe --out FOLDER` does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.wav").touch()
    draft = writers.draft_of(of, format, "m")
    path = folder / f"{name}.{format}"
    path.write_text(writers.written(of, format, writers.Media(folder / f"{name}.wav"), folder, draft), "utf-8")
    if format != "eaf":
        known = TranscriptionRecord.read(folder)
        known.model_copy(update={"drafts": known.drafts | {path.name: draft}}).write_file(
            folder / TranscriptionRecord.FILE
        )
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def read(root: Path, **fields: object) -> dict[str, str | None]:
    """Return text → provenance of all that is there."""
    found = corpora.read_all([Source(root=root, trust_drafts=True, **fields)], "mi", allow_unsplit=True).utterances
    return {u.text or "": u.provenance for u in found}


@pytest.mark.parametrize("format", ["srt", "vtt", "textgrid", "eaf"])
def test_what_a_person_changed_is_corrected_and_the_rest_stays_machine(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, "a", format, transcript(*SENTENCES))
    assert read(tmp_path) == dict.fromkeys(SENTENCES, "machine")
    edit(path, "eke noa", "eke nōa")
    assert read(tmp_path) == {
        "kia ora koutou": "machine",
        "he waka eke nōa": "corrected",
        "ka kite anō": "machine",
    }


def test_a_status_of_ok_counts_for_the_segment_below_most_of_it(tmp_path: Path) -> None:
    path = write(tmp_path, "a", "textgrid", transcript(*SENTENCES))
    record = TranscriptionRecord.read(tmp_path)
    (draft,) = record.drafts.values()
    name = next(name for name in draft.tiers if draft.tiers[name].segments)
    tiers = draft.tiers | {name: draft.tiers[name].model_copy(update={"status": "status"})}
    record.model_copy(update={"drafts": {path.name: draft.model_copy(update={"tiers": tiers})}}).write_file(
        tmp_path / TranscriptionRecord.FILE
    )
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    _, second, third = sorted(grid.getTier(name).entries)
    # Drawn by hand: about where the second is; the third has another status.
    entries = [(second.start - 0.04, second.end - 0.03, "ok"), (third.start + 0.01, third.end, "check")]
    grid.addTier(textgrid.IntervalTier("status", entries, grid.minTimestamp, grid.maxTimestamp))
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True)
    assert list(read(tmp_path, tiers=[name]).values()) == ["machine", "corrected", "machine"]


def test_a_text_file_is_one_piece(tmp_path: Path) -> None:
    path = write(tmp_path, "a", "txt", transcript(*SENTENCES))
    edit(path, " he", "\n  he")
    assert [*read(tmp_path).values()] == ["machine"], "whitespace does not count"
    edit(path, "waka", "wāka")
    assert [*read(tmp_path).values()] == ["corrected"]


def test_texts_in_a_folder_beside_the_recordings_are_known_by_the_record_above_them(tmp_path: Path) -> None:
    path = write(tmp_path / "txt", "a", "txt", transcript(*SENTENCES))
    path.with_suffix(".wav").rename(tmp_path / "a.wav")
    (tmp_path / "wav").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "wav" / "a.wav")
    record = tmp_path / "txt" / TranscriptionRecord.FILE
    known = TranscriptionRecord.read(record.parent)
    record.unlink()
    known.model_copy(update={"drafts": {"txt/a.txt": known.drafts["a.txt"]}}).write_file(
        tmp_path / TranscriptionRecord.FILE
    )
    assert [*read(tmp_path).values()] == ["machine"]


@pytest.mark.parametrize("format", ["textgrid", "eaf"])
def test_words_are_judged_by_their_segment(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, "a", format, transcript("kia ora", "he waka"))
    found = read(tmp_path, tiers=("words",))
    assert {*found.values()} == {"machine"} and "waka" in found
    edit(path, ">waka<" if format == "eaf" else '"waka"', ">wāka<" if format == "eaf" else '"wāka"')
    found = read(tmp_path, tiers=("words",))
    assert found == {"kia": "machine", "ora": "machine", "he": "corrected", "wāka": "corrected"}


def test_a_copy_of_an_elan_file_elsewhere_and_a_renamed_tier_are_still_drafts(tmp_path: Path) -> None:
    path = write(tmp_path / "drafts", "a", "eaf", transcript(*SENTENCES))
    elsewhere = tmp_path / "corpus" / "b.eaf"
    elsewhere.parent.mkdir()
    elsewhere.write_text(path.read_text("utf-8").replace('TIER_ID="segments"', 'TIER_ID="tx@anna"'), "utf-8")
    assert read(elsewhere.parent, tiers=("default-lt",)) == dict.fromkeys(SENTENCES, "machine")


@pytest.mark.parametrize(
    ("now", "judged"),
    [
        ([(0, 1000, "a b"), (1000, 2000, "c d")], ["machine", "machine"]),
        ([(0, 2000, "a b c d")], ["machine"]),
        ([(0, 2000, "a b c")], ["corrected"]),
        ([(0, 500, "a"), (500, 1000, "b"), (1000, 2000, "c d")], ["machine"] * 3),
        ([(0, 500, "a"), (500, 1000, "B"), (1000, 2000, "c d")], ["corrected", "corrected", "machine"]),
        ([(100, 900, "a b"), (1000, 2000, "x")], ["machine", "corrected"]),
        ([(0, 1000, "c d"), (1000, 2000, "a b")], ["corrected", "corrected"]),
        ([(3000, 4000, "a b"), (1000, 2000, "c d")], [None, "machine"]),
        ([(0, 1000, "a"), (1000, 2000, "c d")], ["corrected", "machine"]),
        ([], []),
    ],
    ids=["same", "joined", "joined and cut", "divided", "divided and changed", "moved", "swapped", "elsewhere",
         "shortened", "deleted"],
)  # fmt: skip
def test_a_draft_is_known_when_segments_are_divided_joined_or_moved(
    now: list[tuple[int, int, str]], judged: list[str | None]
) -> None:
    written = (Span(0, 1000, "a b"), Span(1000, 2000, "c d"))
    drafted = Drafted(Draft(tiers={"tx": DraftTier(segments=marks(written))}))
    assert drafted.judge("tx", [Span(*span) for span in now]) == judged


def test_the_same_word_at_the_same_time_in_a_persons_own_tier_is_the_persons() -> None:
    tier = DraftTier(segments=marks([Span(0, 1000, "āe")]), of="tx@anna")
    drafted = Drafted(Draft(tiers={"tx@anna (draft)": tier}))
    assert drafted.judge("tx@anna", [Span(0, 1000, "āe")]) == [None]
    assert drafted.judge("tx@hemi", [Span(0, 900, "āe")]) == [None], "other times: somebody typed it"
    assert drafted.judge("a copy of the draft", [Span(0, 1000, "āe")]) == ["machine"]


def test_marks_hold_no_words_and_those_of_joined_texts_are_those_of_their_parts() -> None:
    texts = ("kia ora", "", "koutou katoa", "é e\u0301")
    assert sum(map(Words.of, texts), Words()) == Words.of(" \n".join(texts))
    assert Words.of("é") == Words.of("e\u0301") != Words.of("e")
    mark = Mark.of(Span(5, 10, "kia ora"))
    assert Mark.parse(str(mark)) == mark and re.fullmatch(r"5 10 2 [0-9a-f]+", str(mark))


def test_machine_text_is_in_no_split_and_named_with_what_to_do(tmp_path: Path) -> None:
    for number in range(6):
        path = write(tmp_path, f"{number}", "eaf", transcript(*SENTENCES))
        edit(path, "waka", f"waka{number}")
    reading = corpora.read_all([Source(root=tmp_path)], "mi")
    assert {u.text for u in reading.utterances} == {f"he waka{n} eke noa" for n in range(6)}
    assert {u.provenance for u in reading.utterances} == {"corrected"}
    (part,) = reading.left_out
    assert (part.kind, part.utterances, part.files) == ("machine draft", 12, 6)
    said = part.describe()
    assert f"12 utterances, 30 s in 6 files, the first {tmp_path / '0.eaf'}. Correct them" in said
    assert "asr-adapt draft --accept FILE" in said and "--corpus.trust_drafts true" in said
    trusting = corpora.read_all([Source(root=tmp_path, trust_drafts=True)], "mi")
    assert len(trusting.utterances) == 18 and not trusting.left_out


def test_a_corpus_of_drafts_alone_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, "a", "eaf", transcript(*SENTENCES))
    with pytest.raises(InputError, match=r"all of its text was written by a model.*3 utterances.*--accept FILE"):
        corpora.read(tmp_path, "mi")


def test_a_document_of_an_older_version_is_machine_until_elan_saves_it(tmp_path: Path) -> None:
    path = write(tmp_path, "a", "eaf", transcript(*SENTENCES))
    text = re.sub(r"\s*<PROPERTY.*?</PROPERTY>", "", path.read_text("utf-8"), flags=re.DOTALL)
    path.write_text(text, "utf-8")
    assert {*read(tmp_path).values()} == {"machine"}
    path.write_text(text.replace("</HEADER>", '<PROPERTY NAME="URN">u</PROPERTY></HEADER>'), "utf-8")
    assert {*read(tmp_path).values()} == {None}


def test_an_aligned_text_is_a_persons(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.eaf").write_text(
        writers.to_eaf(transcript(*SENTENCES), writers.Media(tmp_path / "a.wav")), "utf-8"
    )
    assert {*read(tmp_path).values()} == {None}


def test_channels_are_judged_apart_in_subtitles(tmp_path: Path) -> None:
    one, other = transcript("kia ora", speaker="channel 1"), transcript("he waka", speaker="channel 2")
    both = replace(one, segments=one.segments + other.segments)
    for format in ("srt", "vtt"):
        path = write(tmp_path / format, "a", format, both)
        assert {*read(path.parent).values()} == {"machine"}
        edit(path, "he waka", "he wāka")
        assert sorted(map(str, read(path.parent).values())) == ["corrected", "machine"]


def test_damaged_marks_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a", "eaf", transcript(*SENTENCES))
    edit(path, "1000 ", "1e3 ")
    with pytest.raises(InputError, match=r"a\.eaf: damaged: the mark of a draft"):
        read(tmp_path)
    record = write(tmp_path / "srt", "a", "srt", transcript(*SENTENCES)).parent / TranscriptionRecord.FILE
    record.write_text("{", "utf-8")
    with pytest.raises(InputError, match=r"\.asr-adapt\.json: damaged.*Restore it"):
        read(record.parent)


def test_provenance_is_kept_in_manifests_and_costs_nothing_where_there_is_none(tmp_path: Path) -> None:
    plain = Utterance(id="a", audio="a.wav", text="kia ora")
    corrected = plain.model_copy(update={"id": "b", "provenance": "corrected"})
    write_jsonl(tmp_path / "m.jsonl", [plain, corrected])
    found = [utterance for _, utterance in read_jsonl(tmp_path / "m.jsonl")]
    assert found == [plain, corrected] and [u.provenance for u in found] == [None, "corrected"]
    assert "provenance" not in vars(plain) and "provenance" in vars(corrected)
    assert plain == Utterance(id="a", audio="a.wav", text="kia ora", provenance=None)
    assert corrected.model_copy(update={"provenance": None, "id": "a"}) == plain
    assert Utterance.model_validate_json(plain.model_dump_json()) == plain
