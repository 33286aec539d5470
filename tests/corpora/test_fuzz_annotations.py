"""ELAN and Praat files damaged in any way are read or refused in one line: a short form of the fuzz targets."""

import fuzz_eaf
import fuzz_textgrid
from runner import check


def test_a_damaged_eaf_is_read_or_refused_in_one_line() -> None:
    assert check(fuzz_eaf.TARGET, examples=150).has_both


def test_a_damaged_textgrid_is_read_or_refused_in_one_line() -> None:
    assert check(fuzz_textgrid.TARGET, examples=150).has_both
