"""What the doctor expects of so much speech: measured points, and a next step."""

import re

import pytest
from conftest import ROOT

from asr_adapt.records import describe_duration
from asr_adapt.stages.doctor import outlook


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (0.05, "^3 min of .*: less than was ever measured; .* 10 min: CER 0.284, .* transcribe 10 min"),
        (0.5, "^30 min .* with 10 min: CER 0.284, WER 0.82, and with 2.67 h: CER 0.171, .* up to an hour"),
        (2.0, "between those with 10 min: .* 2.67 h: CER 0.171, WER 0.59 .*asr-adapt lm"),
        (20.0, "error rates no higher than with 2.67 h: CER 0.171, .* larger base model"),
    ],
)  # fmt: skip
def test_an_amount_of_speech_is_placed_on_the_measured_curve(hours: float, said: str) -> None:
    assert re.search(said, outlook.expectation(hours))


def test_the_curve_is_the_one_in_the_documentation() -> None:
    table = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").partition("## What to expect")[2]
    rows = re.findall(
        r"^\| Mboshi, ([\d.]+) (minutes|hours?) \| embedded \|.*\| (\.\d+) \| ([\d.]+) \|$", table, re.M
    )
    points = [(float(n) / (60 if unit == "minutes" else 1), float(cer), float(wer)) for n, unit, cer, wer in rows]
    assert points == [(p.hours, p.cer, p.wer) for p in outlook.CURVE]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (8.54, "8.5 s"), (42.4, "42 s"), (59.7, "1.0 min"), (252, "4.2 min"), (600, "10 min"),
     (2040, "34 min"), (3590, "1.00 h"), (9612, "2.67 h"), (3.6e6, "1,000 h")],
)  # fmt: skip
def test_a_duration_has_the_unit_that_suits_it(seconds: float, said: str) -> None:
    assert describe_duration(seconds) == said
