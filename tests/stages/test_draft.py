"""draft: ELAN, Praat and plain recordings get a transcript; what people wrote stays, whatever happens after."""

import itertools
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import elan_rules
import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, TONES_HZ, say

from asr_adapt import corpora
from asr_adapt.artifacts import TranscriptionRecord
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.recordings import find
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Source, Text
from asr_adapt.stages import draft as stage
from asr_adapt.stages.draft import DraftSummary
from asr_adapt.stages.transcribe import transcribe as transcribe_stage
from asr_adapt.text.alphabet import DELIMITER_ID, Alphabet

pytestmark = pytest.mark.usefixtures("tones_are_speech")
GAP_S = 1.0


def ears(model: CTCModel, doubt: float, misheard: dict[str, str]) -> Transcriber:
    """Return a transcriber whose model hears tones as what they are, or as other letters; `doubt` of each frame."""
    letters = {letter: model.alphabet.units.index(misheard.get(letter, letter)) for letter in TONES_HZ}

    def log_probs(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = []
        for waveform in waveforms:
            frames = model.grid.num_frames(len(waveform))
            scores = np.full((frames, len(model.alphabet)), doubt / len(model.alphabet), np.float32)
            for frame in range(frames):
                at = round(model.grid.times_s(frames)[frame] * RATE_HZ)
                piece = waveform[at : at + model.grid.stride]
                spectrum = np.abs(np.fft.rfft(piece, 4096))
                powers = {c: spectrum[round(hz * 4096 / RATE_HZ)] for c, hz in TONES_HZ.items()}
                loudest = max(powers, key=powers.__getitem__)
                label = letters[loudest] if powers[loudest] > 20 else 0
                scores[frame, DELIMITER_ID if np.abs(piece).max() < 0.1 else label] = 1 - doubt
            found.append(np.log(scores))
        return found

    return Transcriber(model, engine=log_probs)


class Stage:
    """The stage on a model that hears what is played, and how often it was loaded."""

    def __init__(self, folder: Path, seed: int, misheard: dict[str, str]) -> None:
        spec = Model(base="none", hidden_size=64, layers=1)
        self.model = head.create(spec, Alphabet.from_texts(["ab cde ŋ"]), "art", Text(), seed)
        self.folder, self.misheard, self.doubt, self.loads = folder, misheard, 0.01, 0
        self.model.save(folder)

    def __call__(self, corpus: Path, **options: object) -> DraftSummary:
        def load() -> Transcriber:
            self.loads += 1
            return ears(self.model, self.doubt, self.misheard)

        return stage.draft(load, self.folder, corpus, Console(), **options)  # type: ignore[arg-type]


@pytest.fixture
def draft(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "models" / "first", 0, {})


@pytest.fixture
def other(tmp_path: Path) -> Stage:
    """Another model, to which every a is an e."""
    return Stage(tmp_path / "models" / "second", 1, {"a": "e"})


def record(path: Path, *texts: str, before_s: float = 0.0) -> list[tuple[int, int]]:
    """Write a recording of texts with a second before each; return their times in milliseconds."""
    pieces, times, at = [np.zeros(round(before_s * RATE_HZ), np.float32)], [], before_s
    for number, text in enumerate(texts):
        spoken = say(text, number)
        pieces += [np.zeros(round(GAP_S * RATE_HZ), np.float32), spoken]
        at += GAP_S
        times.append((round(at * 1000), round((at + len(spoken) / RATE_HZ) * 1000)))
        at += len(spoken) / RATE_HZ
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate([*pieces, np.zeros(RATE_HZ, np.float32)]), RATE_HZ)
    return times


def tiers(path: Path) -> dict[str, list[str]]:
    """Return the texts of each tier of an ELAN document, in the order of time."""
    from pympi import Elan

    eaf = Elan.Eaf(str(path))
    return {
        name: [a[2] for a in sorted(eaf.get_annotation_data_for_tier(name), key=lambda a: a[:2])]
        for name in eaf.get_tier_names()
    }


def times_of(path: Path, tier: str) -> list[tuple[int, int]]:
    from pympi import Elan

    return sorted(a[:2] for a in Elan.Eaf(str(path)).get_annotation_data_for_tier(tier))


