"""Damaged audio gives a result or an error of one line: a few seeded inputs of the fuzz target."""

from fuzz_audio import TARGET
from runner import check


def test_a_damaged_file_is_read_or_refused_in_one_line() -> None:
    assert check(TARGET, examples=150).has_both
