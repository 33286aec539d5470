"""Leaks between splits, and duplicates inside them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from asr_adapt import corpora
from asr_adapt.records import Utterance
from asr_adapt.stages.doctor.finding import Finding, always, found

_TIMES_EACH = 3  # a vocabulary is closed where each sentence occurs so often, and most are single words
_TAKE_OUT = "--fix removes them from train; of what dev and test share, remove one copy."


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
            out = _superfluous(same)
            leaked += [(u.id, f"the recording is also in {', '.join(sorted(places - {str(u.split)}))}")
                       for u in out]  # fmt: skip
        elif len(same) > 1:
            twice += [(u.id, f"the same recording as {same[0].id}") for u in same[1:]]
    repeated = [(u.id, f"the same sentence and speaker as {same[0].id}")
                  for same in by_text.values() for u in same[1:]
                  if digests.get(u.id, u.id) != digests.get(same[0].id)]  # fmt: skip
    in_train = _members_of_train(utterances).__contains__
    same_samples = {id for id, _ in leaked}
    of_segments: list[tuple[str, str]] = []
    of_sentences: list[tuple[str, str]] = []
    leaks = corpora.leaks(utterances, texts)
    shared = 0
    # One pass for all leaks: each may be looked up among a million rows.
    members_of: dict[tuple[str, str], list[Utterance]] = {(leak.kind, leak.value): [] for leak in leaks}
    for utterance, text in zip(utterances, texts, strict=True):
        for key in (("recording", utterance.audio), ("sentence", text)):
            if key in members_of:
                members_of[key].append(utterance)
    for leak in leaks:
        members = members_of[leak.kind, leak.value]
        if same_samples & {u.id for u in members}:
            continue  # the same samples are in both, which says more
        where = of_segments if leak.kind == "recording" else of_sentences
        where += [(u.id, f"in {', '.join(leak.splits)}") for u in _superfluous(members)]
        shared += leak.kind == "sentence"
    judges = {u.speaker for u in utterances if u.split in ("dev", "test")} - {None}
    of_speakers = [(u.id, f"speaker {u.speaker}") for u in utterances if u.split == "train" and u.speaker in judges]
    return [
        *found("audio_leak", "error", "recordings that occur in more than one split, which inflates scores",
               _TAKE_OUT, leaked, in_train, usable=True),
        *found("recording_leak", "warning", "recordings with segments in more than one split",
               "Split by recording.", of_segments),
        *_text_leaks(utterances, texts, of_sentences, shared),
        *found("speaker_leak", "warning", "clips of speakers in more than one split: scores do not tell how new "
               "speakers fare", "Split by speaker, if there are enough of them.", of_speakers),
        *found("duplicate_audio", "warning", "recordings that occur twice in a split", "--fix keeps the first.",
               twice, always, usable=True),
        *found("duplicate_text", "note", "sentences that a speaker repeats", "Nothing if they were recorded twice.",
               repeated),
    ]  # fmt: skip


def _text_leaks(
    utterances: Sequence[Utterance], texts: Sequence[str], where: Sequence[tuple[str, str]], shared: int
) -> list[Finding]:
    """Return the finding of `shared` sentences in several splits.

    --fix leaves them where the vocabulary is closed, of which train needs all, and where they are most of train.
    """
    train = _members_of_train(utterances)
    leaked = [id for id, _ in where if id in train]
    distinct = {text for text in texts if text}
    few = _TIMES_EACH * len(distinct) <= len(texts) and 2 * sum(" " not in text for text in distinct) >= len(distinct)
    if few and where:  # if test has some of the digits alone, train still needs those
        return found("closed_vocabulary", "note", f"the splits share {shared:,} of {len(distinct):,} different "
                     "sentences, as with digits or commands", "Nothing, if only these will be recognised.",
                     where)  # fmt: skip
    problem = "sentences that occur in more than one split, which inflates scores"
    if 2 * len(leaked) > len(train):
        return found("text_leak", "warning", problem, "--fix leaves them, since they are most of train: scores hold "
                     "for these sentences only. Give test sentences of its own.", where)  # fmt: skip
    return found("text_leak", "warning", problem,
                 _TAKE_OUT + " Keep them to compare speakers on the same sentences.", where,
                 train.__contains__, usable=True)  # fmt: skip


def _members_of_train(utterances: Sequence[Utterance]) -> set[str]:
    return {u.id for u in utterances if u.split == "train"}


def _superfluous(same: Sequence[Utterance]) -> Sequence[Utterance]:
    """Return those of train, since what is judged by should stay; of dev and test alone, all but the first."""
    return [u for u in same if u.split == "train"] or same[1:]