def canonical(path: Path, *but: str) -> list[str]:
    """Return what people have in a document: every element but the tiers named, time slots by their tiers' times."""
    root = ElementTree.parse(path).getroot()
    slots = {s.get("TIME_SLOT_ID"): s.get("TIME_VALUE") for s in root.iter("TIME_SLOT")}
    found = []
    for child in root:
        name = child.get("TIER_ID", "")
        if child.tag == "TIME_ORDER" or name in but or "draft" in str([*child.attrib.values()]):
            continue
        for a in child.iter("ALIGNABLE_ANNOTATION"):
            a.set("times", f"{slots[a.get('TIME_SLOT_REF1')]} {slots[a.get('TIME_SLOT_REF2')]}")
        for own in [
            p for p in child.findall("PROPERTY") if p.get("NAME") in ("asr_adapt.draft", "lastUsedAnnotationId")
        ]:
            child.remove(own)
        if child.get("LANG_ID") != "und" and child.get("STEREOTYPE") != "Included_In":
            found.append(ElementTree.canonicalize(ElementTree.tostring(child), strip_text=True))
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new), "utf-8")


def read(root: Path, *wanted: str) -> dict[str, str | None]:
    found = corpora.read_all([Source(root=root, tiers=wanted, trust_drafts=True)], "art", allow_unsplit=True)
    return {u.text or "": u.provenance for u in found.utterances}


def field_document(folder: Path) -> Path:
    """Write an ELAN document as linguists have them: 12 tiers of 3 speakers, a video, a recording with an origin."""
    # The document's zero is half a second into the recording.
    times = record(folder / "talk.wav", "abc", "de ab", "cad", "be", before_s=0.5)
    (folder / "talk.mp4").write_bytes(b"a video that nobody reads")
    at = [(start - 500, end - 500) for start, end in times]
    slots, body = [], []

    def slot(time: int | None) -> str:
        slots.append(f'<TIME_SLOT TIME_SLOT_ID="ts{len(slots) + 1}"'
                     + (f' TIME_VALUE="{time}"/>' if time is not None else "/>"))  # fmt: skip
        return f"ts{len(slots)}"

    def value(inner: str, text: str) -> str:
        tag = inner.split()[0]
        return f"<ANNOTATION><{inner}><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></{tag}></ANNOTATION>"

    count = itertools.count(1)
    spoken = {"A": [0, 1], "B": [2, 3], "C": []}
    for speaker, of in spoken.items():
        who = f'PARTICIPANT="{speaker}" DEFAULT_LOCALE="en" LANG_REF="xho"'
        ref = {n: f"a{next(count)}" for n in of}
        tx = f"a{next(count)}" if speaker == "A" else None
        words = [f"a{next(count)}" for _ in range(2)] if tx else []
        body.append(f'<TIER TIER_ID="ref@{speaker}" LINGUISTIC_TYPE_REF="ref" {who}>' + "".join(
            value(f'ALIGNABLE_ANNOTATION ANNOTATION_ID="{ref[n]}" TIME_SLOT_REF1="{slot(at[n][0])}" '
                  f'TIME_SLOT_REF2="{slot(at[n][1])}"', f"{speaker}{n:03}") for n in of) + "</TIER>")  # fmt: skip
        body.append(f'<TIER TIER_ID="tx@{speaker}" LINGUISTIC_TYPE_REF="tx" PARENT_REF="ref@{speaker}" {who}>' + (
            value(f'REF_ANNOTATION ANNOTATION_ID="{tx}" ANNOTATION_REF="{ref[0]}"', "ɓ &amp; ŋ") if tx else "")
            + "</TIER>")  # fmt: skip
        previous = ["", f' PREVIOUS_ANNOTATION="{words[0]}"'] if words else []
        opened = f'<TIER TIER_ID="wd@{speaker}" LINGUISTIC_TYPE_REF="wd" PARENT_REF="tx@{speaker}" {who}>'
        body.append(opened + "".join(
            value(f'REF_ANNOTATION ANNOTATION_ID="{word}" ANNOTATION_REF="{tx}"{before}', text)
            for word, before, text in zip(words, previous, ("ɓ", "ŋ"), strict=False)) + "</TIER>")  # fmt: skip
        body.append(f'<TIER TIER_ID="ft@{speaker}" LINGUISTIC_TYPE_REF="ft" PARENT_REF="ref@{speaker}"/>')
    path = folder / "talk.eaf"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="anna" DATE="2026-01-01T10:00:00+01:00" '
        'FORMAT="3.0" VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">\n'
        '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">'
        '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/talk.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./talk.mp4"/>'
        '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/talk.wav" MIME_TYPE="audio/x-wav" RELATIVE_MEDIA_URL="./talk.wav" '
        'TIME_ORIGIN="500" EXTRACTED_FROM="file:///C:/talk.mp4"/>'
        '<PROPERTY NAME="URN">urn:nl-mpi-tools-elan-eaf:1</PROPERTY>'
        '<PROPERTY NAME="lastUsedAnnotationId">90</PROPERTY></HEADER>\n'
        f"<TIME_ORDER>{''.join(slots)}</TIME_ORDER>\n<!-- by hand -->\n{chr(10).join(body)}\n"
        '<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="ref" TIME_ALIGNABLE="true"/>'
        + "".join(
            f'<LINGUISTIC_TYPE CONSTRAINTS="{constraint}" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="{kind}" '
            'TIME_ALIGNABLE="false"/>'
            for kind, constraint in (("tx", "Symbolic_Association"), ("wd", "Symbolic_Subdivision"),
                                     ("ft", "Symbolic_Association"))
        )
        + '<LOCALE COUNTRY_CODE="EN" LANGUAGE_CODE="en"/><LANGUAGE LANG_ID="xho" LANG_LABEL="Xhosa"/>'
        '<CONSTRAINT DESCRIPTION="Symbolic subdivision" STEREOTYPE="Symbolic_Subdivision"/>'
        '<CONSTRAINT DESCRIPTION="1-1 association with a parent annotation" STEREOTYPE="Symbolic_Association"/>'
        "</ANNOTATION_DOCUMENT>\n",
        "utf-8",
    )  # fmt: skip
    elan_rules.check(path)
    return path


