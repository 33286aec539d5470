"""The verdict in words: its levels, its boundaries, and what is too little to measure."""

import random

import pytest
from conftest import sentences

from asr_adapt.artifacts import Metrics
from asr_adapt.records import Utterance
from asr_adapt.scoring import error_rates
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.scoring.evaluation import Evaluation
from asr_adapt.scoring.verdict import Verdict, judge, too_little

TEXTS = [" ".join(sentences(3, seed)) for seed in range(80)]


def evaluation(pairs: list[tuple[str, str]], seconds: float = 6.0) -> Evaluation:
    """Return the evaluation of `(reference, hypothesis)` pairs, each so many seconds long."""
    scored = [
        ScoredUtterance.of(Utterance(id=str(number), audio=f"{number}.wav", duration_s=seconds), *pair)
        for number, pair in enumerate(pairs)
    ]
    words, characters = [one.word_errors for one in scored], [one.character_errors for one in scored]
    pooled = error_rates.pool(words)
    metrics = Metrics(
        split="test",
        utterances=len(pairs),
        words=pooled.reference_length,
        audio_s=seconds * len(pairs),
        wer=error_rates.rate(words),
        wer_ci95=error_rates.rate_interval(words),
        cer=error_rates.rate(characters),
        cer_ci95=error_rates.rate_interval(characters),
        substitutions=pooled.substitutions,
        deletions=pooled.deletions,
        insertions=pooled.insertions,
        excluded={},
        normaliser="",
        decoding="greedy",
        transcribe_rtfx=1.0,
    )
    return Evaluation(metrics, scored)


def with_wrong_words(share: float, letters: int = 2) -> Verdict:
    """Return the verdict on transcripts in which a share of the words has so many wrong letters."""
    noise = random.Random(0)

    def hear(text: str) -> str:
        return " ".join("x" * letters + w[letters:] if noise.random() < share else w for w in text.split())

    return judge(evaluation([(text, hear(text)) for text in TEXTS]))


@pytest.mark.parametrize(
    ("share", "level", "said"),
    [
        (0.02, "nearly human", "Nearly as good as a human transcriber"),
        (0.2, "draft", "A draft to correct saves time (WER 0."),
        (0.38, "draft", "A draft to correct probably saves time"),
        (0.65, "not usable", "Not usable yet: correcting its drafts would take longer than typing"),
    ],
)
def test_the_level_follows_from_the_error_rates(share: float, level: str, said: str) -> None:
    found = with_wrong_words(share, letters=9)
    assert found.level == level and found.text.startswith(said) and "et al." in found.reason


def test_an_interval_that_reaches_over_a_boundary_is_named() -> None:
    assert "The intervals reach into: not usable yet" in with_wrong_words(0.44, letters=9).text


def test_one_wrong_letter_in_most_words_is_still_a_draft() -> None:
    found = evaluation([(f"{text} {text}", f"{text} {text}".translate({97: "e", 98: "d"})) for text in TEXTS])
    assert found.metrics.wer > 0.5
    rates = found.metrics.model_copy(update={"cer": 0.16, "cer_ci95": (0.15, 0.165)})
    assert judge(Evaluation(rates, found.utterances)).level == "draft"


def test_texts_of_other_clips_are_no_relation_and_silence_is_nothing_written() -> None:
    shuffled = random.Random(4).sample(TEXTS, len(TEXTS))
    found = judge(evaluation(list(zip(TEXTS, shuffled, strict=True))))
    assert found.level == "no relation" and "learned no relation between sound and text" in found.text
    found = judge(evaluation([(text, text[:1]) for text in TEXTS]))
    assert found.level == "writes nothing" and "writes almost nothing" in found.text


def test_scripts_without_spaces_are_judged_by_characters_alone() -> None:
    lines = ["".join(text.split()) * 3 for text in TEXTS]
    found = evaluation([(line, "x" + line[1:]) for line in lines])
    assert found.is_unspaced and found.metrics.wer == 1
    assert judge(found).level in {"draft", "nearly human"}


def test_too_little_is_fewer_than_20_utterances_or_2_minutes() -> None:
    assert too_little(20, 120.0) is None and too_little(20, None) is None
    assert too_little(19, 600.0) == "too little to measure: 19 utterances, 10 min"
    assert too_little(1, None) == "too little to measure: 1 utterance"
    found = judge(evaluation([(text, text) for text in TEXTS], seconds=1.0))
    assert found.level == "too little" and "80 utterances, 1.3 min" in found.text
