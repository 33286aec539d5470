"""Times as people write them: one rule in tables, labels and transcripts."""

import datetime

import pytest

from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("62.5", 62.5), ("62,5", 62.5), (" 7 ", 7.0), (".5", 0.5), (",5", 0.5), ("3.", 3.0), ("1e-3", 0.001),
        ("1:02.5", 62.5), ("01:02,5", 62.5), ("00:01:02,5", 62.5), ("1:00:00", 3600.0), ("90:00", 5400.0),
        (2, 2.0), (2.5, 2.5), (datetime.time(0, 1, 2, 500_000), 62.5), (datetime.timedelta(seconds=62.5), 62.5),
    ],
)  # fmt: skip
def test_a_time_is_read_in_every_usual_form(written: object, expected: float) -> None:
    assert seconds(written, "start_s", "t.csv:2") == pytest.approx(expected)


@pytest.mark.parametrize(
    "written",
    ["", "soon", "-1", "nan", "inf", "-inf", "1e308", "1e999", "1,234.5", "1.234,5", "1:2:3:4", "1:75", "1:75:00",
     "٣", "0x10", "1_000", "9" * 5_000, True, -1, float("nan"), float("inf"), 10**400, None],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_its_place(written: object) -> None:
    with pytest.raises(InputError, match=r"^t\.csv:2: field 'start_s': must be a time such as .*, but is ") as caught:
        seconds(written, "start_s", "t.csv:2")
    assert len(str(caught.value)) < 200