def simple(
    folder: Path, name: str, *texts: str, drawn: Sequence[int] = (), written: dict[int, str] | None = None
) -> Path:
    """Write a recording and an ELAN document with one tier `utterance`, some of it drawn, some of it written."""
    from pympi import Elan

    times = record(folder / f"{name}.wav", *texts)
    eaf = Elan.Eaf(author="anna")
    eaf.add_linguistic_type("utterance")
    eaf.add_tier("utterance", ling="utterance", part="Anna")
    eaf.remove_tier("default")
    for number in sorted({*drawn, *(written or {})}):
        eaf.add_annotation("utterance", *times[number], (written or {}).get(number, ""))
    eaf.add_linked_file(str(folder / f"{name}.wav"), relpath=f"./{name}.wav", mimetype="audio/x-wav")
    eaf.add_property("lastUsedAnnotationId", "900")
    path = folder / f"{name}.eaf"
    Elan.to_eaf(str(path), eaf)
    return path


def test_a_field_document_gets_drafts_and_keeps_all_that_people_wrote(draft: Stage, tmp_path: Path) -> None:
    original = field_document(tmp_path / "corpus")
    before = original.read_bytes()
    summary = draft(original.parent, tiers=("tx",))
    copy = original.with_name("talk.draft.eaf")
    assert summary.files == [copy] and summary.segments == 3 and not summary.failed
    assert original.read_bytes() == before
    elan_rules.check(copy)
    found = tiers(copy)
    assert found["tx@A (draft)"] == ["de ab"] and found["tx@B (draft)"] == ["cad", "be"]
    assert found["words of tx@A"] == ["de", "ab"] and "tx@C (draft)" not in found
    own = [name for name in found if "draft" in name or " of " in name]
    assert canonical(copy, *own) == canonical(original)
    assert "<!-- by hand -->" in copy.read_text("utf-8")
    root = ElementTree.parse(copy).getroot()
    (tier,) = (t for t in root.iter("TIER") if t.get("TIER_ID") == "tx@A (draft)")
    assert tier.attrib == {
        "TIER_ID": "tx@A (draft)",
        "PARTICIPANT": "A",
        "LINGUISTIC_TYPE_REF": "tx",
        "PARENT_REF": "ref@A",
        "LANG_REF": "xho",
        "DEFAULT_LOCALE": "en",
    }
    slots = [int(s.get("TIME_VALUE", "0")) for s in root.iter("TIME_SLOT")]
    assert slots == sorted(slots)
    # The words are where they are spoken: the document's zero is half a second into the recording.
    (de, ab), (start, end) = times_of(copy, "words of tx@A"), times_of(copy, "ref@A")[1]
    assert start <= de[0] < de[1] <= ab[0] < ab[1] <= end and abs(ab[1] - (end - 80)) < 120
    reading = corpora.read_all([Source(root=original.parent, tiers=("tx",))], "art", allow_unsplit=True)
    assert [u.text for u in reading.utterances] == ["ɓ & ŋ"], "what people wrote is read once, drafts not at all"
    assert [(p.kind, p.utterances) for p in reading.left_out if p.kind == "machine draft"] == [("machine draft", 3)]
    edit(copy, "<ANNOTATION_VALUE>cad</ANNOTATION_VALUE></REF_ANNOTATION>",
         "<ANNOTATION_VALUE>ca d</ANNOTATION_VALUE></REF_ANNOTATION>")  # fmt: skip
    corrected = corpora.read_all([Source(root=original.parent, tiers=("tx",))], "art", allow_unsplit=True).utterances
    assert [(u.text, u.speaker, u.provenance) for u in corrected] == [
        ("ca d", "B", "corrected"),
        ("ɓ & ŋ", "A", None),
    ]
    assert draft(original.parent, tiers=("tx",)).aligned == 1
    elan_rules.check(copy)
    assert tiers(copy)["words of tx@B"] == ["ca", "d", "be"] and canonical(copy, *own) == canonical(original)


