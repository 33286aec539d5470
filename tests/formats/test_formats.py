"""Output formats: text, JSON, subtitles, TextGrid and EAF."""

import html
import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pympi
import pysubs2
import pytest
from praatio import textgrid

from asr_adapt.formats import subtitles, writers
from asr_adapt.formats.intervals import Interval, intervals
from asr_adapt.formats.writers import Media
from asr_adapt.records import Segment, Transcript, Word


def transcript(*segments: list[tuple[str, float, float]], duration_s: float | None = None) -> Transcript:
    """A transcript of segments, each a list of (word, start, end)."""
    built = []
    for words in segments:
        said = tuple(Word(text, start, end, 0.9) for text, start, end in words)
        built.append(Segment(" ".join(w.text for w in said), said[0].start_s, said[-1].end_s, said))
    last_s = built[-1].end_s if built else 3.0
    return Transcript(" ".join(s.text for s in built), "und", duration_s or last_s + 0.5, tuple(built))


def spoken(
    texts: list[str], seed: int = 0, gap_s: float = 0.05, start_s: float = 0.3
) -> list[tuple[str, float, float]]:
    """Words at about 15 letters a second, a breath between some."""
    rng = np.random.default_rng(seed)
    words, now = [], start_s
    for text in texts:
        length = 0.04 + 0.065 * len(text) * rng.uniform(0.8, 1.2)
        words.append((text, now, now + length))
        now += length + (0.05 if rng.random() < 0.8 else rng.uniform(0.2, 1.5))
    return words


SCRIPTS = {
    "latin": ["abia", "yi", "ɓàlɛ̀", "ŋ̀kùnda", "o'kuma"] * 6,
    "arabic": ["قال", "الراوي", "إن", "الرجل", "ذهب", "إلى", "السوق"] * 4,
    "hebrew": ["שלום", "עליכם", "רבותי"] * 5,
    "devanagari": ["कथा", "सुनाने", "वाला", "आदमी", "क्षेत्र", "में", "था"] * 4,
    "ethiopic": ["ሰላም", "ነው", "ወይ"] * 6,
    "lao, hardly a space": ["ກາງຄືນນີ້ພວກເຮົາໄປຕະຫຼາດນຳກັນແລະຊື້ເຄື່ອງຫຼາຍຢ່າງກັບມາເຮືອນ" * 3, "ແລ້ວ"],
    "han, no space": ["今天我们去市场买了很多东西然后回家吃饭" * 4],
    "astral": ["𞤀𞤣𞤤𞤢𞤥", "𞤆𞤵𞤤𞤢𞤪"] * 8,
    "signs": ['"say"', "<b>", "a<b>c", "&", "&amp;", "a\tb".replace("\t", "_"), "{x}", "x-->y", "42", "'"],
    "X-SAMPA": ["r\\n", "\\N", "h\\h", "{\\i1}a"],
}

TRANSCRIPTS = {
    **{name: transcript(spoken(words), duration_s=600.0) for name, words in SCRIPTS.items()},
    "several segments": transcript(
        spoken(SCRIPTS["latin"]), spoken(SCRIPTS["latin"], 1, start_s=40.0), spoken(["ab"], start_s=3700.25)
    ),
    "no words at all": transcript(duration_s=2.5),
    "no words, hardly any time": transcript(duration_s=1 / 16_000),
    "zero length": transcript([("a", 1.0, 1.0), ("b", 1.0, 1.0), ("c", 1.0, 1.2)], duration_s=5.0),
    "zero length at the very end": transcript([("a", 1.0, 2.0), ("b", 2.0, 2.0), ("c", 2.0, 2.0)], duration_s=2.0),
    "overlap by rounding": transcript([("a", 0.9994, 1.2496), ("b", 1.2494, 1.5)], [("c", 1.4999999, 1.7)]),
    "past the end by a frame": transcript([("a", 0.5, 1.0), ("b", 1.02, 1.52)], duration_s=1.5003),
    "binary fractions": transcript([("a", 0.1 + 0.2, 0.7), ("b", 1.1, 1.1 + 2.2)], duration_s=3.3000000000000003),
}


