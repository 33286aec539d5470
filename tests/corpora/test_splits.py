"""Splits that are made stay as they were made: a recording or speaker never changes sides when others come or go."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from asr_adapt import corpora
from asr_adapt.artifacts import DIGESTS
from asr_adapt.corpora import prepared
from asr_adapt.corpora.kept_splits import FILE, Corpus, KeptSplits
from asr_adapt.corpora.splits import _as_in_format_1, innermost_split, parts_by_split, split_named
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import SPLITS, Utterance

CORPUS = Corpus("field", Path("/nowhere/field"))
SIDES = {*SPLITS}


def recordings(names: Sequence[int], pieces: Callable[[int], int] = lambda name: 1 + name % 7) -> list[Utterance]:
    """Return utterances of recordings, several of each, as annotations give them."""
    return [
        Utterance(id=f"{name}#{i}", audio=f"/nowhere/field/{name}.wav", start_s=i, end_s=i + 1, text="x")
        for name in names
        for i in range(pieces(name))
    ]


def clips(names: Sequence[int]) -> list[Utterance]:
    """Return clips of ten speakers."""
    return [Utterance(id=f"{n}", audio=f"/nowhere/field/{n}.wav", text="x", speaker=f"s{n % 10}") for n in names]


def sides(utterances: Sequence[Utterance]) -> dict[str, str | None]:
    return {u.id: u.split for u in utterances}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("made", [recordings, clips])
def test_what_has_a_split_keeps_it_whatever_is_added_or_removed(
    made: Callable[[Sequence[int]], list[Utterance]], seed: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    kept, ever = KeptSplits(), dict[str, str | None]()
    present: set[int] = set()
    removed = False
    for step in range(25):
        absent = [n for n in range(200) if n not in present]
        present |= {*draw.sample(absent, min(len(absent), draw.choice((1, 1, 2, 5, 40))))}
        if step > 5 and len(present) > 3 and draw.random() < 0.4:
            present -= {*draw.sample(sorted(present), draw.randint(1, len(present) // 2))}
            removed = True
        order = draw.sample(sorted(present), len(present))
        utterances = made(order)
        if len(utterances) < len(SPLITS):
            continue
        found = corpora.with_splits(utterances, kept, CORPUS)
        assert sides(found).keys() == sides(utterances).keys()
        now = sides(found)
        assert all(ever[name] == now[name] for name in now.keys() & ever.keys())
        if not removed:
            assert {*now.values()} == SIDES
        ever |= now
        kept = kept.with_made(found, CORPUS)
        if step % 5 == 0:  # as a later process reads them
            kept.write(tmp_path)
            kept = KeptSplits.of_run(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_a_segment_keeps_its_split_whatever_annotations_and_recordings_come_and_go(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    every = [(recording, start) for recording in range(draw.choice((1, 2, 4, 20))) for start in range(60)]
    kept, ever = KeptSplits(), dict[str, str | None]()
    present: set[tuple[int, int]] = set()
    for _ in range(30):
        absent = [piece for piece in every if piece not in present]
        present |= {*draw.sample(absent, min(len(absent), draw.choice((1, 3, 10, 50))))}
        if draw.random() < 0.3:
            gone = draw.choice(every)[0]
            present = {piece for piece in present if piece[0] != gone}
        if draw.random() < 0.3:
            present -= {*draw.sample(sorted(present), len(present) // 3)}
        utterances = [
            Utterance(id=f"{n}#{start}", audio=f"/nowhere/field/{n}.wav", start_s=start, end_s=start + 1, text="x")
            for n, start in draw.sample(sorted(present), len(present))
        ]
        if len(utterances) < len(SPLITS):
            continue
        now = sides(corpora.with_splits(utterances, kept, CORPUS))
        assert all(ever[name] == now[name] for name in now.keys() & ever.keys())
        ever |= now
        kept = kept.with_made(corpora.with_splits(utterances, kept, CORPUS), CORPUS)
        kept.write(tmp_path)
        kept = KeptSplits.of_run(tmp_path)


@pytest.mark.parametrize("made", [recordings, clips])
@pytest.mark.parametrize("step", [1, 7])
def test_shares_stay_near_a_tenth_as_a_corpus_grows_one_by_one_and_no_split_is_ever_empty(
    made: Callable[[Sequence[int]], list[Utterance]], step: int
) -> None:
    kept = KeptSplits()
    for count in range(step, 201, step):
        utterances = made(range(count))
        if len(utterances) < len(SPLITS):
            continue
        found = corpora.with_splits(utterances, kept, CORPUS)
        kept = kept.with_made(found, CORPUS)
        shares = {split: sum(u.split == split for u in found) / len(found) for split in SPLITS}
        assert all(shares.values()), (count, shares)
    assert 0.05 <= shares["dev"] <= 0.2 and 0.05 <= shares["test"] <= 0.2


@pytest.mark.parametrize("count", range(3, 40))
def test_three_recordings_or_more_give_three_splits(count: int) -> None:
    for seed in range(5):
        found = corpora.with_splits(recordings(range(count), lambda name: 1), seed=seed)
        assert {u.split for u in found} == SIDES


def test_another_seed_draws_other_splits() -> None:
    utterances = recordings(range(100))
    assert sides(corpora.with_splits(utterances, seed=1)) != sides(corpora.with_splits(utterances, seed=2))


def test_a_new_recording_of_a_known_speaker_goes_where_the_speaker_is() -> None:
    found = corpora.with_splits(clips(range(100)), None, CORPUS)
    kept = KeptSplits().with_made(found, CORPUS)
    side_of = {u.speaker: u.split for u in found}
    more = corpora.with_splits(clips(range(150)), kept, CORPUS)
    assert all(u.split == side_of[u.speaker] for u in more)


def test_a_recording_that_was_cut_in_time_stays_cut_there_when_it_gets_more_annotations() -> None:
    def annotated(times: Sequence[int]) -> list[Utterance]:
        return [Utterance(id=f"{t}", audio="/nowhere/field/a.wav", start_s=t, end_s=t + 1) for t in times]

    found = corpora.with_splits(annotated(range(0, 100, 2)), None, CORPUS)
    kept = KeptSplits().with_made(found, CORPUS)
    assert [row.split for row in kept.rows] == ["train", "dev", "test"]
    more = corpora.with_splits(annotated(range(100)) + recordings(range(3)), kept, CORPUS)
    later = sides(more)
    assert all(later[name] == side for name, side in sides(found).items())
    assert (later["79"], later["81"], later["91"], later["99"]) == ("train", "dev", "test", "test")


def test_pieces_that_begin_together_are_on_one_side_from_the_first_run_on() -> None:
    pieces = [Utterance(id=f"{t}{who}", audio="/nowhere/field/a.wav", start_s=t, end_s=t + 1)
              for t in range(25) for who in "ab"]  # fmt: skip
    found = corpora.with_splits(pieces, None, CORPUS)
    assert sides(corpora.with_splits(pieces, KeptSplits().with_made(found, CORPUS), CORPUS)) == sides(found)
    assert {u.split for u in found} == SIDES


@pytest.mark.parametrize("made", [recordings, clips])
@pytest.mark.parametrize("count", [1, 3, 30, 200])
def test_an_older_run_keeps_its_splits_and_their_order_and_what_is_added_is_distributed(
    made: Callable[[Sequence[int]], list[Utterance]], count: int, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    utterances = recordings(range(6, 7)) if count == 1 else made(range(count))
    then = _as_in_format_1(utterances)
    for split in SPLITS:
        prepared.write(tmp_path / "data", split, ((u, "x", np.zeros(1)) for u in then if u.split == split))
    (tmp_path / "data" / DIGESTS).unlink()  # version 0.1.0 wrote none
    kept = KeptSplits.of_run(tmp_path)
    again = corpora.with_splits(utterances, kept, CORPUS)
    assert again == then
    kept = kept.with_made(again, CORPUS)
    assert corpora.with_splits(utterances, kept, CORPUS) == then
    more = utterances + recordings([*range(300, 310)])
    for before in (kept, KeptSplits.of_run(tmp_path)):
        now = sides(corpora.with_splits(more, before, CORPUS))
        assert all(now[name] == side for name, side in sides(then).items())


@pytest.mark.parametrize("missing", ["dev", "test"])
def test_a_split_that_is_missing_is_made_from_train_and_the_others_stay(missing: str) -> None:
    other = "test" if missing == "dev" else "dev"
    train = [u.model_copy(update={"split": "train"}) for u in recordings(range(30))]
    there = [u.model_copy(update={"split": other}) for u in recordings(range(100, 110))]
    found = corpora.with_splits(train + there, None, CORPUS)
    assert {u.split for u in found} == SIDES
    assert {u.id for u in found if u.split == other} == {u.id for u in there}
    kept = KeptSplits().with_made(found[: len(train)], CORPUS)
    more = [u.model_copy(update={"split": "train"}) for u in recordings(range(60))]
    later = sides(corpora.with_splits(more + there, kept, CORPUS))
    assert all(later[name] == side for name, side in sides(found).items())


def test_a_corpus_without_train_stays_as_it_is() -> None:
    only = [u.model_copy(update={"split": "test"}) for u in recordings(range(10))]
    assert corpora.with_splits(only) == only


def test_reading_says_what_was_made_and_gives_what_is_to_be_kept(tmp_path: Path) -> None:
    root = tmp_path / "cv"
    root.mkdir()
    rows = "".join(f"s{n % 10}\t{n}.mp3\ttext {n}\n" for n in range(100))
    (root / "train.tsv").write_text("client_id\tpath\tsentence\n" + rows)
    (root / "test.tsv").write_text("client_id\tpath\tsentence\nt\tt.mp3\ttext\n")
    reading = corpora.read_all([Source(root=root)], "mi")
    assert reading.notes == (
        f"{root}: common_voice, 101 utterances, dev made from train by speaker: train 90, dev 10, test 1",
    )
    assert len(reading.kept.rows) == 100 and reading.kept.rows[0].recording == "cv/clips/0.mp3"
    reading.kept.write(tmp_path)
    again = corpora.read_all([Source(root=root)], "mi", kept=KeptSplits.of_run(tmp_path))
    assert again.utterances == reading.utterances
    assert "dev made from train by speaker; recordings that were in it before keep their split" in again.notes[0]


@pytest.mark.parametrize("line", ["a.wav\t0.0\ttrain", "a.wav\tzero\ts\ttrain", "a.wav\t0.0\ts\tdevel", "x"])
def test_a_damaged_file_of_splits_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(f"recording\tfrom_s\tspeaker\tsplit\nok.wav\t0.0\t\ttest\n{line}\n")
    with pytest.raises(InputError, match=r"splits\.tsv:3: not recording, from_s, .*delete the file"):
        KeptSplits.of_run(tmp_path)


def test_names_with_tabs_and_line_ends_are_kept(tmp_path: Path) -> None:
    found = [Utterance(id=f"{n}", audio=f"/nowhere/field/\t\n\u2028{n}.wav", text="x") for n in range(30)]
    split = corpora.with_splits(found, None, CORPUS)
    KeptSplits().with_made(split, CORPUS).write(tmp_path)
    assert corpora.with_splits(found[::-1], KeptSplits.of_run(tmp_path), CORPUS) == split[::-1]


def test_a_corpus_that_is_all_train_beside_one_with_dev_and_test_stays_train(tmp_path: Path) -> None:
    for name, splits in (("a", SPLITS), ("b", SPLITS[:1])):
        (tmp_path / name).mkdir()
        for split in splits:
            rows = "".join(f"s\t{split}{n}.mp3\ttext\n" for n in range(20))
            (tmp_path / name / f"{split}.tsv").write_text("client_id\tpath\tsentence\n" + rows)
    found = corpora.read_all([Source(root=tmp_path / "a"), Source(root=tmp_path / "b")], "mi")
    assert {u.split for u in found.utterances if u.id.startswith("b/")} == {"train"}
    assert not found.kept.rows


def test_a_corpus_for_training_only_gives_nothing_to_dev_and_test(tmp_path: Path) -> None:
    for name in ("own", "donor"):
        (tmp_path / name).mkdir()
        for split in SPLITS if name == "donor" else ("clips",):
            rows = "".join(f"s{n}\t{split}{n}.mp3\ttext\n" for n in range(20))
            (tmp_path / name / f"{split}.tsv").write_text("client_id\tpath\tsentence\n" + rows)
    own = Source(root=tmp_path / "own" / "clips.tsv", format="table", columns={"audio": "path", "text": "sentence"})
    donor = Source(root=tmp_path / "donor", split="train")
    found = corpora.read_all([own, donor], "mi")
    assert {u.split for u in found.utterances if u.id.startswith("donor/")} == {"train"}
    assert {u.split for u in found.utterances if not u.id.startswith("donor/")} == set(SPLITS)
    assert "60 utterances, all for training: train 60" in found.notes[1]
    assert all("donor" not in row.recording for row in found.kept.rows)
    with pytest.raises(ValidationError, match="split and splits exclude each other"):
        Source(root=tmp_path, split="train", splits="made")


# Names of splits, and what a recipe says of them


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "trn", "train-clean-100", "train_nodev", "my_train_sp")),
        *((name, "dev") for name in ("dev", "devel", "valid", "validation", "train_dev", "dev93", "valid.1")),
        *((name, "test") for name in ("test", "eval", "eval2000", "evaluation", "heldout", "held-out", "train_test")),
        *(
            (name, None)
            for name in ("", "validated", "invalidated", "other", "all", "trainers", "contest", "évaluer")
        ),
    ],
)
def test_a_name_is_understood_by_its_words(name: str, split: str | None) -> None:
    assert split_named(name) == split


def test_folders_on_a_way_are_named_after_other_things_too() -> None:
    assert innermost_split(["my_train", "anna"]) == "train"
    assert innermost_split(["interview_dev_singh"]) is innermost_split(["Test of the recorder"]) is None


@pytest.mark.parametrize(
    ("names", "read", "unused"),
    [
        ("train dev test", "train dev test", ""),
        ("train eval", "train eval", ""),
        ("train dev test eval2000 other", "train dev test", "eval2000 other"),
        ("train train_nodev train_dev test", "train_nodev train_dev test", "train"),
        ("lectures test", "lectures test", ""),
        ("a b", "a b", ""),
    ],
)
def test_the_plain_names_are_taken_and_the_others_are_returned(names: str, read: str, unused: str) -> None:
    found, left = parts_by_split(names.split(), "own", unknown_is_train=True)
    assert (sorted(found), left) == (sorted(read.split()), unused.split())


def kaldi(root: Path, **folders: Sequence[int]) -> Path:
    for folder, numbers in folders.items():
        (root / folder).mkdir(parents=True)
        for file, line in (("wav.scp", "u{0} {0}.wav"), ("text", "u{0} text {0}"), ("utt2spk", "u{0} s{0}")):
            (root / folder / file).write_text("".join(line.format(n) + "\n" for n in numbers))
    return root


def counts(reading: corpora.Reading) -> dict[str, int]:
    return {split: sum(u.split == split for u in reading.utterances) for split in SPLITS}


def test_kaldis_folders_of_espnet_are_its_splits(tmp_path: Path) -> None:
    root = kaldi(
        tmp_path / "data", train=range(20), train_nodev=range(16), train_dev=range(16, 20), eval=range(20, 23)
    )
    reading = corpora.read_all([Source(root=root)], "mi")
    assert counts(reading) == {"train": 16, "dev": 4, "test": 3}
    assert [(entry.name, entry.utterances) for entry in reading.left_out] == [("train", 20)]
    assert reading.left_out[0].describe().startswith("split 'train' is not used: 20 utterances in 1 file, the first")


def test_a_recipe_says_which_names_are_which_split_or_that_all_are_made_anew(tmp_path: Path) -> None:
    root = kaldi(tmp_path / "data", alpha=range(20), beta=range(20, 24), gamma=range(24, 26), delta=range(9))
    named = {"train": ("alpha",), "dev": ("beta",), "test": ("gamma",)}
    reading = corpora.read_all([Source(root=root, splits=named)], "mi")
    assert counts(reading) == {"train": 20, "dev": 4, "test": 2}
    assert [entry.name for entry in reading.left_out] == ["delta"]
    made = corpora.read_all([Source(root=root, splits="made")], "mi")
    assert counts(made) == {"train": 22, "dev": 2, "test": 2}
    with pytest.raises(InputError, match=r"corpus\.splits\.dev: nothing in .* is called 'omega'\. Give names of"):
        corpora.read_all([Source(root=root, splits={"train": ("alpha",), "dev": ("omega",)})], "mi")


def test_common_voices_validated_table_beside_small_splits_is_named_and_can_be_used(tmp_path: Path) -> None:
    sizes = {"validated": range(300), "train": range(3), "dev": range(3, 6), "test": range(6, 9)}
    for name, numbers in sizes.items():
        rows = "".join(f"s{n % 30}\t{n}.mp3\ttext {n}\n" for n in numbers)
        (tmp_path / f"{name}.tsv").write_text("client_id\tpath\tsentence\n" + rows)
    reading = corpora.read_all([Source(root=tmp_path)], "mi")
    assert counts(reading) == {"train": 3, "dev": 3, "test": 3}
    assert [(entry.name, entry.utterances) for entry in reading.left_out] == [("validated.tsv", 291)]
    assert reading.left_out[0].describe().endswith("; --corpus.splits made uses everything, or names what is used")
    made = corpora.read_all([Source(root=tmp_path, splits="made")], "mi")
    assert counts(made) == {"train": 240, "dev": 30, "test": 30} and not made.left_out
    named = {"train": ("validated",), "dev": ("dev",), "test": ("test",)}
    reading = corpora.read_all([Source(root=tmp_path, splits=named)], "mi")
    assert counts(reading) == {"train": 294, "dev": 3, "test": 3}, "a clip of test or dev is not in train"


def test_values_of_a_column_are_splits_by_a_recipe_and_others_are_counted(tmp_path: Path) -> None:
    table = tmp_path / "phrases.csv"
    values = ["fieldwork"] * 8 + ["studio"] * 3 + ["radio"]
    table.write_text("audio,text,split\n" + "".join(f"{n}.wav,text {n},{v}\n" for n, v in enumerate(values)))
    with pytest.raises(InputError, match=r"csv:2: split 'fieldwork' is none of train.*--corpus\.splits"):
        corpora.read_all([Source(root=table)], "mi")
    reading = corpora.read_all([Source(root=table, splits={"train": ("fieldwork",), "test": ("studio",)})], "mi")
    assert counts(reading) == {"train": 7, "dev": 1, "test": 3}
    assert [(entry.name, entry.utterances) for entry in reading.left_out] == [("radio", 1)]
    assert counts(corpora.read_all([Source(root=table, splits="made")], "mi")) == {"train": 10, "dev": 1, "test": 1}


@pytest.mark.parametrize(
    ("header", "near"), [("audio,Sentense", "'Sentense'"), ("audio,transcripts,x", "'transcripts'")]
)
def test_a_column_of_nearly_the_right_name_is_offered(tmp_path: Path, header: str, near: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n")
    with pytest.raises(InputError, match=rf"no column for text: .*Is it {near}\? Name it text"):
        corpora.read(tmp_path / "t.csv", "mi")