def test_a_draft_is_made_once_and_the_model_not_loaded_for_it(draft: Stage, tmp_path: Path) -> None:
    simple(tmp_path / "corpus", "a", "abc", "de", drawn=(0, 1))
    assert draft(tmp_path / "corpus").segments == 2
    (copy,) = (tmp_path / "corpus").glob("*.draft.eaf")
    before = copy.read_bytes()
    summary = draft(tmp_path / "corpus")
    assert (summary.files, summary.up_to_date, draft.loads) == ([], 1, 1) and copy.read_bytes() == before


def test_another_model_replaces_machine_text_only_and_words_follow_corrections(
    draft: Stage, other: Stage, tmp_path: Path
) -> None:
    simple(tmp_path / "corpus", "a", "abc", "ab cad", "cab", "bad ace", drawn=(0, 1, 2, 3))
    draft(tmp_path / "corpus")
    copy = tmp_path / "corpus" / "a.draft.eaf"
    edit(copy, ">ab cad<", ">ab ca<")  # a correction
    summary = other(tmp_path / "corpus")
    assert (summary.rewritten, summary.corrected, summary.aligned, summary.segments) == (3, 1, 1, 0)
    found = tiers(copy)
    assert found["utterance (draft)"] == ["ebc", "ab ca", "ceb", "bed ece"]
    assert found["words of utterance"] == ["ebc", "ab", "ca", "ceb", "bed", "ece"]
    elan_rules.check(copy)
    assert read(tmp_path / "corpus") == {
        "ebc": "machine",
        "ab ca": "corrected",
        "ceb": "machine",
        "bed ece": "machine",
    }
    assert (tmp_path / "corpus" / "a.draft.eaf.backup").is_file()
    again = other(tmp_path / "corpus")
    assert (again.files, again.up_to_date, again.corrected) == ([], 1, 1)


def test_words_follow_a_correction_by_the_same_model_too(draft: Stage, tmp_path: Path) -> None:
    path = simple(tmp_path, "a", "abc de", drawn=(0,))
    draft(path)
    copy = tmp_path / "a.draft.eaf"
    edit(copy, ">abc de<", ">ab c de<")
    assert draft(path.parent).aligned == 1
    words, times = tiers(copy)["words of utterance"], times_of(copy, "words of utterance")
    assert words == ["ab", "c", "de"] and times[0][1] <= times[1][0] < times[1][1] <= times[2][0]