@pytest.fixture(params=TRANSCRIPTS, ids=list(TRANSCRIPTS))
def said(request: pytest.FixtureRequest) -> Transcript:
    return TRANSCRIPTS[request.param]


def assert_same(found: list[tuple[float, float, str]], expected: list[tuple[float, float, str]]) -> None:
    """The same texts, and times within the two milliseconds that rounding and words without length may take."""
    assert [text for *_, text in found] == [text for *_, text in expected]
    if expected:
        times = [np.array([pair[:2] for pair in intervals]) for intervals in (found, expected)]
        np.testing.assert_allclose(*times, atol=0.0021 if expected[-1][1] != 1.52 else 0.021)


def words_of(said: Transcript) -> list[tuple[float, float, str]]:
    return [(w.start_s, w.end_s, w.text) for w in said.words]


def segments_of(said: Transcript) -> list[tuple[float, float, str]]:
    return [(s.start_s, s.end_s, s.text) for s in said.segments]


# Intervals


def test_spans_are_in_order_apart_never_empty_and_words_lie_in_their_segments(said: Transcript) -> None:
    found = intervals(said)
    words = [word for segment in found for word in segment.words]
    for row in (found, words):
        assert all(interval.start_ms < interval.end_ms for interval in row)
        assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(row))
    for segment in found:
        assert segment.start_ms <= segment.words[0].start_ms and segment.words[-1].end_ms <= segment.end_ms
    assert not found or found[-1].end_ms <= said.duration_s * 1000


def test_more_words_than_milliseconds_still_have_times() -> None:
    words = [
        word for segment in intervals(transcript([("a", 0.0, 0.0)] * 5, duration_s=0.002)) for word in segment.words
    ]
    assert [(word.start_ms, word.end_ms) for word in words] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


# What other tools read


