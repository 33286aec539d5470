"""next: speech without a transcript, the list of what to transcribe, and .eaf files with empty annotations."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, say, sentences
from pympi import Elan

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.formats.writers import Media, to_empty_eaf
from asr_adapt.inference.recordings import find
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.recipe import Model, Text
from asr_adapt.records import Utterance
from asr_adapt.stages import next as stage
from asr_adapt.stages.transcribe import transcribe
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.workflows.next import propose

pytestmark = pytest.mark.usefixtures("tones_are_speech")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, which writes something."""
    made = head.create(
        Model(base="none", hidden_size=64, layers=1), Alphabet.from_texts(["ab cde"]), "art", Text(), 0
    )
    folder = tmp_path_factory.mktemp("model")
    made.save(folder / "model")
    return folder / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of five sentences each, a second of silence after each sentence."""
    for number, name in enumerate(("one", "two")):
        pieces = [np.pad(say(text, number), (0, RATE_HZ)) for text in sentences(5, seed=number)]
        (tmp_path / "speech").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "speech" / f"{name}.wav", np.concatenate(pieces), RATE_HZ)
    return tmp_path / "speech"


def surveyed(model: Path, folder: Path, *transcribed: Utterance) -> stage.Speech:
    transcriber = Transcriber.from_folder(model)
    return stage.survey(transcriber, find([str(folder)]), transcribed, Console(quiet=True))


def test_every_sentence_is_a_stretch_and_stretches_do_not_overlap(model: Path, folder: Path) -> None:
    found = [s for s in surveyed(model, folder).stretches if s.recording.name == "one.wav"]
    assert len(found) == 5
    assert all(0 <= s.start_s < s.end_s for s in found)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(found))


def test_what_is_transcribed_is_left_out_and_a_recording_that_is_wholly_transcribed_is_not_opened(
    model: Path, folder: Path
) -> None:
    everything = surveyed(model, folder).stretches
    first = next(s for s in everything if s.recording.name == "one.wav")
    part = Utterance(id="a", audio=str(first.recording), start_s=first.start_s, end_s=first.end_s, text="abc")
    (folder / "two.wav").write_bytes(b"no audio")
    whole = Utterance(id="b", audio=str(folder / "two.wav"), text="abc")
    speech = surveyed(model, folder, part, whole)
    assert not speech.failed
    left = [s for s in everything if s.recording.name == "one.wav" and s is not first]
    assert [(s.start_s, s.end_s) for s in speech.stretches] == [(s.start_s, s.end_s) for s in left]
    assert surveyed(model, folder, part).failed == 1, "a recording that cannot be read is counted"


def test_the_eaf_holds_empty_annotations_at_the_times_of_the_list(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "next"
    proposals = propose(folder, model, 0.1, out, Console(quiet=True))
    assert sum(p.stretch.end_s - p.stretch.start_s for p in proposals) <= 6.0
    listed = json.loads((out / "next.json").read_text(encoding="utf-8"))
    found = []
    for path in sorted(out.glob("*.eaf")):
        document = Elan.Eaf(str(path))
        (media,) = document.media_descriptors
        recording = (out / media["RELATIVE_MEDIA_URL"]).resolve()
        assert recording.is_file()
        found += [
            (str(recording), start, end, value)
            for start, end, value in document.get_annotation_data_for_tier("transcript")
        ]
    assert sorted(found) == sorted(
        (str(Path(one["recording"]).resolve()), round(one["start_s"] * 1000), round(one["end_s"] * 1000), "")
        for one in listed
    )


def test_the_training_text_beside_a_model_and_transcripts_in_the_folder_count_as_known(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "one.txt").write_text("abc")
    propose(folder, model, 1, None, Console())
    printed = capsys.readouterr()
    assert "5 stretches of speech without a transcript" in printed.err and "1 known sentences" in printed.err
    assert "two.wav" in printed.out and "one.wav" not in printed.out


def test_files_with_empty_annotations_are_no_transcripts(model: Path, folder: Path) -> None:
    propose(folder, model, 0.05, folder, Console(quiet=True))
    assert list(folder.glob("*.eaf"))
    assert len(propose(folder, model, 10, None, Console(quiet=True))) == 10


def test_drafts_that_nobody_corrected_are_no_transcripts(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcribe(lambda: Transcriber.from_folder(model), model, find([str(folder)]), "eaf", folder, Console(quiet=True))
    assert len(propose(folder, model, 10, None, Console())) == 10
    assert "segments are drafts that nobody corrected: they count as not transcribed" in capsys.readouterr().err


def test_the_transcript_beside_a_single_recording_counts(model: Path, folder: Path, tmp_path: Path) -> None:
    proposals = propose(folder / "one.wav", model, 10, tmp_path / "next", Console(quiet=True))
    assert len(proposals) == 5
    document = (tmp_path / "next" / "one.eaf").read_text("utf-8")
    empty = re.search(r"<ANNOTATION_VALUE ?/>|<ANNOTATION_VALUE></ANNOTATION_VALUE>", document)
    assert empty is not None
    document = document.replace(empty[0], "<ANNOTATION_VALUE>abc</ANNOTATION_VALUE>", 1)
    (folder / "one.eaf").write_text(document, "utf-8")
    assert len(propose(folder / "one.wav", model, 10, None, Console(quiet=True))) == 4


def test_times_are_rounded_before_they_are_split_and_an_open_end_takes_nothing_away(
    model: Path, folder: Path
) -> None:
    assert [stage._clock(seconds) for seconds in (0.04, 59.94, 59.97, 3599.99)] == [
        "0:00.0",
        "0:59.9",
        "1:00.0",
        "60:00.0",
    ]
    rest = Utterance(id="a", audio=str(folder / "one.wav"), start_s=3.0, text="abc")
    assert min(surveyed(model, folder, rest).transcribed_s.values()) == 0


def test_a_recording_in_two_formats_is_one(model: Path, folder: Path) -> None:
    first = next(s for s in surveyed(model, folder).stretches if s.recording.name == "one.wav")
    (folder / "one.flac").write_bytes(b"")
    whole = Utterance(id="a", audio=str(folder / "one.flac"), start_s=first.start_s, end_s=first.end_s, text="abc")
    speech = surveyed(model, folder, whole)
    assert {s.recording.name for s in speech.stretches} == {"one.wav", "two.wav"}
    assert len(speech.stretches) == 9 and not speech.failed


def test_nothing_is_written_over(model: Path, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "next" / "one.eaf"
    place.parent.mkdir()
    place.write_text("a person's work")
    with pytest.raises(InputError, match="already exists"):
        propose(folder, model, 10, place.parent, Console(quiet=True))
    assert place.read_text() == "a person's work" and len(list(place.parent.iterdir())) == 1


def test_recordings_of_one_name_in_two_folders_are_refused(model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "again").mkdir()
    (folder / "again" / "one.wav").write_bytes((folder / "one.wav").read_bytes())
    with pytest.raises(InputError, match=r"both one\.wav and one\.wav would become one\.eaf"):
        propose(folder, model, 10, tmp_path / "next", Console(quiet=True))


def test_a_folder_in_which_all_is_transcribed_says_so(model: Path, folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.txt").write_text("abc")
    with pytest.raises(InputError, match="no stretch of speech without a transcript fits into 10 minutes"):
        propose(folder, model, 10, None, Console(quiet=True))


def test_empty_annotations_are_in_the_order_of_time(tmp_path: Path) -> None:
    text = to_empty_eaf([(2.0, 3.0), (0.5, 1.25)], "transcript", Media(tmp_path / "a.wav"), tmp_path)
    assert text.index('TIME_VALUE="500"') < text.index('TIME_VALUE="2000"')
    assert "<ANNOTATION_VALUE" in text and 'AUTHOR=""' in text
