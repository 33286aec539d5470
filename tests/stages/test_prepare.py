"""Preparation: what is decoded and written, what is excluded and why."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, say, tone_recipe, write_corpus

from asr_adapt import audio, corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import DiskFull, InputError
from asr_adapt.recipe import Text
from asr_adapt.records import Split
from asr_adapt.stages.prepare import check_splits, prepare
from asr_adapt.storage import disk_full_as_error

BAD = {
    "unreadable.wav": ("unreadable_audio", "ab"),
    "empty.wav": ("unreadable_audio", "ab"),
    "nan.wav": ("unreadable_audio", "ab"),
    "short.wav": ("too_short", "a"),
    "long.wav": ("too_long", "ab"),
    "silent.wav": ("silent", "ab"),
    "wordless.wav": ("empty_text", "?!"),
    "hasty.wav": ("text_too_long", "abcde" * 12),
}


def spoil(root: Path, split: str) -> None:
    """Add a bad clip of each kind to a split."""
    clips = root / "clips"
    speech = say("ab")
    sounds = {"short.wav": speech[:800], "long.wav": np.tile(speech, 100), "silent.wav": speech * 1e-5,
              "nan.wav": np.where(np.arange(len(speech)) == 9, np.nan, speech)}  # fmt: skip
    with (root / f"{split}.tsv").open("a", encoding="utf-8") as table:
        for name, (_, text) in BAD.items():
            soundfile.write(clips / f"{split}-{name}", sounds.get(name, speech), RATE_HZ, subtype="FLOAT")
            table.write(f"x\t{split}-{name}\t{text}\tart\n")
    (clips / f"{split}-unreadable.wav").write_bytes(b"RIFF no audio")
    (clips / f"{split}-empty.wav").write_bytes(b"")


def prepared_corpus(root: Path, folder: Path, **fields: object) -> PreparationSummary:
    recipe = tone_recipe(root)
    recipe = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update=fields)})
    return prepare(recipe, corpora.read(root, "art"), FrameGrid(), folder, Console(quiet=True))


def test_what_cannot_be_trained_on_is_left_out_and_listed_with_its_reason(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    spoil(root, "train")
    summary = prepared_corpus(root, tmp_path / "data", max_duration_s=20.0)
    reasons = {e.id.removeprefix("train-"): e.reason for e in summary.excluded}
    assert reasons == {name: reason for name, (reason, _) in BAD.items()}
    assert all(e.detail and "\n" not in e.detail for e in summary.excluded)
    assert summary.utterances == {"train": 20, "dev": 6, "test": 6}
    assert summary.excluded_counts("train")["unreadable_audio"] == 3
    assert PreparationSummary.read(tmp_path / "data") == summary


@pytest.mark.parametrize("split", ["dev", "test"])
def test_from_dev_and_test_only_what_cannot_be_read_is_left_out(tmp_path: Path, split: Split) -> None:
    root = write_corpus(tmp_path / "corpus")
    spoil(root, split)
    summary = prepared_corpus(root, tmp_path / "data")
    assert summary.excluded_counts(split) == {"unreadable_audio": 3}
    assert summary.utterances[split] == 6 + len(BAD) - 3


def test_waveforms_are_those_of_the_decoder_and_texts_those_of_the_corpus(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    stereo = np.stack([say("ab"), say("ba")], axis=1)
    for number, rate_hz in enumerate((8_000, 22_050, 44_100, 48_000)):
        soundfile.write(root / "clips" / f"train{number}.wav", np.repeat(stereo, 3, axis=0), rate_hz)
    prepared_corpus(root, tmp_path / "data")
    split = prepared.load(tmp_path / "data", "train")
    for index, utterance in enumerate(split.utterances):
        waveform = split.waveform(index)
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, audio.load(utterance.audio))
        assert utterance.duration_s == len(waveform) / RATE_HZ
        assert utterance.text == f"{split.references[index].capitalize()}."
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {"train.arrow", "dev.arrow", "test.arrow", "digests.json", "doctor.json"}


def test_the_alphabet_is_that_of_the_training_text_and_other_letters_are_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    table = root / "test.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("\tart", "ʘ\tart", 1), encoding="utf-8")
    summary = prepared_corpus(root, tmp_path / "data")
    assert set(summary.alphabet[2:]) == set("abcdeŋ")
    assert summary.unknown_letters["test"] == {"ʘ": 1}
    assert {change.character for change in summary.character_changes} >= {"."}


def test_a_part_of_the_hours_can_be_asked_for(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    summary = prepared_corpus(root, tmp_path / "data", max_train_hours=5 / 3600)
    assert 5 <= summary.hours["train"] * 3600 < 7
    assert summary.utterances["test"] == 6


def test_a_clip_that_is_not_there_does_not_end_the_choice_of_a_part(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    (root / "clips" / "train3.wav").unlink()
    summary = prepared_corpus(root, tmp_path / "data", max_train_hours=1.0)
    assert summary.utterances["train"] == 19 and summary.excluded_counts("train") == {"unreadable_audio": 1}


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus", train=0)
    with pytest.raises(InputError, match="the train split is empty"):
        check_splits(tone_recipe(root), corpora.read(root, "art"))


def test_a_split_without_a_transcript_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    lines = (root / "test.tsv").read_text(encoding="utf-8").splitlines()
    rows = ["\t".join((*line.split("\t")[:2], "…", "art")) for line in lines[1:]]
    (root / "test.tsv").write_text("\n".join((lines[0], *rows)), encoding="utf-8")
    with pytest.raises(InputError, match="no utterance of the test split has a transcript"):
        check_splits(tone_recipe(root), corpora.read(root, "art"))


def test_a_split_of_which_nothing_can_be_used_says_why(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus", train=2)
    for clip in (root / "clips").glob("train*"):
        clip.write_bytes(b"")
    with pytest.raises(InputError, match="unreadable_audio × 2"):
        prepared_corpus(root, tmp_path / "data")


def test_a_damaged_prepared_file_is_named(tmp_path: Path) -> None:
    prepared_corpus(write_corpus(tmp_path / "corpus"), tmp_path / "data")
    path = tmp_path / "data" / "dev.arrow"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"dev\.arrow: is damaged"):
        prepared.load(tmp_path / "data", "dev")
    assert json.loads((tmp_path / "data" / "doctor.json").read_text())["utterances"]["dev"] == 6


def test_what_nobody_understood_is_excluded_from_every_split_and_its_letters_from_the_alphabet(
    tmp_path: Path,
) -> None:
    write_corpus(tmp_path / "tones", train=4, dev=2, test=2)
    for split in ("train", "dev", "test"):
        table = tmp_path / "tones" / f"{split}.tsv"
        header, first, *rest = table.read_text(encoding="utf-8").splitlines()
        columns = header.split("\t")
        cells = first.split("\t")
        cells[columns.index("sentence")] += " QXXX xxx"
        table.write_text("\n".join([header, "\t".join(cells), *rest]) + "\n", encoding="utf-8")
    recipe = tone_recipe(tmp_path / "tones").model_copy(update={"text": Text(unclear=("xxx",))})
    utterances = corpora.read(tmp_path / "tones", "art")
    summary = prepare(recipe, utterances, FrameGrid(), tmp_path / "data", Console(quiet=True))
    assert summary.utterances == {"train": 3, "dev": 1, "test": 1}
    assert [summary.excluded_counts(split) for split in ("train", "dev", "test")] == [{"unclear": 1}] * 3
    assert not {"x", "q"} & {*summary.alphabet}


def test_a_full_disk_leaves_no_half_of_a_split_and_the_same_folder_is_prepared_when_there_is_room(
    tmp_path: Path,
) -> None:
    root, data = write_corpus(tmp_path / "corpus"), tmp_path / "data"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file may grow beyond it
    try:
        with (
            pytest.raises(DiskFull, match=r"data: cannot be written: .*Make room"),
            disk_full_as_error(data, "Make room."),
        ):
            prepared_corpus(root, data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in data.rglob("*") if path.stat().st_size]
    assert prepared_corpus(root, data).utterances == {"train": 20, "dev": 6, "test": 6}
