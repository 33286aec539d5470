"""How a decoding is described in reports."""

import pytest

from asr_adapt.artifacts import NGramWeights
from asr_adapt.inference.decoding import Decoding


@pytest.mark.parametrize(
    ("decoding", "described"),
    [
        (Decoding(), "greedy"),
        (Decoding(engine="onnx-int8"), "greedy; engine onnx-int8"),
        (Decoding(without_ngram=True), "greedy; the model's n-gram is turned off"),
        (Decoding(100, NGramWeights()), NGramWeights().describe()),
        (Decoding(100, hotwords=("abba", "cede")), "beam search; hotwords abba, cede"),
        (
            Decoding(unavailable=("the n-gram", "hotwords")),
            "greedy, since ctc-beam-decoder does not run here: the n-gram and hotwords are not used",
        ),
        (Decoding(unwritable=("世界",)), "greedy; not favoured, since the model cannot write them: 世界"),
    ],
)
def test_a_decoding_is_described_on_one_line(decoding: Decoding, described: str) -> None:
    assert decoding.describe() == described