def test_a_correction_that_the_model_cannot_write_loses_its_words_and_is_named(
    draft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = simple(tmp_path, "a", "abc de", drawn=(0,))
    draft(path)
    edit(tmp_path / "a.draft.eaf", ">abc de<", ">abc xyz<")
    summary = draft(tmp_path)
    assert summary.aligned == 0 and len(summary.unaligned) == 1
    assert tiers(tmp_path / "a.draft.eaf")["words of utterance"] == []
    said = " ".join(capsys.readouterr().err.split())
    assert "1 corrected segments have no words, since they cannot be aligned" in said and "'x'" in said


def test_what_a_person_confirmed_or_glossed_or_corrected_in_the_words_stays(
    draft: Stage, other: Stage, tmp_path: Path
) -> None:
    simple(tmp_path, "a", "abc", "cab", "bad", "ace", drawn=(0, 1, 2, 3))
    draft.doubt = 0.5
    assert draft(tmp_path).unsure == 4
    copy = tmp_path / "a.draft.eaf"
    assert tiers(copy)["status of utterance"] == ["check"] * 4
    root = ElementTree.parse(copy)
    (status,) = (t for t in root.iter("TIER") if t.get("TIER_ID") == "status of utterance")
    status[0][0].find("ANNOTATION_VALUE").text = "OK"  # of abc
    del status[0][0].attrib["CVE_REF"]
    (words,) = (t for t in root.iter("TIER") if t.get("TIER_ID") == "words of utterance")
    words[1][0].find("ANNOTATION_VALUE").text = "cap"
    (segments,) = (t for t in root.iter("TIER") if t.get("TIER_ID") == "utterance (draft)")
    bad = segments[2][0].get("ANNOTATION_ID")
    gloss = ElementTree.fromstring(
        '<TIER TIER_ID="gloss" LINGUISTIC_TYPE_REF="draft status" PARENT_REF="utterance (draft)"><ANNOTATION>'
        f'<REF_ANNOTATION ANNOTATION_ID="a990" ANNOTATION_REF="{bad}"><ANNOTATION_VALUE>evil</ANNOTATION_VALUE>'
        "</REF_ANNOTATION></ANNOTATION></TIER>"
    )
    root.getroot().insert([*root.getroot()].index(segments) + 1, gloss)
    root.write(copy, "utf-8", xml_declaration=True)
    summary = other(tmp_path)
    assert tiers(copy)["utterance (draft)"] == ["abc", "cab", "bad", "ece"]
    assert (summary.rewritten, summary.corrected, len(summary.kept)) == (1, 1, 2)
    assert tiers(copy)["status of utterance"] == ["OK", "check", "check"], "the model is sure of the last one now"
    assert read(tmp_path)["abc"] == "corrected"
    elan_rules.check(copy)


def test_the_least_confident_fifth_is_to_be_checked_and_nothing_of_which_the_model_is_sure() -> None:
    segments = [stage.DraftSegment(n, n + 1, "a", ()) for n in range(10)]

    def checked(*confidences: float) -> list[int]:
        return [n for n, s in enumerate(stage._with_unsure(segments, confidences)) if s.unsure]

    assert checked(*(0.6 - n / 100 for n in range(10))) == [8, 9]
    assert checked(0.5, *(0.9 for _ in range(9))) == [0]
    assert checked(*(0.95 for _ in range(10))) == []
    assert stage._with_unsure([], []) == []


def test_a_plain_recording_is_cut_at_its_pauses(draft: Stage, tmp_path: Path) -> None:
    times = record(tmp_path / "a.wav", "abc de", "cab", "bad")
    record(tmp_path / "b.wav", "abc")
    (tmp_path / "b.txt").write_text("abc\n")
    summary = draft(tmp_path)
    assert [path.name for path in summary.files] == ["a.eaf"] and summary.segments == 3
    elan_rules.check(tmp_path / "a.eaf")
    found = tiers(tmp_path / "a.eaf")
    assert found["segments"] == ["abc de", "cab", "bad"] and found["words"] == ["abc", "de", "cab", "bad"]
    for (start, end), (from_ms, to_ms) in zip(times_of(tmp_path / "a.eaf", "segments"), times, strict=True):
        assert abs(start - from_ms) < 200 and abs(end - to_ms) < 200
    assert draft(tmp_path).files == []


def test_a_document_without_annotations_is_cut_into_a_draft_of_its_only_tier(draft: Stage, tmp_path: Path) -> None:
    simple(tmp_path, "a", "abc", "de")
    simple(tmp_path, "b", "cab", written={0: "cab"})
    summary = draft(tmp_path)
    assert (summary.segments, summary.transcribed) == (2, 1) and not (tmp_path / "b.draft.eaf").exists()
    found = tiers(tmp_path / "a.draft.eaf")
    assert found["utterance (draft)"] == ["abc", "de"] and found["utterance"] == []
    assert "TierColors" in (tmp_path / "a.draft.pfsx").read_text("utf-8")


def test_in_place_the_file_itself_is_written_after_a_backup(draft: Stage, tmp_path: Path) -> None:
    path = simple(tmp_path, "a", "abc", "de", drawn=(0,), written={1: "de"})
    before, people = path.read_bytes(), canonical(path)
    assert draft(tmp_path, in_place=True).files == [path]
    assert (tmp_path / "a.eaf.backup").read_bytes() == before and not list(tmp_path.glob("*.draft.*"))
    assert canonical(path, "utterance (draft)", "words of utterance", "status of utterance") == people
    assert read(tmp_path) == {"de": None, "abc": "machine"}
    assert draft(tmp_path).files == [], "a file that has a draft in itself gets no copy"


def test_in_place_is_said_to_not_apply_where_there_is_a_copy(
    draft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = simple(tmp_path, "a", "abc", drawn=(0,))
    before = path.read_bytes()
    draft(tmp_path)
    assert "--in-place" not in capsys.readouterr().err
    assert draft(tmp_path, in_place=True).up_to_date == 1 and path.read_bytes() == before
    assert "--in-place does not apply to 1 file with a draft beside it" in " ".join(capsys.readouterr().err.split())


def test_a_recording_alone_is_drafted_with_the_annotations_beside_it(
    draft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = simple(tmp_path, "a", "abc", "de", drawn=(0,), written={1: "de"})
    before = path.read_bytes()
    copy = tmp_path / "a.draft.eaf"
    assert draft(tmp_path / "a.wav").files == [copy] and path.read_bytes() == before
    assert draft(tmp_path / "a.wav").up_to_date == 1
    assert draft(copy).up_to_date == 1, "the copy alone, with its original beside it"
    record(tmp_path / "b.wav", "cab")
    assert draft(tmp_path / "b.wav").files == [tmp_path / "b.eaf"]
    assert draft(tmp_path / "b.wav").up_to_date == 1


def test_a_file_is_never_replaced_by_the_draft_of_a_recording(
    draft: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = simple(tmp_path, "a", "abc", written={0: "abc"})
    before = path.read_bytes()
    monkeypatch.setattr(stage, "_annotated_files", lambda corpus: [])
    assert draft(tmp_path / "a.wav").failed == 1 and path.read_bytes() == before
    assert "already exists, and would be replaced by a draft" in " ".join(capsys.readouterr().err.split())


def test_a_file_that_is_saved_while_it_is_drafted_is_not_overwritten(
    draft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = simple(tmp_path, "a", "abc", drawn=(0,))
    fill = stage._Drafting._fill

    def slow(self: stage._Drafting, *arguments: object) -> None:
        fill(self, *arguments)  # type: ignore[arg-type]
        edit(path, "anna", "anne")

    monkeypatch.setattr(stage._Drafting, "_fill", slow)
    summary = draft(tmp_path, in_place=True)
    assert summary.failed == 1 and "anne" in path.read_text("utf-8") and "draft" not in path.read_text("utf-8")
    assert "was changed while it was drafted" in " ".join(capsys.readouterr().err.split())


def test_a_damaged_file_does_not_end_the_others(draft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    simple(tmp_path, "b", "abc", drawn=(0,))
    (tmp_path / "a.eaf").write_text("<ANNOTATION_DOCUMENT>")
    shutil.copy(tmp_path / "b.eaf", tmp_path / "c.eaf")
    edit(tmp_path / "c.eaf", "./b.wav", "./missing.wav")
    text = (tmp_path / "c.eaf").read_text("utf-8").replace("b.wav", "missing.wav")
    (tmp_path / "c.eaf").write_text(text, "utf-8")
    (tmp_path / "d.wav").write_bytes(b"RIFF")
    summary = draft(tmp_path)
    assert (summary.failed, [p.name for p in summary.files]) == (3, ["b.draft.eaf"])
    said = capsys.readouterr().err
    assert all(name in said for name in ("a.eaf", "missing.wav", "d.wav"))


def test_types_that_may_hold_the_transcript_have_to_be_named(draft: Stage, tmp_path: Path) -> None:
    original = field_document(tmp_path)
    edit(original, 'TIER_ID="ft@C" LINGUISTIC_TYPE_REF="ft" PARENT_REF="ref@C"',
         'TIER_ID="ft@C" LINGUISTIC_TYPE_REF="notes"')  # fmt: skip
    edit(original, '<TIER TIER_ID="ft@C" LINGUISTIC_TYPE_REF="notes"/>',
         '<TIER TIER_ID="ft@C" LINGUISTIC_TYPE_REF="notes"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a80" '
         'TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
         "</ANNOTATION></TIER>")  # fmt: skip
    with pytest.raises(InputError, match=r"--tiers: several tiers may hold the transcript.*'notes'"):
        draft(tmp_path)
    with pytest.raises(InputError, match=r"'txt'\. Is it 'tx'"):
        draft(tmp_path, tiers=("txt",))


def test_every_channel_is_a_speaker_and_stays_one(draft: Stage, other: Stage, tmp_path: Path) -> None:
    one, two = say("abc"), say("de")
    silence = np.zeros(RATE_HZ, np.float32)
    left = np.concatenate([silence, one, silence, np.zeros(len(two), np.float32), silence])
    right = np.concatenate([silence, np.zeros(len(one), np.float32), silence, two, silence])
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE_HZ)
    draft(tmp_path, channel="each")
    found = tiers(tmp_path / "a.eaf")
    assert found["segments channel 1"] == ["abc"] and found["segments channel 2"] == ["de"]
    elan_rules.check(tmp_path / "a.eaf")
    draft_of = ElementTree.parse(tmp_path / "a.eaf").getroot()
    (kept,) = (p.text for p in draft_of.iter("PROPERTY") if p.get("NAME") == "asr_adapt.draft")
    assert json.loads(kept or "")["tiers"]["segments channel 2"]["channel"] == 2
    assert other(tmp_path).rewritten == 2
    found = tiers(tmp_path / "a.eaf")
    assert found["segments channel 1"] == ["ebc"] and found["segments channel 2"] == ["de"]
    inputs = find([str(tmp_path / "a.wav")])
    out = tmp_path / "transcribed"
    transcribe_stage(lambda: ears(draft.model, 0.01, {}), draft.folder, inputs, "eaf", out, Console(), channel="each")
    assert other(out).rewritten == 2 and tiers(out / "a.eaf")["segments channel 1"] == ["ebc"]


def grid(folder: Path, name: str, *labels: tuple[float, float, str], duration_s: float) -> Path:
    from praatio.utilities import textgrid_io

    tier = {"class": "IntervalTier", "name": "speech", "xmin": 0, "xmax": duration_s, "entries": list(labels)}
    marks = {"class": "TextTier", "name": "marks", "xmin": 0, "xmax": duration_s, "entries": [(0.5, 'a "mark"')]}
    path = folder / f"{name}.TextGrid"
    content = {"xmin": 0, "xmax": duration_s, "tiers": [tier, marks]}
    path.write_text(textgrid_io.getTextgridAsStr(content, "long_textgrid", includeBlankSpaces=True), "utf-8")
    return path


def test_a_textgrid_is_drafted_in_a_copy_and_its_marks_are_kept_beside_it(
    draft: Stage, other: Stage, tmp_path: Path
) -> None:
    times = record(tmp_path / "a.wav", "abc", "cab")
    record(tmp_path / "b.wav", "de")
    record(tmp_path / "c.wav", "de")
    duration_s = soundfile.info(tmp_path / "a.wav").duration
    original = grid(tmp_path, "a", duration_s=duration_s)
    grid(tmp_path, "b", (0.9, 1.4, "de"), duration_s=soundfile.info(tmp_path / "b.wav").duration)
    before = original.read_bytes()
    summary = draft(tmp_path)
    assert ([p.name for p in summary.files], summary.transcribed) == (["a.draft.TextGrid", "c.TextGrid"], 1)
    (tmp_path / "c.TextGrid").unlink()  # recordings get what their folder has
    (tmp_path / "c.wav").unlink()
    copy = tmp_path / "a.draft.TextGrid"
    assert original.read_bytes() == before and 'mark = "a ""mark"""' in copy.read_text("utf-8")
    assert read(tmp_path) == {"abc": "machine", "cab": "machine", "de": None}
    assert "a.draft.TextGrid" in TranscriptionRecord.read(tmp_path).drafts
    edit(copy, '"cab"', '"cad"') if copy.read_text("utf-8").count('"cab"') == 1 else copy.write_text(
        copy.read_text("utf-8").replace('"cab"', '"cad"', 1), "utf-8")  # fmt: skip
    summary = other(tmp_path)
    assert (summary.rewritten, summary.corrected, summary.aligned) == (1, 1, 1)
    assert read(tmp_path) == {"ebc": "machine", "cad": "corrected", "de": None}
    assert read(tmp_path, "words of speech") == {"ebc": "machine", "cad": "corrected"}
    assert len(times) == 2


def test_plain_recordings_become_textgrids_where_it_is_asked_for(draft: Stage, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", "abc de", "cab")
    assert [path.name for path in draft(tmp_path, format="textgrid").files] == ["a.TextGrid"]
    assert read(tmp_path) == {"abc de": "machine", "cab": "machine"}
    assert draft(tmp_path, format="textgrid").up_to_date == 1


def test_accepted_drafts_are_a_persons_and_are_not_written_anew(draft: Stage, other: Stage, tmp_path: Path) -> None:
    simple(tmp_path, "a", "abc", drawn=(0,))
    record(tmp_path / "b.wav", "cab")
    draft(tmp_path)
    record(tmp_path / "grids" / "c.wav", "bad")
    draft(tmp_path / "grids", format="textgrid")
    stage.accept([tmp_path / "a.draft.eaf", tmp_path / "grids"], Console())
    assert read(tmp_path / "grids") == {"bad": None}
    (tmp_path / "grids").rename(tmp_path.parent / f"{tmp_path.name}-grids")
    assert read(tmp_path) == {"abc": None, "cab": "machine"}
    summary = other(tmp_path)
    assert summary.rewritten == 1 and tiers(tmp_path / "a.draft.eaf")["utterance (draft)"] == ["abc"]
    elan_rules.check(tmp_path / "a.draft.eaf")
    with pytest.raises(InputError, match="no draft in it"):
        stage.accept([tmp_path / "a.eaf"], Console())


@pytest.mark.parametrize("format", ["eaf", "textgrid"])
def test_what_was_deleted_from_an_accepted_draft_is_not_drafted_again(
    draft: Stage, tmp_path: Path, format: str, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "corpus"
    if format == "eaf":
        simple(folder, "a", "abc", "cab", drawn=(0, 1))
    else:
        record(folder / "a.wav", "abc", "cab")
        grid(folder, "a", duration_s=soundfile.info(folder / "a.wav").duration)
    (copy,) = draft(folder).files
    text = copy.read_text("utf-8")
    first = text.index("cab")  # the segment; its word comes later
    copy.write_text(text[:first] + text[first + 3 :], "utf-8")
    assert draft(folder).up_to_date == 1
    stage.accept([copy], Console())
    assert "accepted 1 draft as it is:" in " ".join(capsys.readouterr().err.split())
    assert draft(folder).files == []
    assert read(folder, "utterance" if format == "eaf" else "speech") == {"abc": None}


def test_annotations_that_were_added_to_the_file_behind_a_copy_are_named(
    draft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    simple(tmp_path, "a", "abc", "de", drawn=(0,))
    draft(tmp_path)
    simple(tmp_path, "a", "abc", "de", drawn=(0, 1))
    assert draft(tmp_path).behind == [f"{tmp_path / 'a.draft.eaf'} lacks 1"]
    assert "copies lack annotations of the file beside them" in " ".join(capsys.readouterr().err.split())


def test_an_annotation_that_was_filled_in_the_file_and_in_its_draft_is_read_once(
    draft: Stage, tmp_path: Path
) -> None:
    simple(tmp_path, "a", "abc", "de", "cab", drawn=(0, 1, 2))
    (copy,) = draft(tmp_path).files
    text = copy.read_text("utf-8")
    copy.write_text(text.replace(">abc<", ">abe<", 1), "utf-8")
    simple(tmp_path, "a", "abc", "de", "cab", drawn=(2,), written={0: "abd", 1: "dea"})
    found = corpora.read_all([Source(root=tmp_path, trust_drafts=True)], "art", allow_unsplit=True)
    assert {u.text: u.provenance for u in found.utterances} == {"abd": None, "dea": None, "cab": "machine"}
    assert [(part.kind, part.name, part.utterances) for part in found.left_out] == [
        ("differing copy", "tier 'utterance (draft)'", 1)
    ]


def test_a_model_that_cannot_be_loaded_ends_the_command_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        simple(tmp_path, name, "abc", drawn=(0,))

    def load() -> Transcriber:
        raise InputError("damaged", place="model")

    with pytest.raises(InputError, match="model: damaged"):
        stage.draft(load, tmp_path / "nowhere", tmp_path, Console())


def test_a_document_of_transcribe_goes_on_as_a_draft(draft: Stage, other: Stage, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", "abc", "cab")

    def transcribe() -> int:
        inputs = find([str(tmp_path / "a.wav")])
        return transcribe_stage(lambda: ears(draft.model, 0.01, {}), draft.folder, inputs, "eaf", tmp_path, Console())

    assert transcribe() == 0
    assert draft(tmp_path).up_to_date == 1, "it is the same model"
    assert other(tmp_path).rewritten == 2
    assert tiers(tmp_path / "a.eaf") == {"segments": ["ebc", "ceb"], "words": ["ebc", "ceb"]}
    assert transcribe() == 0 and tiers(tmp_path / "a.eaf")["segments"] == ["ebc", "ceb"]


def test_an_interrupted_textgrid_is_known_as_a_draft(
    draft: Stage, other: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "a.wav", "abc", "cab")
    draft(tmp_path, format="textgrid")

    def interrupted(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other(tmp_path)
    monkeypatch.undo()
    assert read(tmp_path) == {"abc": "machine", "cab": "machine"}
    assert other(tmp_path).rewritten == 2 and read(tmp_path) == {"ebc": "machine", "ceb": "machine"}


def test_nothing_to_draft_is_said(draft: Stage, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(InputError, match="nothing here can be drafted"):
        draft(tmp_path / "corpus")
    with pytest.raises(InputError, match="no such file or folder"):
        draft(tmp_path / "nowhere")


def test_words_of_the_marks_are_hashes_only(draft: Stage, tmp_path: Path) -> None:
    simple(tmp_path, "a", "abc", drawn=(0,))
    draft(tmp_path)
    text = (tmp_path / "a.draft.eaf").read_text("utf-8")
    (kept,) = re.findall(r'<PROPERTY NAME="asr_adapt.draft">(.*?)</PROPERTY>', text)
    assert "abc" not in kept