def test_praatio_reads_the_words_and_times_of_a_textgrid(said: Transcript, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(writers.to_textgrid(said), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="error")
    assert grid.tierNames == ("segments", "words")
    assert grid.minTimestamp == 0 and grid.maxTimestamp == pytest.approx(said.duration_s, abs=1e-3)
    assert_same([tuple(entry) for entry in grid.getTier("words").entries], words_of(said))
    assert_same([tuple(entry) for entry in grid.getTier("segments").entries], segments_of(said))


def test_a_textgrid_has_an_interval_for_every_moment(said: Transcript, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(writers.to_textgrid(said), encoding="utf-8")
    for tier in textgrid.openTextgrid(str(path), includeEmptyIntervals=True).tiers:
        assert tier.entries[0].start == 0 and tier.entries[-1].end == tier.maxTimestamp
        assert all(a.end == b.start for a, b in itertools.pairwise(tier.entries))
        assert all(entry.start < entry.end for entry in tier.entries)


def test_pympi_reads_the_words_and_times_of_an_eaf(said: Transcript, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    path.write_text(writers.to_eaf(said), encoding="utf-8")
    eaf = pympi.Eaf(str(path))
    assert list(eaf.get_tier_names()) == ["segments", "words"] and eaf.get_linked_files() == []
    for tier, expected in (("words", words_of(said)), ("segments", segments_of(said))):
        assert_same([(s / 1000, e / 1000, t) for s, e, t in eaf.get_annotation_data_for_tier(tier)], expected)
    assert eaf.get_parameters_for_tier("words")["PARENT_REF"] == "segments"
    words_type = eaf.get_parameters_for_tier("words")["LINGUISTIC_TYPE_REF"]
    assert eaf.get_parameters_for_linguistic_type(words_type)["CONSTRAINTS"] == "Included_In"


@pytest.mark.parametrize("name", ["two words", "ɓàlɛ̀", "ກາງຄືນ", 'a & <b> "c" 100%\''])
def test_an_eaf_finds_its_recording_from_its_own_folder(tmp_path: Path, name: str) -> None:
    media = tmp_path / "clips" / f"{name}.wav"
    text = writers.to_eaf(transcript([("a", 0.0, 1.0)]), Media(media, 12.5), tmp_path / "out" / "sub")
    (tmp_path / "a.eaf").write_text(text, encoding="utf-8")
    (linked,) = pympi.Eaf(str(tmp_path / "a.eaf")).get_linked_files()
    assert linked["RELATIVE_MEDIA_URL"] == f"../../clips/{name}.wav"
    assert linked["MEDIA_URL"] == f"file://{media.resolve()}"
    assert linked["MIME_TYPE"] == "audio/x-wav" and linked["TIME_ORIGIN"] == "12500"
    beside = ElementTree.fromstring(writers.to_eaf(transcript(), Media(media), media.parent).encode())
    assert beside.find("HEADER/MEDIA_DESCRIPTOR").attrib["RELATIVE_MEDIA_URL"] == f"./{name}.wav"


def test_an_eaf_links_a_recording_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    text = writers.to_eaf(transcript(), Media(tmp_path / "caf\udce9.webm"), tmp_path)
    assert 'RELATIVE_MEDIA_URL="./caf\\udce9.webm"' in text and 'MIME_TYPE="video/webm"' in text
    text.encode()


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_pysubs2_reads_the_words_and_times_of_subtitles(said: Transcript, format: str) -> None:
    text = writers.WRITERS[format](said)
    read = pysubs2.SSAFile.from_string(text, format_=format, keep_html_tags=True)  # what looks like a tag is a word
    shown = [event.text.replace("\\N", " ") for event in read]
    if format == "vtt":
        shown = [html.unescape(line) for line in shown]  # pysubs2 leaves them as they are
    words = [word for segment in intervals(said) for word in segment.words]
    if any(subtitles.width(word.text) > subtitles.LINE_WIDTH for word in words):
        assert "".join(shown).replace(" ", "") == said.text.replace(" ", "")
        return
    assert " ".join(shown).split() == said.text.replace("\\N", " ").split()  # pysubs2's sign for a new line
    rest = iter(words)
    for event, texts in zip(read, map(str.split, shown), strict=True):
        covered = [next(rest) for _ in texts]
        assert event.start == covered[0].start_ms and covered[-1].end_ms <= event.end <= said.duration_s * 1000


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_a_backslash_in_a_word_is_no_new_line(format: str) -> None:
    assert writers.WRITERS[format](TRANSCRIPTS["X-SAMPA"]).endswith("\nr\\n \\N h\\h {\\i1}a\n\n")


def test_a_tag_or_an_entity_in_vtt_is_text() -> None:
    assert "&lt;b&gt; &amp; &amp;amp;\n" in writers.to_vtt(transcript(spoken(["<b>", "&", "&amp;"])))


def test_times_of_subtitles_have_hours_and_milliseconds() -> None:
    late = transcript([("a", 3661.0014, 3663.5)], duration_s=4000)
    assert writers.to_srt(late) == "1\n01:01:01,001 --> 01:01:03,500\na\n\n"
    assert writers.to_vtt(late) == "WEBVTT\n\n1\n01:01:01.001 --> 01:01:03.500\na\n\n"


def test_tsv_is_whispers_milliseconds_of_each_segment() -> None:
    said = transcript([("a", 0.12, 0.4), ("b", 0.5, 1.0)], [("c", 2.0004, 3.0)])
    assert writers.to_tsv(said) == "start\tend\ttext\n120\t1000\ta b\n2000\t3000\tc\n"
    assert writers.to_tsv(transcript()) == "start\tend\ttext\n"


def test_silence_is_an_empty_file_of_each_format() -> None:
    written = {name: write(transcript()) for name, write in writers.WRITERS.items()}
    assert written["txt"] == "\n" and written["srt"] == "" and written["vtt"] == "WEBVTT\n\n"
    assert json.loads(written["json"])["words"] == []
    assert set(written) == {"txt", "json", "srt", "vtt", "tsv", "textgrid", "eaf"}


# Subtitles


@pytest.fixture(params=range(8))
def shown(request: pytest.FixtureRequest) -> tuple[list[Interval], list[subtitles.Subtitle], int]:
    """Ten minutes in words of one script, and their subtitles."""
    texts = list(SCRIPTS.values())[request.param]
    said = transcript(spoken(texts * (600 // len(texts) // 2), seed=request.param))
    words = [word for segment in intervals(said) for word in segment.words]
    end_ms = int(said.duration_s * 1000)
    return words, subtitles.of_words(words, end_ms), end_ms


def test_subtitles_keep_what_subtitlers_expect(shown: tuple[list[Interval], list[subtitles.Subtitle], int]) -> None:
    words, found, end_ms = shown
    assert "".join("".join(subtitle.lines) for subtitle in found).replace(" ", "") == "".join(
        word.text for word in words
    )
    for subtitle in found:
        assert 1 <= len(subtitle.lines) <= 2
        assert all(0 < subtitles.width(line) <= 42 for line in subtitle.lines)
        assert 0 < subtitle.end_ms - subtitle.start_ms <= 7_000
    for subtitle, following in itertools.pairwise(found):
        assert subtitle.end_ms <= following.start_ms
        wanted = max(1_000, sum(map(subtitles.width, subtitle.lines)) * 1000 / 17)
        if following.start_ms - subtitle.start_ms > wanted + 100:
            # slow enough to read, where there is time
            assert subtitle.end_ms - subtitle.start_ms >= min(wanted, 7_000) - 100
    assert found[-1].end_ms <= end_ms


def intervals_of(*words: tuple[str, int, int]) -> list[Interval]:
    return [Interval(*word) for word in words]


def test_a_cue_is_cut_at_the_longest_pause() -> None:
    texts = ["sentence"] * 12  # 107 characters: two subtitles
    words, now = [], 0
    for number, text in enumerate(texts):
        words.append((text, now, now + 400))
        now += 400 + (350 if number == 4 else 40)
    first, second = subtitles.of_words(intervals_of(*words), 60_000)
    assert " ".join(first.lines).split() == texts[:5] and " ".join(second.lines).split() == texts[5:]


def test_a_pause_of_more_than_a_second_ends_a_subtitle() -> None:
    found = subtitles.of_words(intervals_of(("yes", 0, 300), ("no", 1_400, 1_600)), 10_000)
    assert [(subtitle.lines, subtitle.start_ms, subtitle.end_ms) for subtitle in found] == [
        (("yes",), 0, 1_000),
        (("no",), 1_400, 2_400),
    ]


def test_short_words_with_short_pauses_share_a_subtitle() -> None:
    (subtitle,) = subtitles.of_words(intervals_of(("yes", 0, 300), ("no", 900, 1_100)), 10_000)
    assert subtitle.lines == ("yes no",)


def test_a_cue_does_not_outlast_the_recording() -> None:
    (subtitle,) = subtitles.of_words(intervals_of(("yes", 100, 300)), 400)
    assert (subtitle.start_ms, subtitle.end_ms) == (100, 400)


def test_a_word_that_lasts_ten_seconds_is_shown_for_seven() -> None:
    (subtitle,) = subtitles.of_words(intervals_of(("hm", 0, 10_000)), 20_000)
    assert (subtitle.start_ms, subtitle.end_ms) == (0, 7_000)


def test_two_lines_are_about_equal() -> None:
    texts = ["a", "line", "that", "is", "a", "little", "longer", "than", "the", "rest"]
    (subtitle,) = subtitles.of_words(
        intervals_of(*((text, 100 * n, 100 * n + 90) for n, text in enumerate(texts))), 10_000
    )
    assert subtitle.lines == ("a line that is a little", "longer than the rest")


def test_marks_do_not_count_and_wide_letters_count_twice() -> None:
    assert [subtitles.width(text) for text in ("ŋ̀kùnda", "क्षे", "กำลัง", "今天", "e\u0301")] == [6, 1, 3, 4, 1]


def test_writing_without_spaces_is_cut_between_grapheme_clusters() -> None:
    text = "ŋ̀" * 100
    found = subtitles.of_words(intervals_of((text, 0, 20_000)), 20_000)
    assert "".join(line for subtitle in found for line in subtitle.lines) == text
    assert all(line.startswith("ŋ") for subtitle in found for line in subtitle.lines)
    assert len(found) >= 3


def test_a_part_of_a_long_word_has_its_share_of_the_words_time() -> None:
    found = subtitles.of_words(intervals_of(("ŋ̀" * 100, 1_000, 21_000)), 30_000)
    before = 0
    for subtitle in found:
        assert subtitle.start_ms == 1_000 + 200 * before
        before += sum(map(subtitles.width, subtitle.lines))
