"""What splits share that they should not, and what stands twice."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from asr_adapt import corpora
from asr_adapt.doctor.finding import Finding, found
from asr_adapt.utterance import Utterance


def check(utterances: Sequence[Utterance], texts: Sequence[str], digests: Mapping[str, str]) -> list[Finding]:
    """Return leaks between splits and duplicates inside them.

    Args:
        utterances: Of all splits.
        texts: Their normalised transcripts.
        digests: `{utterance's id: hash of its samples}` of those that can be read.
    """
    by_digest: dict[str, list[Utterance]] = defaultdict(list)
    by_text: dict[tuple, list[Utterance]] = defaultdict(list)
    for utterance, text in zip(utterances, texts, strict=True):
        if utterance.id in digests:
            by_digest[digests[utterance.id]].append(utterance)
        if text:
            by_text[(utterance.split, utterance.speaker, text)].append(utterance)
    leaked, twice = [], []
    for same in by_digest.values():
        places = {str(u.split) for u in same}
        if len(places) > 1:
            # What is judged by stays; --fix takes the others out of train.
            out = [u for u in same if u.split == "train"] or same[1:]
            leaked += [(u.id, f"the recording is also in {', '.join(sorted(places - {str(u.split)}))}")
                       for u in out]  # fmt: skip
        elif len(same) > 1:
            twice += [(u.id, f"the same recording as {same[0].id}") for u in same[1:]]
    said_twice = [(u.id, f"the same sentence and speaker as {same[0].id}")
                  for same in by_text.values() for u in same[1:]
                  if digests.get(u.id, u.id) != digests.get(same[0].id)]  # fmt: skip
    heard_in_both = {id for id, _ in leaked}
    of_pieces: list[tuple[str, str]] = []
    of_sentences: list[tuple[str, str]] = []
    for leak in corpora.leaks(utterances, texts):
        pairs = zip(utterances, texts, strict=True)
        members = [u for u, text in pairs if leak.value == (u.audio if leak.kind == "recording" else text)]
        if heard_in_both & {u.id for u in members}:
            continue  # the same samples are in both, which says more
        out = [u for u in members if u.split == "train"] or members[:1]
        where = of_pieces if leak.kind == "recording" else of_sentences
        where += [(u.id, f"in {', '.join(leak.splits)}") for u in out]
    judges = {u.speaker for u in utterances if u.split in ("dev", "test")} - {None}
    of_speakers = [(u.id, f"speaker {u.speaker}") for u in utterances if u.split == "train" and u.speaker in judges]
    return [
        *found("audio_leak", "error", "recordings that stand in more than one split: scores on them flatter",
               "--fix takes them out of train.", leaked, True),
        *found("recording_leak", "warning", "recordings that have pieces in more than one split",
               "Split by recording.", of_pieces),
        *found("text_leak", "warning", "sentences that stand in more than one split: scores on them flatter",
               "--fix takes them out of train, unless readers shall be compared on the same sentences.",
               of_sentences, True),
        *found("speaker_leak", "warning", "clips of speakers who are in more than one split: scores are not about "
               "strangers", "Split by speaker, if there are enough of them.", of_speakers),
        *found("duplicate_audio", "warning", "recordings that stand twice in a split", "--fix keeps the first.",
               twice, True),
        *found("duplicate_text", "note", "sentences that one speaker says again", "Nothing, if they were said twice.",
               said_twice),
    ]  # fmt: skip
