from pathlib import Path

import pytest

from asr_adapt.storage import write_whole


def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / ("ŋ" * 125 + ".json")  # 255 bytes: the longest name there is
    write_whole(path, "first")
    write_whole(path, "é")
    assert path.read_bytes() == "é".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a", "x\ud800")
    assert (tmp_path / "a").read_text() == "old"
