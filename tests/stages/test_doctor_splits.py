"""Leaks between splits: which utterances are named, and how often a large corpus is gone through to find them."""

import random
from collections.abc import Iterator

from asr_adapt.recipe import Text
from asr_adapt.records import SPLITS, Utterance
from asr_adapt.stages.doctor import fix, splits
from asr_adapt.stages.doctor.finding import Finding, always, found
from asr_adapt.text.markup import Markup
from asr_adapt.text.normaliser import Normaliser


class Counted(list):
    """A list that counts how often it is gone through."""

    passes = 0

    def __iter__(self) -> Iterator:
        self.passes += 1
        return super().__iter__()


def shared(sentences: int) -> tuple[Counted, Counted]:
    """Return utterances that say each sentence once in every split, and their texts."""
    utterances = Counted(
        Utterance(id=f"{split}-{i}", audio=f"{split}-{i}.wav", split=split, speaker=split, text=f"s {i}")
        for i in range(sentences)
        for split in SPLITS
    )
    return utterances, Counted(u.text for u in utterances)


def test_leaks_are_found_in_as_many_passes_for_many_sentences_as_for_one() -> None:
    passes = []
    for sentences in (1, 200):
        utterances, texts = shared(sentences)
        (finding,) = [f for f in splits.check(utterances, texts, {}) if f.name == "text_leak"]
        assert finding.ids == tuple(f"train-{i}" for i in range(sentences))
        passes.append((utterances.passes, texts.passes))
    assert passes[0] == passes[1]


def test_a_sentence_that_has_the_name_of_a_recording_is_no_piece_of_it() -> None:
    utterances = [
        Utterance(id="1", audio="x", split="train", text="y"),
        Utterance(id="2", audio="x", split="dev", text="z"),
        Utterance(id="3", audio="w", split="train", text="x"),
    ]
    found = {f.name: f.ids for f in splits.check(utterances, ["y", "z", "x"], {})}
    assert found["recording_leak"] == ("1",) and "text_leak" not in found


def test_digits_of_which_test_has_some_alone_all_stay_in_train() -> None:
    digits = ["tahi", "rua", "toru", "wha", "rima", "ono", "whitu", "waru", "iwa", "tekau"]
    utterances = [
        Utterance(id=f"{split}-{i}", audio=f"{split}-{i}.wav", split=split, speaker=split, text=digits[i % many])
        for split, count, many in (("train", 60, 10), ("dev", 6, 3), ("test", 6, 2))
        for i in range(count)
    ]
    (finding,) = [
        f for f in splits.check(utterances, [u.text or "" for u in utterances], {}) if f.name != "duplicate_text"
    ]
    assert (finding.name, finding.severity, finding.left_out) == ("closed_vocabulary", "note", ())
    assert "share 3 of 10 different sentences" in finding.problem


def corpus(draw: random.Random) -> tuple[list[Utterance], list[Finding]]:
    """Return a corpus in which recordings, sentences and speakers recur, with what a doctor finds in it."""
    utterances = [
        Utterance(id=f"{i}", audio=f"{i}.wav", split=draw.choice(SPLITS), speaker=draw.choice("ab"),
                  text=" ".join(draw.choices(("ka", "te", "moana"), k=draw.randint(1, 3))))
        for i in range(draw.randint(3, 30))
    ]  # fmt: skip
    sounds = draw.randint(1, 20)
    digests = {u.id: f"{draw.randrange(sounds)}" for u in utterances}
    bad = [(u.id, "cannot be read") for u in utterances if draw.random() < draw.choice((0, 0.2, 0.9))]
    return utterances, [
        *splits.check(utterances, [u.text or "" for u in utterances], digests),
        *found("unreadable_audio", "error", "cannot be read", "", bad, always),
    ]


def test_fix_empties_no_split_of_which_anything_can_be_used() -> None:
    for seed in range(300):
        utterances, findings = corpus(random.Random(seed))
        unusable = {id for finding in findings for id in finding.left_out if not finding.usable}
        planned = fix.plan(utterances, findings, Markup((), (), (), ()), Normaliser(Text(), "mi"))
        for split in SPLITS:
            members = {u.id for u in utterances if u.split == split}
            left = {u.id for u in planned.utterances if u.split == split}
            assert left <= members - unusable and bool(left) == bool(members - unusable), seed
            assert (split in planned.emptied) == (bool(members) and not left), seed
        assert len(planned.utterances) + len(planned.left_out) == len(utterances), seed
