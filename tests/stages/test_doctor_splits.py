"""Leaks between splits: which utterances are named, and how often a large corpus is gone through to find them."""

from collections.abc import Iterator

from asr_adapt.records import SPLITS, Utterance
from asr_adapt.stages.doctor import splits


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
