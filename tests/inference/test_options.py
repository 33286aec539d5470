"""Options of `transcribe` and `draft`: what they resolve to, and the settings by which transcripts are known."""

from pathlib import Path

import pytest

from asr_adapt.errors import InputError
from asr_adapt.inference.options import TranscriptionOptions


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (TranscriptionOptions(Path("m"), "torch"), ""),
        (TranscriptionOptions(Path("m"), "torch", use_ngram=False), " --no-lm"),
        (TranscriptionOptions(Path("m"), "torch", ("Ani", "Rua")), "torch Ani Rua"),
        (TranscriptionOptions(Path("m"), "onnx", channel="each", track=2), "onnx  --channel each --track 2"),
    ],
)
def test_settings_keep_the_form_by_which_earlier_transcripts_are_known(
    options: TranscriptionOptions, settings: str
) -> None:
    assert options.settings == settings


def test_a_channel_that_cannot_be_is_refused_before_the_model_is_looked_at() -> None:
    with pytest.raises(InputError, match="--channel"):
        TranscriptionOptions.of(Path("nowhere"), "auto", channel="middle")
