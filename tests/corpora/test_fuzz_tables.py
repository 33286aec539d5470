"""Damaged and hostile tables and manifests are read, or refused in one line."""

from fuzz_tables import TARGET
from runner import check


def test_a_damaged_table_or_manifest_is_read_or_refused_in_one_line() -> None:
    assert check(TARGET, examples=200).has_both
